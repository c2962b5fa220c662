//! One node's metadata through many leaderships: what it proposed and was cut is forgotten, whatever else the log holds, who waits for a proposal is
//! told whether it holds, and a snapshot takes the place of the log that it stands for.

use crate::controller::image::Image;
use crate::controller::snapshot::{Contents, decode, encode};
use crate::controller::{CommitId, Controller, Record, record};
use crate::id::{LeaderEpoch, Offset, ProducerId};
use crate::rng::{self, Rng};
use crate::time::Timestamp;
use crate::wire::batch::Batch;
use crate::wire::records::control::{ControlRecord, QuorumOf};
use crate::wire::records::metadata::{ConfigRecord, ProducerIdsRecord};
use crate::wire::records::raft::LeaderChangeMessage;
use rand::Rng as _;
use std::collections::BTreeMap;

/// The log as it is on this node, and what of it is committed.
struct Life {
    controller: Controller,
    log: Vec<Batch>,
    committed: usize,
    epoch: i32,
    /// What was proposed and of which nothing was told, and the batch that it waits for.
    waiting: BTreeMap<CommitId, Batch>,
    rng: Rng,
}

impl Life {
    fn new(seed: u64) -> Self {
        Self {
            controller: Controller::default(),
            log: Vec::new(),
            committed: 0,
            epoch: 0,
            waiting: BTreeMap::new(),
            rng: rng::stream(seed, "lives"),
        }
    }

    fn end(&self, batches: usize) -> Offset {
        self.log[..batches].last().map_or(Offset::ZERO, |batch| batch.header().next_offset())
    }

    fn fold(&self, batches: usize) -> Image {
        let mut image = Image::default();
        for batch in &self.log[..batches] {
            for (_, record) in record::read(batch).expect("our own records") {
                image.replay(&record).expect("our own records");
            }
        }
        image
    }

    /// Something that can follow upon `image`, and not twice.
    fn records(&mut self, image: &Image) -> Vec<Record> {
        let next_producer_id = ProducerId(image.next_producer_id().0 + self.rng.random_range(1..5));
        let setting = ConfigRecord {
            resource_type: 4,
            resource_name: String::new(),
            name: format!("key-{}", self.rng.random_range(0..3)),
            value: self.rng.random_bool(0.7).then(|| self.rng.random_range(0..100).to_string()),
        };
        let ids = ProducerIdsRecord { next_producer_id, ..Default::default() };
        if self.rng.random_bool(0.5) { vec![Record::ProducerIds(ids)] } else { vec![Record::ProducerIds(ids), Record::Config(setting)] }
    }

    fn push(&mut self, batch: &Batch) -> Batch {
        let stamped = batch.stamp(self.end(self.log.len()), LeaderEpoch(self.epoch));
        self.log.push(stamped.clone());
        stamped
    }

    fn push_control(&mut self) {
        let change = ControlRecord::LeaderChange(LeaderChangeMessage::default());
        let batch = ControlRecord::batch(&[change], Offset::ZERO, LeaderEpoch(-1), Timestamp(1));
        let stamped = self.push(&batch);
        self.controller.pass(stamped.header());
    }

    fn commit(&mut self, upto: usize) {
        self.committed = self.committed.max(upto);
        let done = self.controller.commit(self.end(self.committed)).expect("a log that fits").done;
        self.told(&done, |life, batch| life.log[..life.committed].contains(batch));
    }

    /// Of these proposals the fate is told now, and of no other that `is_told`.
    fn told(&mut self, proposals: &[CommitId], is_told: impl Fn(&Self, &Batch) -> bool) {
        let expected: Vec<CommitId> = self.waiting.iter().filter(|(_, batch)| is_told(self, batch)).map(|(id, _)| *id).collect();
        assert_eq!(proposals, expected);
        self.waiting.retain(|id, _| !expected.contains(id));
    }

    /// Another leader has cut what it does not have, and goes on.
    fn follow(&mut self) {
        self.controller.deactivate();
        self.epoch += 1;
        let kept = self.rng.random_range(self.committed..=self.log.len());
        self.log.truncate(kept);
        let lost = self.controller.cut(self.end(kept));
        self.told(&lost, |life, batch| !life.log.contains(batch));
        self.push_control();
        for _ in 0..self.rng.random_range(0..3) {
            let image = self.fold(self.log.len());
            let records = self.records(&image);
            let stamped = self.push(&record::batch(&records, Timestamp(2)));
            self.controller.take_in(&stamped).expect("our own records");
        }
    }

    /// This node missed what other leaders did, and is given a snapshot.
    fn restore(&mut self) {
        self.controller.deactivate();
        self.epoch += 1;
        self.log.truncate(self.committed);
        for _ in 0..self.rng.random_range(1..4) {
            let image = self.fold(self.log.len());
            let records = self.records(&image);
            self.push(&record::batch(&records, Timestamp(3)));
        }
        self.committed = self.log.len();
        let quorum = QuorumOf { version: 1, voters: Vec::new() };
        let bytes = encode(&self.fold(self.committed), &quorum, LeaderEpoch(self.epoch), Timestamp(3));
        let Contents { time, quorum: told, image } = decode(&bytes).expect("our own snapshot");
        assert_eq!((time, told), (Timestamp(3), quorum));
        let unknown = self.controller.restore(image, self.end(self.committed), time);
        self.told(&unknown, |_, _| true);
    }

    fn lead(&mut self) {
        self.controller.deactivate();
        self.epoch += 1;
        self.push_control();
        let all = self.log.len();
        self.commit(all);
        self.controller.activate();
    }

    fn step(&mut self) {
        match self.rng.random_range(0..10) {
            0 => self.follow(),
            1 => self.restore(),
            2 => self.lead(),
            3 if self.controller.is_active() => self.push_control(),
            4..8 if self.controller.is_active() => {
                let records = self.records(&self.controller.planned().clone());
                let (id, batch) = self.controller.propose(records, Timestamp(4));
                let stamped = self.push(&batch.expect("records"));
                self.waiting.insert(id, stamped);
            }
            _ => {
                let upto = self.rng.random_range(self.committed..=self.log.len());
                self.commit(upto);
            }
        }
        self.controller.check_all();
        assert_eq!(self.controller.end(), self.end(self.log.len()));
        assert_eq!(self.controller.applied(), self.end(self.committed));
        assert!(*self.controller.image() == self.fold(self.committed), "the image is not what is committed");
        if self.controller.is_active() {
            assert!(*self.controller.planned() == self.fold(self.log.len()), "the plan is not what the log says");
        }
    }
}

fn run(seed: u64) {
    let mut life = Life::new(seed);
    (0..80).for_each(|_| life.step());
}

#[test]
fn the_image_is_what_is_committed_through_all_leaderships() {
    (0..200).for_each(run);
}

#[cfg(feature = "sim")]
#[test]
fn a_plan_that_outlives_its_leadership_is_noticed() {
    use crate::probe::{Mutant, switch};
    switch(Some(Mutant::RenounceNoSnapshot));
    let caught = (0..50).find(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
    switch(None);
    println!("after {caught:?} seeds");
    assert!(caught.is_some(), "it went unnoticed");
}
