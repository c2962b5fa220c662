//! Who has registered: brokers and controllers.

use super::draft::directory;
use crate::id::Uuid;
use std::collections::BTreeMap;

/// One broker, as it registered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registration {
    /// The process.
    pub incarnation: Uuid,
    /// The registration.
    pub epoch: i64,
    /// The last registration under which it was not fenced: since then it was given nothing that it could lose. `None`: it never was.
    pub last_served: Option<i64>,
    /// Whether it must not lead.
    pub is_fenced: bool,
    /// Whether it is on its way down.
    pub is_stopping: bool,
    /// Where it stands.
    pub rack: Option<String>,
    /// Name, host, port and security protocol of its listeners.
    pub endpoints: Vec<(String, String, u16, i16)>,
    /// Its log directories that are online.
    pub directories: Vec<Uuid>,
    /// The levels of features that it can work with.
    pub features: BTreeMap<String, (i16, i16)>,
}

/// One controller, as it registered (KIP-919).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ControllerRegistration {
    /// The process.
    pub incarnation: Uuid,
    /// Name, host, port and security protocol of its listeners.
    pub endpoints: Vec<(String, String, u16, i16)>,
    /// The levels of features that it can work with.
    pub features: BTreeMap<String, (i16, i16)>,
}

impl Registration {
    /// Whether it may lead and be given replicas.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.is_fenced && !self.is_stopping
    }

    /// Whether it may lead a partition whose replica lies in `dir`.
    #[must_use]
    pub fn may_lead(&self, dir: Option<Uuid>) -> bool {
        self.is_active() && dir.is_none_or(|dir| self.has_directory(dir))
    }

    /// Whether whoever presents the epoch `presented` has lost nothing that counts for this registration: it is its epoch, or not older than that of the
    /// last one that was not fenced. A broker that dies before its new epoch is on its disk presents one before, and may do so several times in a row.
    #[must_use]
    pub fn is_kept_by(&self, presented: i64) -> bool {
        presented == self.epoch || self.last_served.is_some_and(|served| (served..self.epoch).contains(&presented))
    }

    /// Whether a replica that lies in `dir` can be read: a directory that is not told counts as there.
    #[must_use]
    pub fn has_directory(&self, dir: Uuid) -> bool {
        match dir {
            directory::MIGRATING | directory::UNASSIGNED => true,
            directory::LOST => false,
            _ => self.directories.is_empty() || self.directories.contains(&dir),
        }
    }
}
