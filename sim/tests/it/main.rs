//! The simulator's integration tests, in one binary.

mod nested;
mod seeds;
mod store;
