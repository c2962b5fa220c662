//! The node's integration tests, in one binary.

mod disk;
mod node;
mod store;
