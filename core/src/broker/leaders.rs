//! Who leads instead: told to clients that asked the wrong broker, so that they need not look for the leader first (KIP-951).
//!
//! Source: Kafka's `KafkaApis.getCurrentLeader`.

use super::boot::METADATA;
use super::{Broker, Token};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch};
use crate::partition::PartitionId;
use crate::wire::api::fetch::{FetchResponse, NodeEndpoint, PartitionData};
use crate::wire::api::produce::{self, ProduceResponse};
use std::collections::BTreeSet;

impl Broker {
    /// Who leads a partition as far as it is known here; nobody is `-1`.
    fn known_leader(&self, id: PartitionId) -> Option<(BrokerId, LeaderEpoch)> {
        let (leader, epoch) = if id == METADATA {
            self.quorum.as_ref().map(|quorum| (quorum.leader().map(|(id, _)| id), quorum.epoch()))?
        } else {
            self.decided(id).map(|decided| (decided.leader, decided.leader_epoch))?
        };
        // Whom this broker doubts it names to nobody.
        let named = leader.filter(|leader| id == METADATA || !self.is_doubted(*leader));
        Some((named.unwrap_or(BrokerId(-1)), epoch))
    }

    /// Names the leader in one partition's answer to a fetch (of the metadata log KIP-595).
    pub(super) fn name_leader(&self, id: Option<PartitionId>, answer: &mut PartitionData) {
        // A client in a newer epoch than ours knows more than we do; a replica of the metadata log may only know less of who leads.
        let is_news = match answer.error_code {
            ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH => true,
            ErrorCode::UNKNOWN_LEADER_EPOCH | ErrorCode::NONE => id == Some(METADATA),
            _ => false,
        };
        if let Some((leader, epoch)) = id.filter(|_| is_news).and_then(|id| self.known_leader(id)) {
            (answer.current_leader.leader_id, answer.current_leader.leader_epoch) = (leader, epoch);
        }
    }

    /// Where the leaders listen that a fetch is told of: that of the metadata quorum as its voters know it.
    pub(super) fn tell_endpoints(&self, token: Token, response: &mut FetchResponse) {
        let mut told = BTreeSet::new();
        for topic in &response.responses {
            let is_metadata = topic.topic_id == METADATA.topic;
            let leaders = topic.partitions.iter().map(|partition| partition.current_leader.leader_id);
            told.extend(leaders.filter(|leader| *leader >= BrokerId(0)).map(|leader| (is_metadata, leader)));
        }
        for (is_metadata, leader) in told {
            let of_quorum =
                || self.quorum.as_ref()?.leader().filter(|(id, _)| *id == leader).map(|(_, at)| (at.host, at.port.into(), None));
            let found = if is_metadata { of_quorum() } else { self.endpoint(token, leader) };
            response.node_endpoints.extend(found.map(|(host, port, rack)| NodeEndpoint { node_id: leader, host, port, rack }));
        }
    }

    /// Names the leaders of what a produce request was refused for another broker's sake, and where they listen.
    pub(super) fn name_leaders(&self, token: Token, response: &mut ProduceResponse) {
        let mut told = BTreeSet::new();
        for topic in &mut response.responses {
            for answer in topic.partition_responses.iter_mut().filter(|answer| answer.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER) {
                let by_id = PartitionId { topic: topic.topic_id, index: answer.index };
                let id = if topic.name.is_empty() { Some(by_id) } else { self.named(&topic.name, answer.index) };
                if let Some((leader_id, leader_epoch)) = id.and_then(|id| self.known_leader(id)) {
                    answer.current_leader = produce::LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() };
                    told.insert(leader_id);
                }
            }
        }
        for node_id in told {
            let found = self.endpoint(token, node_id);
            response.node_endpoints.extend(found.map(|(host, port, rack)| produce::NodeEndpoint {
                node_id,
                host,
                port,
                rack,
                ..Default::default()
            }));
        }
    }

    /// Where clients of the listener that a request came in by find a live broker, and where that one stands.
    fn endpoint(&self, token: Token, broker: BrokerId) -> Option<(String, i32, Option<String>)> {
        let (_, host, port) = self.address_of(token, broker)?;
        Some((host, port, self.image().brokers().get(&broker)?.rack.clone()))
    }
}
