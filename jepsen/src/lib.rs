//! Histories, workload generators and consistency checkers for Kafka-like logs, after Jepsen's kafka workload.
//!
//! Sees only what a client sees: it knows nothing of any broker's insides, opens no socket and reads no clock.
#![forbid(unsafe_code)]

pub mod check;
pub mod edn;
pub mod history;
pub mod workload;
