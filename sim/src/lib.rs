//! Deterministic simulation of whole klamm nodes, from a seed.

pub mod disk;
