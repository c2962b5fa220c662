//! Changes of ISRs: a leader that sees a follower lag or catch up asks the controller, and counts both sets until it knows (KIP-497).

use super::calls::Asker;
use super::io::{Lane, Unreachable};
use super::{Broker, Timer, ms};
use crate::error::ErrorCode;
use crate::id::{BrokerId, Uuid};
use crate::partition::PartitionId;
use crate::partition::isr::Refusal;
use crate::partition::leader::Leader;
use crate::wire::Response;
use crate::wire::api::alter_partition::{AlterPartitionRequest, BrokerState, PartitionData, PartitionResult, TopicData};
use crate::{mutant, probe};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A question that came to nothing is asked again after so long.
const RETRY: Duration = Duration::from_millis(50);

/// Proposals on their way to the controller.
#[derive(Clone, Debug, Default)]
pub(super) struct Altering {
    waiting: BTreeSet<PartitionId>,
    sent: BTreeSet<PartitionId>,
    /// Asked before, with no answer: an older copy may yet be carried out.
    repeated: BTreeSet<PartitionId>,
    is_open: bool,
}

impl Broker {
    /// `replica.lag.time.max.ms`
    pub(super) fn lag_max(&self) -> Duration {
        ms(self.config.broker.replica_lag_max_ms)
    }

    /// Whether a broker may be in an ISR under this registration (KIP-841, KIP-903).
    fn may_join(&self, id: BrokerId, broker_epoch: i64) -> bool {
        self.image().brokers().get(&id).is_some_and(|b| !b.is_fenced && !b.is_stopping && b.epoch == broker_epoch)
    }

    /// A follower has fetched: it may be ready to join.
    pub(super) fn look_at_joiners(&mut self, id: PartitionId) {
        let Some(leader) = self.partitions.get(&id).and_then(|p| p.leader()) else { return };
        let Some(isr) = leader.isr() else { return };
        let reached = if mutant!(IsrJoinBelowEpochStart) { leader.high() } else { leader.high().max(leader.epoch_start) };
        let Some(joined) = isr.joined(reached, |id, epoch| self.may_join(id, epoch)) else { return };
        probe!("a follower is ready to join the ISR");
        self.propose_isr(id, joined);
    }

    /// Looks at every partition that is led here for followers that lag.
    pub(super) fn look_at_laggards(&mut self) {
        let lag_max = self.lag_max();
        self.timer(lag_max / 2, Timer::Laggards);
        let now = self.now.at;
        let lagging = self.partitions.values().filter_map(|p| {
            let leader = p.leader()?;
            Some((p.id, leader.isr()?.shrunk(now, lag_max, leader.log.end())?))
        });
        let lagging: Vec<(PartitionId, BTreeSet<BrokerId>)> = lagging.collect();
        for (id, isr) in lagging {
            probe!("a follower lags and must leave the ISR");
            self.propose_isr(id, isr);
        }
    }

    pub(super) fn propose_isr(&mut self, id: PartitionId, isr: BTreeSet<BrokerId>) {
        let Some(known) = self.partitions.get_mut(&id).and_then(|p| p.leader_mut()).and_then(Leader::isr_mut) else { return };
        known.propose(isr);
        self.altering.waiting.insert(id);
        self.alter_partitions();
    }

    /// While the log was opened anew nobody heard the answer to what was proposed.
    pub(super) fn ask_again(&mut self, id: PartitionId) {
        self.altering.repeated.insert(id);
        self.altering.waiting.insert(id);
        self.alter_partitions();
    }

