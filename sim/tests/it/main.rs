//! The simulator's integration tests, in one binary.

mod nested;
mod report;
mod seeds;
mod store;
