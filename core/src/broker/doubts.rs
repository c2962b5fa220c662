//! Metadata requests that wait until the controller says who leads in place of a leader that is in doubt.
//!
//! A client loses a dead leader in the same moment as its followers do, and asks at once who leads. Told of the old one, or of none, librdkafka asks again
//! only a second later, while the next one is elected within milliseconds: so the answer waits for it, a little.

use super::{Broker, Timer, Token};
use crate::id::BrokerId;
use crate::partition::PartitionId;
use crate::probe;
use crate::time::Instant;
use crate::wire::api::metadata::MetadataRequest;
use std::time::Duration;

/// How long a request may wait: longer than the election of a new controller and of a leader takes, and short beside any client's patience, since the
/// answers to whatever follows on the connection wait too.
const WAIT: Duration = Duration::from_millis(500);

/// A metadata request that waits.
#[derive(Clone, Debug)]
pub(super) struct Doubting {
    version: i16,
    body: MetadataRequest,
    /// What it asks for whose leader is in doubt.
    doubted: Vec<(PartitionId, BrokerId)>,
    deadline: Instant,
}

impl Broker {
    /// Waits until none of these leads, or is in doubt.
    pub(super) fn wait_for_leaders(&mut self, token: Token, version: i16, body: MetadataRequest, doubted: Vec<(PartitionId, BrokerId)>) {
        probe!("a client that asks for a leader in doubt waits for the next one");
        let deadline = self.timer(WAIT, Timer::Doubting(token));
        self.doubting.insert(token, Doubting { version, body, doubted, deadline });
    }

    /// The metadata changed, or a leader that was in doubt answered.
    pub(super) fn look_at_doubts(&mut self) {
        let is_told = |doubting: &Doubting| !doubting.doubted.iter().any(|(id, leader)| self.leads_in_doubt(*id, *leader));
        let told: Vec<Token> = self.doubting.iter().filter(|(_, doubting)| is_told(doubting)).map(|(token, _)| *token).collect();
        told.into_iter().for_each(|token| self.end_doubt(token));
    }

    /// Answers with what is known.
    pub(super) fn end_doubt(&mut self, token: Token) {
        if let Some(Doubting { version, body, .. }) = self.drop_doubt(token) {
            self.tell_metadata(token, version, &body);
        }
    }

    pub(super) fn drop_doubt(&mut self, token: Token) -> Option<Doubting> {
        let doubting = self.doubting.remove(&token)?;
        self.timers.remove(&(doubting.deadline, Timer::Doubting(token)));
        Some(doubting)
    }

    fn leads_in_doubt(&self, id: PartitionId, leader: BrokerId) -> bool {
        self.is_doubted(leader) && self.image().partition(id).is_some_and(|partition| partition.leader == Some(leader))
    }
}
