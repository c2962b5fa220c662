//! Simulated clusters. The mesh drives cores and stores under an event loop of its own.

pub mod client;
pub mod link;
#[cfg(madsim)]
pub mod madsim;
pub mod mesh;
pub mod node;
pub mod pace;
pub(crate) mod peers;
