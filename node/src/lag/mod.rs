//! The lag monitor: looks at clusters at an interval, and answers over HTTP as Burrow does. What a consumer's commits mean is judged in
//! [`klamm_core::lag`].

mod answers;
mod api;
pub mod config;
mod look;
mod metrics;
mod owners;
mod watch;

pub use config::Config;
pub use watch::{Monitor, Watcher, monitor};
