//! Everything that decides in klamm: the Kafka codec, log, groups, and the client-side machines, as sans-IO state machines.
//!
//! Never touches a socket, file, clock, thread, task, or global randomness.
#![forbid(unsafe_code)]

pub mod broker;
pub mod client;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod error;
pub mod id;
pub mod invariant;
pub mod lag;
pub mod log;
pub mod partition;
pub mod probe;
pub mod quorum;
pub mod request;
pub mod rng;
pub mod store;
pub mod time;
pub mod wire;