    /// Sends what waits, one request at a time.
    pub(super) fn alter_partitions(&mut self) {
        let Some(broker_epoch) = self.life.epoch else { return };
        if self.altering.is_open || self.altering.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.altering.waiting);
        let mut topics: BTreeMap<Uuid, Vec<PartitionData>> = BTreeMap::new();
        for id in waiting {
            if let Some(data) = self.proposal(id) {
                self.altering.sent.insert(id);
                topics.entry(id.topic).or_default().push(data);
            }
        }
        if topics.is_empty() {
            return;
        }
        let request = AlterPartitionRequest {
            broker_id: self.config.broker.id,
            broker_epoch,
            topics: topics.into_iter().map(|(topic_id, partitions)| TopicData { topic_id, partitions }).collect(),
        };
        self.altering.is_open = self.call_controller(Lane::Control, request.into(), Asker::Isr);
        if !self.altering.is_open {
            self.alter_later();
        }
    }

    fn proposal(&self, id: PartitionId) -> Option<PartitionData> {
        let leader = self.partitions.get(&id)?.leader()?;
        let isr = leader.isr()?;
        let me = self.config.broker.id;
        let epoch_of = |id: BrokerId| if id == me { self.life.epoch.unwrap_or(-1) } else { isr.proposed_epoch(id) };
        let state = |id: &BrokerId| BrokerState { broker_id: *id, broker_epoch: epoch_of(*id) };
        Some(PartitionData {
            partition_index: id.index,
            leader_epoch: leader.epoch,
            new_isr_with_epochs: isr.proposed()?.iter().map(state).collect(),
            partition_epoch: isr.partition_epoch(),
            ..Default::default()
        })
    }

    fn alter_later(&mut self) {
        let sent = std::mem::take(&mut self.altering.sent);
        self.altering.repeated.extend(sent.iter().copied());
        self.altering.waiting.extend(sent);
        self.timer(RETRY, Timer::Isr);
    }

    pub(super) fn isr_answered(&mut self, outcome: Result<Response, Unreachable>) {
        self.altering.is_open = false;
        let response = match outcome {
            Ok(Response::AlterPartition(response)) if response.error_code == ErrorCode::NONE => response,
            // Whether it was carried out is not known: the same is asked again, and both ISRs count until then.
            Ok(_) | Err(_) => return self.alter_later(),
        };
        self.altering.sent.clear();
        for topic in response.topics {
            for result in topic.partitions {
                self.isr_result(PartitionId { topic: topic.topic_id, index: result.partition_index }, &result);
            }
        }
        // Not at once: a controller in this process would answer at once, and so on without end.
        if self.altering.sent.is_empty() { self.alter_partitions() } else { self.alter_later() }
    }

    fn isr_result(&mut self, id: PartitionId, result: &PartitionResult) {
        let (now, replicas) = (self.now.at, self.decided(id).map(|p| p.replicas.clone()).unwrap_or_default());
        // No copy of such a question has been granted, or the metadata that tells of the new life would have told of that before; and none will be.
        let names_former_life = self.partitions.get(&id).and_then(|p| p.leader()?.isr()).is_some_and(|isr| {
            let registered = |member: &BrokerId| self.image().brokers().get(member).map_or(-1, |broker| broker.epoch);
            let is_former = |member: &BrokerId| (0..registered(member)).contains(&isr.proposed_epoch(*member));
            isr.proposed().is_some_and(|proposed| proposed.iter().any(is_former))
        });
        let Some(leader) = self.partitions.get_mut(&id).and_then(|p| p.leader_mut()) else { return };
        let epoch = leader.epoch;
        let Some(isr) = leader.isr_mut() else { return };
        let before = isr.confirmed().clone();
        let was_repeated = self.altering.repeated.remove(&id);
        match result.error_code {
            ErrorCode::NONE if result.leader_epoch == epoch => isr.granted(&replicas, &result.isr, result.partition_epoch, now),
            // A member that is fenced or has another registration: without it, or later.
            ErrorCode::INELIGIBLE_REPLICA | ErrorCode::OPERATION_NOT_ATTEMPTED | ErrorCode::INVALID_REQUEST => {
                let is_void = names_former_life && result.error_code == ErrorCode::INELIGIBLE_REPLICA;
                if is_void {
                    probe!("a proposal names a former life of a member");
                }
                match isr.refused(was_repeated && !is_void) {
                    Refusal::ForGood => {}
                    Refusal::TakesBack => {
                        probe!("a proposal that may have been granted before is taken back");
                        self.altering.sent.insert(id);
                        return;
                    }
                }
            }
            // It is deposed, and does not know of our last change: the next one is asked.
            ErrorCode::NOT_CONTROLLER => {
                self.altering.sent.insert(id);
                return;
            }
            // The controller is ahead of us: the metadata will say in what.
            _ => return,
        }
        self.tell_isr(id, &before);
        if !mutant!(HwStuckAfterShrink) {
            self.advance(id);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::broker::Durability;
    use crate::id::{LeaderEpoch, Offset, PartitionIndex};
    use crate::log::{Log, Recovered};
    use crate::partition::Role;
    use crate::partition::isr::Isr;
    use crate::partition::leader::Commit;
    use crate::wire::api::alter_partition::{AlterPartitionResponse, TopicResult};

    pub(in super::super) const T: PartitionId = PartitionId { topic: Uuid([9; 16]), index: PartitionIndex(0) };

    /// Broker 1 leads a partition, and has asked that broker 2 may join.
    pub(in super::super) fn asking() -> Broker {
        let mut broker = Broker::for_tests();
        let config = broker.config.broker.topic_defaults().into();
        broker.create_partition(&"t".into(), T, &config);
        let [me, other] = [1, 2].map(BrokerId);
        let mut isr = Isr::new(me, &[me, other], &[me], 0, broker.now.at);
        isr.propose([me, other].into());
        let partition = broker.partitions.get_mut(&T).expect("just made");
        let log = Log::new(partition.log, partition.folder(), Durability::Fsync, Recovered::empty());
        partition.role = Role::Leader(Box::new(Leader::new(LeaderEpoch(0), log, Offset::ZERO, Commit::Isr(isr))));
        broker.altering.sent.insert(T);
        broker
    }

    fn answered(broker: &mut Broker, error_code: ErrorCode) {
        let partition = PartitionResult { partition_index: T.index, error_code, ..Default::default() };
        let topics = vec![TopicResult { topic_id: T.topic, partitions: vec![partition] }];
        broker.isr_answered(Ok(AlterPartitionResponse { topics, ..Default::default() }.into()));
    }

    #[test]
    fn what_a_deposed_controller_cannot_judge_is_asked_again() {
        let mut broker = asking();
        answered(&mut broker, ErrorCode::INVALID_UPDATE_VERSION);
        assert!(broker.altering.waiting.is_empty(), "the metadata will say what has become of it");
        let mut broker = asking();
        answered(&mut broker, ErrorCode::NOT_CONTROLLER);
        assert!(broker.altering.waiting.contains(&T));
    }
}
