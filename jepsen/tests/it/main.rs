//! The library's integration tests: hand-made histories, generated ones, and what it takes to break them.

mod by_hand;
mod dsl;
mod generated;
mod model;
