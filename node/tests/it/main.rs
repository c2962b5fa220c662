//! The node's integration tests, in one binary.

mod clients;
mod dirs;
mod disk;
mod lag;
mod node;
mod store;
