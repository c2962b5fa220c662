//! The library's integration tests: hand-made histories, generated ones, and what it takes to break them.

mod broken;
mod by_hand;
mod cli;
mod dsl;
mod generated;
mod model;
mod search;
