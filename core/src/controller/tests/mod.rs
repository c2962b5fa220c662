//! Plans against Kafka's own answers, and properties of whatever is planned.

mod cluster;
mod configs;
mod isr;
mod liveness;
mod lives;
mod moves;
mod properties;
mod safety;
mod topics;

use super::plan::{Plan, Planner};
use super::snapshot::{Contents, decode, encode};
use super::{Controller, Image, Record};
use crate::config::{BrokerConfig, Endpoint, LogDir, Properties};
use crate::id::{BrokerId, LeaderEpoch, Uuid};
use crate::rng::{self, Rng};
use crate::time::Timestamp;
use crate::wire::batch::Batch;
use crate::wire::records::control::QuorumOf;

/// A snapshot of an image holds all of it.
pub(super) fn comes_back(image: &Image) {
    let quorum = QuorumOf { version: 1, voters: Vec::new() };
    let bytes = encode(image, &quorum, LeaderEpoch(7), Timestamp(9));
    let contents = decode(&bytes).expect("our own snapshot");
    assert!(contents == Contents { time: Timestamp(9), quorum, image: image.clone() }, "{image:?} comes back as {:?}", contents.image);
    contents.image.check_all();
}

/// A controller over a log that never fails, and is committed when the test says so.
pub(super) struct Bench {
    pub(super) controller: Controller,
    pub(super) config: BrokerConfig,
    pub(super) log: Vec<Batch>,
    rng: Rng,
}

impl Bench {
    /// One broker, 1, that has registered.
    pub(super) fn new() -> Self {
        Self::with(&[])
    }

    /// One broker with `fixed` in its file.
    pub(super) fn with(fixed: &[(&str, &str)]) -> Self {
        let fixed: Properties = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut bench = Self::bare(fixed);
        let at = bench.controller.end();
        let records = bench.planner().start(at);
        bench.propose(records);
        bench.commit();
        bench
    }

    /// Nothing is in the log.
    pub(super) fn bare(fixed: Properties) -> Self {
        let endpoint = Endpoint { name: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port: 9092, security: 0 };
        let dir = LogDir { path: "/data".to_owned(), id: Uuid([7; 16]) };
        let config = BrokerConfig::new(BrokerId(1), "cluster", vec![endpoint], vec![dir], fixed).expect("a valid file");
        let mut bench = Self { controller: Controller::default(), config, log: Vec::new(), rng: rng::stream(7, "test") };
        bench.controller.activate();
        bench
    }

    pub(super) fn planner(&mut self) -> Planner<'_> {
        Planner { image: self.controller.planned(), config: &self.config, rng: &mut self.rng }
    }

    pub(super) fn propose(&mut self, records: Vec<Record>) {
        let end = self.controller.end();
        let (_, batch) = self.controller.propose(records, Timestamp(1));
        self.log.extend(batch.map(|batch| batch.stamp(end, LeaderEpoch(1))));
    }

    pub(super) fn commit(&mut self) {
        let end = self.controller.end();
        self.controller.commit(end).expect("our own records");
        self.controller.check_all();
    }

    /// Plans, appends and commits.
    pub(super) fn run<R>(&mut self, plan: impl FnOnce(&mut Planner<'_>) -> Plan<R>) -> R {
        let Plan { records, response } = plan(&mut self.planner());
        self.propose(records);
        self.commit();
        response
    }
}
