//! Names of requests under way.

use crate::id::ConnId;

/// One request of one connection, from its decision to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// By which connection it came.
    pub conn: ConnId,
    /// Its number within that connection, from 0.
    pub seq: u64,
}
