//! What a voter must not forget: the newest epoch it knows, who leads it, and whom it voted for. Kafka's file `quorum-state`.

use super::json;
use super::voters::Replica;
use crate::id::{BrokerId, LeaderEpoch, Uuid};
use std::fmt::Write as _;

/// The durable state of elections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Election {
    /// The newest epoch known.
    pub epoch: LeaderEpoch,
    /// Who leads it, if that is known. Once known, an epoch's leader is not forgotten.
    pub leader: Option<BrokerId>,
    /// Whom this node voted for in that epoch.
    pub voted: Option<Replica>,
}

/// Bytes that are no `quorum-state`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BadElection {
    /// What is wrong with them.
    pub why: String,
}

impl Election {
    /// The file's content, as Kafka's version 1 has it.
    #[must_use]
    pub fn encode(&self) -> String {
        let id = |id: Option<BrokerId>| id.map_or(-1, |id| id.0);
        let (voted, directory) = (self.voted.map(|(id, _)| id), self.voted.map_or(Uuid::ZERO, |(_, directory)| directory));
        let mut text = String::new();
        write!(
            text,
            "{{\"leaderId\":{},\"leaderEpoch\":{},\"votedId\":{},\"votedDirectoryId\":\"{directory}\",\"data_version\":1}}",
            id(self.leader),
            self.epoch,
            id(voted)
        )
        .expect("a string grows");
        text
    }

    /// Reads the file, of version 0 or 1. Unknown keys are passed over.
    pub fn decode(text: &str) -> Result<Self, BadElection> {
        let fields = json::fields(text).map_err(|why| BadElection { why })?;
        let number = |key: &str, missing: i32| match fields.get(key) {
            None => Ok(missing),
            Some(value) => value.parse::<i32>().map_err(|_| BadElection { why: format!("{key} is {value}, not a number") }),
        };
        let id = |key| number(key, -1).map(|id| (id >= 0).then_some(BrokerId(id)));
        let epoch = number("leaderEpoch", -1)?;
        if epoch < 0 {
            return Err(BadElection { why: format!("leaderEpoch is {epoch}") });
        }
        let directory = fields.get("votedDirectoryId").map_or(Some(Uuid::ZERO), |text| Uuid::parse(text));
        let directory = directory.ok_or_else(|| BadElection { why: "votedDirectoryId is not an id".into() })?;
        Ok(Self { epoch: LeaderEpoch(epoch), leader: id("leaderId")?, voted: id("votedId")?.map(|id| (id, directory)) })
    }
}
