//! Tables that are records in a log, not requests.

pub mod consumer;
pub mod control;
pub mod coordinator;
pub mod metadata;
pub mod raft;
