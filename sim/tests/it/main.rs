//! The simulator's integration tests, in one binary.

mod model;
mod nested;
mod report;
mod seeds;
mod store;
