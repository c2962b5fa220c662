//! Consumer groups under test: their members, what is known of each group, and who waits for them at the end.

pub mod ledger;
pub mod member;
pub mod spans;
pub mod tap;
pub mod watch;

pub use ledger::Ledger;
