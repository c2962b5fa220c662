//! The klamm node: listeners, peers, storage on real files, configuration.
//!
//! Moves bytes and starts what the core decides; decides nothing about replication or groups itself. The world is touched in three narrow
//! seams ([`net`], [`fs`], [`clock`]), so that the same node runs on tokio and in the simulator.
#![deny(unsafe_code)]

mod asks;
pub mod client;
pub mod clock;
pub mod config;
mod conn;
mod driver;
pub mod founding;
mod frames;
pub mod fs;
#[cfg(feature = "http")]
pub mod http;
pub mod identity;
#[cfg(feature = "http")]
pub mod lag;
mod listen;
pub mod net;
mod node;
mod peer;
mod pool;
pub mod store;

pub use node::{Node, Sizes, Stopped, StoreTask, World};
