//! The klamm node: listeners, peers, storage on real files, configuration.
//!
//! Moves bytes and starts what the core decides; decides nothing about replication or groups itself. The world is touched in three narrow
//! seams ([`net`], [`fs`], [`clock`]), so that the same node runs on tokio and in the simulator.
#![deny(unsafe_code)]

pub mod clock;
pub mod config;
pub mod fs;
pub mod identity;
pub mod net;
pub mod store;
