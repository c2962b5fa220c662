//! The controller: metadata as a log of records, an image as their fold, and plans that turn admin requests into records.
//!
//! A plan is made from an image, appended, and counts when it is committed. On one node that is when it is synced; with a quorum beneath,
//! when a majority has it.
//!
//! ```text
//!   liveness (soft state, clock) ─┐
//!   requests ─────────────────────┼─► Planner ─► draft ─► change (one partition) ─► records ─► image + index
//! ```
//!
//! What happens to a partition is decided in `change.rs` alone; what happens to a broker's partitions, in `fence.rs`.

pub mod alter_configs;
pub mod balance;
pub mod bootstrap;
pub mod change;
pub mod create_topics;
pub mod delete_topics;
pub mod directories;
mod draft;
pub mod elect;
pub mod features;
pub mod fence;
pub mod grow;
pub mod image;
mod index;
pub mod isr;
pub mod lists;
pub mod liveness;
pub mod name;
pub mod partition;
mod pending;
pub mod place;
pub mod plan;
pub mod reassign;
pub mod record;
pub mod register;
pub mod registration;
pub mod resource;
pub mod snapshot;

pub use change::Election;
pub use draft::directory;
pub use image::{Change, Contradiction, Image};
pub use liveness::Liveness;
pub use pending::{CommitId, Committed, Controller};
pub use plan::{Plan, Planner, Refusal};
pub use record::Record;

#[cfg(test)]
mod tests;
