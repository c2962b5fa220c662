//! Deterministic simulation of whole klamm nodes, from a seed.

pub mod chance;
pub mod check;
pub mod cluster;
pub mod disk;
pub mod indexes;
pub mod model;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod run;
pub mod shrink;
mod stage;
pub mod tape;
pub mod trace;
pub mod workload;
