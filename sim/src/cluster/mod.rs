//! Simulated clusters. The mesh drives cores and stores under an event loop of its own.

mod agree;
pub mod client;
pub mod link;
#[cfg(madsim)]
pub mod madsim;
pub mod mesh;
pub mod node;
pub mod pace;
mod peers;
pub mod swap;
