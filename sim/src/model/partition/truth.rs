//! What must hold of the partition, whoever looks: the rules of core's `invariant`, and what they need to know of the past.

use super::node::{Log, Node, id};
use super::script::TOPIC;
use super::{BROKERS, State};
use klamm_core::id::{BrokerId, LeaderEpoch, Offset};
use klamm_core::invariant::{self, Given, Verdict};
use klamm_core::partition::Partition;
use klamm_core::wire::batch::Batch;
use std::collections::{BTreeMap, BTreeSet};

/// A batch by what it holds and who wrote it.
type Mark = (LeaderEpoch, u32);

/// What was decided for ever.
#[derive(Clone, Debug, Hash)]
pub(super) struct Truth {
    /// What leaders count as committed: each batch has one record.
    committed: Vec<Mark>,
    /// What is durable somewhere in an epoch at an offset.
    batches: Given<(LeaderEpoch, Offset), u32>,
    /// What clients sent, by number.
    sent: BTreeMap<u8, u32>,
    /// Where each is that was acknowledged.
    acknowledged: BTreeMap<Offset, u32>,
}

fn mark(batch: &Batch) -> Mark {
    (batch.header().leader_epoch, batch.header().crc)
}

fn place(offset: Offset) -> usize {
    usize::try_from(offset.0).expect("offsets of a log")
}

fn offset(at: usize) -> Offset {
    Offset(i64::try_from(at).expect("short logs"))
}

impl Truth {
    pub(super) fn new() -> Self {
        Self { committed: Vec::new(), batches: Given::new("the batch of"), sent: BTreeMap::new(), acknowledged: BTreeMap::new() }
    }

    pub(super) fn sent(&mut self, number: u8, batch: &Batch) {
        self.sent.insert(number, batch.header().crc);
    }

    /// Up to where a log agrees with what is committed.
    fn agrees(&self, batches: &[Batch]) -> usize {
        batches.iter().map(mark).zip(&self.committed).take_while(|(held, committed)| held == *committed).count()
    }

    /// Below `high`, a log holds what is committed.
    fn holds(&self, who: BrokerId, log: &Log, high: Offset) -> Verdict {
        if place(high) <= self.agrees(&log.batches) {
            return Ok(());
        }
        let held: Vec<Mark> = log.batches.iter().map(mark).collect();
        Err(format!("{who} takes for committed what is below {high} of {held:?}, and committed is {:?}", self.committed))
    }
}

fn partition(node: &Node) -> Option<&Partition> {
    node.broker.view().partitions().find(|partition| partition.id.topic == TOPIC)
}

impl State {
    /// What must hold after a step.
    pub(super) fn judge(&mut self) -> Verdict {
        let touched = self.touched;
        for i in (0..BROKERS).filter(|i| touched >> i & 1 == 1) {
            self.durable_once(i)?;
            self.look(i)?;
        }
        self.acknowledged_is_committed()?;
        self.candidates_hold_everything()
    }

    /// One batch for each epoch and offset is ever durable.
    fn durable_once(&mut self, i: usize) -> Verdict {
        let node = std::sync::Arc::clone(&self.nodes[i]);
        let Some(log) = node.log() else { return Ok(()) };
        let truth = std::sync::Arc::make_mut(&mut self.truth);
        log.batches[..log.synced].iter().try_for_each(|batch| {
            let (epoch, crc) = mark(batch);
            truth.batches.give((epoch, batch.header().base_offset), crc)
        })
    }

    /// What a broker counts as committed.
    fn look(&mut self, i: usize) -> Verdict {
        let node = std::sync::Arc::clone(&self.nodes[i]);
        let (Some(partition), Some(log)) = (partition(&node), node.log()) else { return Ok(()) };
        let high = partition.high();
        if partition.open_log().is_none() {
            return Ok(());
        }
        if let Some(leader) = partition.leader() {
            if high < node.high {
                return Err(format!("the high watermark of {} went back from {} to {high}", id(i), node.high));
            }
            let (known, end) = (self.truth.committed.len(), place(high));
            if end > known && log.batches.len() >= end {
                let new = log.batches[known..end].iter().map(mark).collect::<Vec<_>>();
                std::sync::Arc::make_mut(&mut self.truth).committed.extend(new);
            }
            if leader.epoch == self.script.leader_epoch {
                let counting: BTreeSet<BrokerId> = leader.isr().into_iter().flat_map(|isr| isr.counting()).copied().collect();
                invariant::counts_for_leader(&self.script.isr.iter().copied().collect::<Vec<_>>(), &counting)?;
            }
            self.node(i).high = high;
        }
        self.truth.holds(id(i), log, high.min(offset(log.batches.len())))
    }

    /// What a client was told is committed there.
    fn acknowledged_is_committed(&mut self) -> Verdict {
        for (number, at) in std::mem::take(&mut self.acknowledged) {
            let sent = self.truth.sent.get(&number).copied();
            let is = self.truth.committed.get(place(at)).map(|(_, crc)| *crc);
            if sent.is_none() || is != sent {
                return Err(format!("record {number} was acknowledged at {at}, and committed is {:?}", self.truth.committed));
            }
            if let Some(crc) = sent {
                std::sync::Arc::make_mut(&mut self.truth).acknowledged.insert(at, crc);
            }
        }
        Ok(())
    }

    /// Whoever may be elected has everything that is committed, durably.
    fn candidates_hold_everything(&self) -> Verdict {
        let ends = self.script.isr.iter().map(|member| {
            let node = &self.nodes[usize::try_from(member.0 - 1).expect("ids count from 1")];
            let end = node.log().map_or(0, |log| self.truth.agrees(&log.batches[..log.synced]));
            (*member, offset(end))
        });
        invariant::committed_by_all(offset(self.truth.committed.len()), ends)
    }
}
