//! The one integration-test binary of `klamm-core`.

mod admin;
mod bench;
mod cluster;
mod frames;
mod groups;
mod log;
mod news;
mod replication;
mod snapshots;
mod trio;
