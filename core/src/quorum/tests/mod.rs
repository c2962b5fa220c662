//! The quorum, rule by rule, and many of them together on random schedules.

mod changes;
mod elections;
mod files;
mod help;
mod leading;
mod schedule;
mod snapshots;
mod world;
