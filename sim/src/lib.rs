//! Deterministic simulation of whole klamm nodes, from a seed.

pub mod cluster;
pub mod disk;
pub mod plan;
pub mod run;
pub mod trace;
pub mod workload;
