//! Histories as EDN, in the form that Jepsen's kafka workload checker reads: one map a line.

mod form;
mod read;
mod write;

pub use form::{Edn, Forms};
pub use read::EdnOps;
pub use write::write_edn_line;
