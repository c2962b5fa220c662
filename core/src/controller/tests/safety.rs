//! A small model of what brokers hold, against whatever the controller decides: a record that was acknowledged is in the log of
//! every replica that may lead, unless somebody gave leave to lose it.
//!
//! The model's leaders see committed metadata at once; their requests may be late, or come twice. What a controller must hold after
//! every record and after every plan is in `check_record` and `check_all`.

use super::cluster::{Cluster, SESSION, ids};
use crate::controller::image::{Image, Partition};
use crate::controller::{Controller, Liveness, Record};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch};
use crate::partition::PartitionId;
use crate::wire::api::alter_partition::AlterPartitionRequest;
use crate::wire::api::broker_heartbeat::BrokerHeartbeatRequest;
use crate::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use crate::wire::api::unregister_broker::UnregisterBrokerRequest;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const BROKERS: i32 = 4;
const TOPICS: [&str; 3] = ["plain", "single", "loose"];

/// One thing that happens; the numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    what: u8,
    partition: u8,
    broker: u8,
    detail: u8,
}

impl Step {
    pub(super) fn of(word: u32) -> Self {
        let [what, partition, broker, detail] = word.to_le_bytes();
        Self { what, partition, broker, detail }
    }
}

/// A broker's process and what it stored.
struct Life {
    is_up: bool,
    /// Counts its processes.
    number: u8,
    /// The epoch of its registration.
    epoch: i64,
    /// The epoch that its next process will present: of its last registration that it stored, which it does before its first heartbeat.
    stored: i64,
    /// How much of each log is left when it comes back, in 256ths.
    left: Option<u8>,
}

/// What a leader knows of a follower by its last fetch.
#[derive(Clone, Copy)]
struct Fetched {
    leader_epoch: LeaderEpoch,
    broker_epoch: i64,
    end: usize,
}

/// One partition's records, on each broker.
#[derive(Default)]
struct Logs {
    held: BTreeMap<BrokerId, Vec<u32>>,
    acknowledged: Vec<u32>,
    fetched: BTreeMap<BrokerId, Fetched>,
    /// Who joins when the leader's request is confirmed, under which leader epoch.
    joining: Option<(LeaderEpoch, BTreeSet<BrokerId>)>,
    next: u32,
}

/// A request on its way; whether it is the first copy.
struct Late {
    id: PartitionId,
    request: AlterPartitionRequest,
    is_first: bool,
}

struct Model {
    c: Cluster,
    lives: BTreeMap<BrokerId, Life>,
    logs: BTreeMap<PartitionId, Logs>,
    names: BTreeMap<PartitionId, &'static str>,
    late: Vec<Late>,
    /// What every record so far makes of nothing.
    image: Image,
    read: usize,
}

type Outcome = Result<(), String>;

impl Model {
    fn new() -> Self {
        let mut c = Cluster::of(BROKERS);
        let mut names = BTreeMap::new();
        names.insert(c.topic(TOPICS[0], &[1, 2, 3], &[("min.insync.replicas", "2")]), TOPICS[0]);
        names.insert(c.topic(TOPICS[1], &[2, 3, 4], &[("min.insync.replicas", "1")]), TOPICS[1]);
        let loose = [("min.insync.replicas", "2"), ("unclean.leader.election.enable", "true")];
        names.insert(c.topic(TOPICS[2], &[3, 4, 1], &loose), TOPICS[2]);
        let life = |id: i32| {
            let epoch = c.broker(id).epoch;
            (BrokerId(id), Life { is_up: true, number: 1, epoch, stored: epoch, left: None })
        };
        let lives = (1..=BROKERS).map(life).collect();
        let logs = names.keys().map(|id| (*id, Logs::default())).collect();
        let mut model = Self { lives, logs, names, late: Vec::new(), image: Image::default(), read: 0, c };
        model.follow().expect("the beginning is sound");
        model
    }

    fn take(&mut self, step: Step) -> Outcome {
        let id = *self.names.keys().nth(usize::from(step.partition) % self.names.len()).expect("a partition");
        let broker = BrokerId(i32::from(step.broker) % BROKERS + 1);
        match step.what % 32 {
            0..=5 => self.produce(id),
            6..=10 => self.fetch(id, broker),
            11..=12 => self.want_isr(id, broker, false),
            13..=15 => self.want_isr(id, broker, true),
            16..=19 => self.deliver(step.detail),
            20 => self.die(broker, None),
            21 => self.die(broker, Some(step.detail)),
            22..=23 => self.start(broker),
            24..=25 => self.heartbeat(broker, step.detail),
            26 => self.pass(step.detail),
            27 => drop(self.c.suspect(broker.0)),
            28 => self.reassign(id, step.detail),
            29 => drop(self.c.elect(self.names[&id], 0)),
            30 => self.administer(id, broker, step.detail),
            _ => drop(self.c.bench.run(|p| p.balance_leaders())),
        }
        self.follow()?;
        self.acknowledge();
        self.check_all()
    }

    fn partition(&self, id: PartitionId) -> &Partition {
        self.c.partition(id)
    }

    /// The leader, if its process is the one that registered.
    fn leader(&self, id: PartitionId) -> Option<BrokerId> {
        self.partition(id).leader.filter(|leader| self.is_here(*leader))
    }

    fn is_here(&self, broker: BrokerId) -> bool {
        let registered = self.c.bench.controller.image().brokers().get(&broker).map(|b| b.epoch);
        self.lives[&broker].is_up && registered == Some(self.lives[&broker].epoch)
    }

    fn produce(&mut self, id: PartitionId) {
        let Some(leader) = self.leader(id) else { return };
        let logs = self.logs.get_mut(&id).expect("known");
        logs.next += 1;
        logs.held.entry(leader).or_default().push(logs.next);
    }

    fn fetch(&mut self, id: PartitionId, broker: BrokerId) {
        let Some(leader) = self.leader(id) else { return };
        if broker == leader || !self.is_here(broker) || !self.partition(id).replicas.contains(&broker) {
            return;
        }
        let leader_epoch = self.partition(id).leader_epoch;
        let broker_epoch = self.lives[&broker].epoch;
        let logs = self.logs.get_mut(&id).expect("known");
        let copy = logs.held.get(&leader).cloned().unwrap_or_default();
        logs.fetched.insert(broker, Fetched { leader_epoch, broker_epoch, end: copy.len() });
        logs.held.insert(broker, copy);
    }

    /// The leader asks for an ISR with or without `broker`; one request at a time.
    fn want_isr(&mut self, id: PartitionId, broker: BrokerId, joins: bool) {
        let Some(leader) = self.leader(id) else { return };
        let partition = self.partition(id).clone();
        let logs = &self.logs[&id];
        let is_asking = logs.joining.as_ref().is_some_and(|(epoch, _)| *epoch == partition.leader_epoch);
        let is_member = partition.isr.contains(&broker);
        if is_asking || broker == leader || is_member == joins || !partition.replicas.contains(&broker) {
            return;
        }
        let fetched = logs.fetched.get(&broker).filter(|f| f.leader_epoch == partition.leader_epoch);
        let caught_up = fetched.filter(|f| f.end >= logs.acknowledged.len());
        if joins && caught_up.is_none() {
            return;
        }
        let image = self.c.bench.controller.image();
        let known: Vec<i32> = partition.isr.iter().filter(|id| **id != broker && image.brokers().contains_key(id)).map(|id| id.0).collect();
        let mut request = self.c.wish(id, &known);
        if let Some(fetched) = caught_up.filter(|_| joins) {
            let state = crate::wire::api::alter_partition::BrokerState { broker_id: broker, broker_epoch: fetched.broker_epoch };
            request.topics[0].partitions[0].new_isr_with_epochs.push(state);
        }
        let joining = if joins { BTreeSet::from([broker]) } else { BTreeSet::new() };
        self.logs.get_mut(&id).expect("known").joining = Some((partition.leader_epoch, joining));
        self.late.push(Late { id, request, is_first: true });
    }

    /// A request reaches the controller; another copy of it may follow, if it was granted.
    fn deliver(&mut self, detail: u8) {
        if self.late.is_empty() {
            return;
        }
        let Late { id, request, is_first } = self.late.remove(usize::from(detail) % self.late.len());
        let answer = self.c.alter(&request);
        let granted = answer.error_code.is_none() && answer.topics[0].partitions[0].error_code == ErrorCode::NONE;
        let asked_under = request.topics[0].partitions[0].leader_epoch;
        let joining = &mut self.logs.get_mut(&id).expect("known").joining;
        if is_first && joining.as_ref().is_some_and(|(epoch, _)| *epoch == asked_under) {
            *joining = None;
        }
        if granted && is_first {
            self.late.push(Late { id, request, is_first: false });
        }
    }

    fn die(&mut self, broker: BrokerId, left: Option<u8>) {
        let life = self.lives.get_mut(&broker).expect("known");
        if life.is_up {
            (life.is_up, life.left) = (false, left);
        }
    }

    fn start(&mut self, broker: BrokerId) {
        let life = &self.lives[&broker];
        if life.is_up {
            return;
        }
        let (number, left, stored) = (life.number + 1, life.left, life.stored);
        let previous = if left.is_some() { -1 } else { stored };
        let answer = self.c.start(broker.0, number, previous);
        if !answer.error_code.is_none() {
            return;
        }
        for logs in self.logs.values_mut() {
            if let Some(log) = logs.held.get_mut(&broker) {
                log.truncate(left.map_or(log.len(), |left| log.len() * usize::from(left) / 256));
            }
        }
        self.lives.insert(broker, Life { is_up: true, number, epoch: answer.broker_epoch, stored, left: None });
    }

    fn heartbeat(&mut self, broker: BrokerId, detail: u8) {
        if !self.is_here(broker) {
            return;
        }
        let life = self.lives.get_mut(&broker).expect("known");
        life.stored = life.epoch;
        let request =
            BrokerHeartbeatRequest { want_fence: detail.is_multiple_of(32), want_shut_down: detail % 32 == 1, ..self.c.well(broker.0) };
        if self.c.heartbeat(&request).should_shut_down {
            self.die(broker, None);
        }
    }

    fn pass(&mut self, detail: u8) {
        self.c.pass(Duration::from_secs(u64::from(detail) % 8));
        while self.c.expire().is_some() {}
        if detail == 255 {
            self.c.liveness = Liveness::new(self.c.now, SESSION);
        }
    }

    fn reassign(&mut self, id: PartitionId, detail: u8) {
        let sets: [&[i32]; 5] = [&[1, 2, 3], &[4, 3, 2], &[1], &[2, 4], &[4, 1, 3, 2]];
        let target = sets.get(usize::from(detail) % 7).copied();
        let image = self.c.bench.controller.image();
        if target.is_none_or(|target| ids(target).iter().all(|id| image.brokers().contains_key(id))) {
            self.c.reassign(self.names[&id], target);
        }
    }

    fn administer(&mut self, id: PartitionId, broker: BrokerId, detail: u8) {
        match detail % 8 {
            0..=4 => self.set_min_isr(id, detail % 3 + 1),
            5 => drop(self.c.elect(self.names[&id], 1)),
            6 if !self.lives[&broker].is_up => {
                // Only an operator says that a broker will not come back.
                let request = UnregisterBrokerRequest { broker_id: broker };
                self.c.bench.run(|p| p.unregister_broker(&request));
            }
            _ => drop(self.c.bench.run(|p| p.elect_unclean_leaders())),
        }
    }

    fn set_min_isr(&mut self, id: PartitionId, min: u8) {
        let value = Some(min.to_string());
        let config = AlterableConfig { name: "min.insync.replicas".to_owned(), config_operation: 0, value };
        let resource_name = self.names[&id].to_owned();
        let resource = AlterConfigsResource { resource_type: 2, resource_name, configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        self.c.bench.run(|p| p.incremental_alter_configs(&request));
    }

    fn min_isr(&self, id: PartitionId) -> usize {
        self.min_isr_in(self.c.bench.controller.image(), id)
    }

    fn min_isr_in(&self, image: &Image, id: PartitionId) -> usize {
        let configured = image.topic_config(self.names[&id], &self.c.bench.config).min_insync_replicas;
        image.partition(id).expect("it was created").min_isr(usize::try_from(configured).expect("small"))
    }

    /// The high watermark of each partition moves as far as its leader lets it.
    fn acknowledge(&mut self) {
        for id in self.names.keys().copied().collect::<Vec<_>>() {
            let Some(leader) = self.leader(id) else { continue };
            let partition = self.partition(id).clone();
            if partition.isr.len() < self.min_isr(id) {
                continue;
            }
            let logs = self.logs.get_mut(&id).expect("known");
            let joining = logs.joining.iter().filter(|(epoch, _)| *epoch == partition.leader_epoch).flat_map(|(_, all)| all);
            let maximal: BTreeSet<BrokerId> = partition.isr.iter().chain(joining).copied().filter(|id| *id != leader).collect();
            let end_of = |id: &BrokerId| logs.fetched.get(id).filter(|f| f.leader_epoch == partition.leader_epoch).map_or(0, |f| f.end);
            let own = logs.held.get(&leader).cloned().unwrap_or_default();
            let high = maximal.iter().map(end_of).min().unwrap_or(own.len()).min(own.len());
            if high > logs.acknowledged.len() {
                logs.acknowledged = own[..high].to_vec();
            }
        }
    }

    /// Replays what is new in the log, and checks each record.
    fn follow(&mut self) -> Outcome {
        while self.read < self.c.bench.log.len() {
            let records = crate::controller::record::read(&self.c.bench.log[self.read])?;
            let lost = records.iter().filter_map(|(_, record)| lost(record)).collect();
            for (_, record) in &records {
                let before = self.image.clone();
                self.image.replay(record).map_err(|why| why.0)?;
                self.check_record(&before, record, &lost)?;
            }
            self.read += 1;
        }
        Ok(())
    }

    fn check_record(&mut self, before: &Image, record: &Record, lost: &BTreeSet<BrokerId>) -> Outcome {
        let Record::PartitionChange(change) = record else { return Ok(()) };
        let id = PartitionId { topic: change.topic_id, index: change.partition_id };
        let (was, is) = (before.partition(id).expect("it changes"), self.image.partition(id).expect("it changed"));
        check_shape(is)?;
        ensure(is.partition_epoch == was.partition_epoch + 1, || {
            format!("partition epoch {} to {}", was.partition_epoch, is.partition_epoch)
        })?;
        let bumps = is.leader_epoch.0 - was.leader_epoch.0;
        ensure(bumps == 0 || bumps == 1, || format!("leader epoch {} to {}", was.leader_epoch, is.leader_epoch))?;
        ensure(bumps == 1 || was.leader == is.leader, || format!("{was:?} to {is:?}: another leader in the same epoch"))?;
        let is_new = is.leader.filter(|l| is.leader != was.leader && !was.isr.contains(l) && !was.elr.contains(l));
        let is_unclean = is_new.is_some() && is.is_recovering;
        // The end of a move may elect one that joins by the same request.
        let is_clean = is_new.is_none() || change.replicas.is_some();
        ensure(is_clean || is_unclean, || format!("{was:?} to {is:?}: neither clean nor recovering"))?;
        let is_full = is.isr.len() >= self.min_isr_in(&self.image, id);
        let candidates = was.isr.iter().chain(&was.elr);
        let mut gone = candidates.filter(|id| is.replicas.contains(id) && !is.isr.contains(id) && !is.elr.contains(id));
        let forgotten = gone.find(|id| !is_full && !is_unclean && change.leader_recovery_state != 1 && !lost.contains(id));
        ensure(forgotten.is_none(), || format!("{was:?} to {is:?}: {forgotten:?} is forgotten"))?;
        if is_unclean || change.leader_recovery_state == 1 {
            self.lose_by_leave(id);
        }
        Ok(())
    }

    /// An unclean leader's log is what counts from here on.
    fn lose_by_leave(&mut self, id: PartitionId) {
        let leader = self.image.partition(id).and_then(|p| p.leader).expect("an unclean leader");
        let logs = self.logs.get_mut(&id).expect("known");
        let own = logs.held.get(&leader).cloned().unwrap_or_default();
        let same = logs.acknowledged.iter().zip(&own).take_while(|(a, b)| a == b).count();
        logs.acknowledged.truncate(same);
    }

    fn check_all(&self) -> Outcome {
        let image = self.c.bench.controller.image();
        ensure(*image == self.image, || "the log's replay and the planned image differ".to_owned())?;
        for id in self.names.keys() {
            let partition = self.partition(*id);
            let at = || format!("{} {partition:?}", self.names[id]);
            check_shape(partition)?;
            let idle = partition.isr.iter().find(|member| !image.is_active(**member));
            ensure(idle.is_none(), || format!("{}: {idle:?} is in the ISR and not active", at()))?;
            let is_full = partition.isr.len() >= self.min_isr(*id);
            ensure(!is_full || partition.elr.is_empty(), || format!("{}: an ELR beside a full ISR", at()))?;
            self.check_candidates(*id, partition)?;
        }
        Ok(())
    }

    /// Whoever may lead without leave holds all that was acknowledged.
    fn check_candidates(&self, id: PartitionId, partition: &Partition) -> Outcome {
        let logs = &self.logs[&id];
        for candidate in partition.isr.iter().chain(&partition.elr) {
            // What a process lost that is not back shows when it registers.
            if self.lives[candidate].left.is_some() {
                continue;
            }
            let held = logs.held.get(candidate).map_or(&[][..], Vec::as_slice);
            let wants = &logs.acknowledged;
            ensure(held.starts_with(wants), || {
                format!("{} {partition:?}: {candidate} may lead, holds {held:?}, and {wants:?} is acknowledged", self.names[&id])
            })?;
        }
        Ok(())
    }
}

/// Who counts for nothing from the record's batch on: a new process of it registers, or none ever will.
fn lost(record: &Record) -> Option<BrokerId> {
    if let Record::RegisterBroker(register) = record {
        return Some(register.broker_id);
    }
    if let Record::UnregisterBroker(unregister) = record { Some(unregister.broker_id) } else { None }
}

fn check_shape(p: &Partition) -> Outcome {
    let is_within = |all: &[BrokerId]| all.iter().all(|id| p.replicas.contains(id));
    ensure(is_within(&p.isr) && is_within(&p.elr) && is_within(&p.last_known_elr), || format!("{p:?}: a stranger"))?;
    ensure(p.leader.is_none_or(|leader| p.isr.contains(&leader)), || format!("{p:?}: the leader is not in sync"))?;
    ensure(!p.isr.iter().any(|id| p.elr.contains(id)), || format!("{p:?}: in ISR and ELR"))?;
    ensure(p.leader.is_some() || p.isr.is_empty(), || format!("{p:?}: in sync and nobody leads"))?;
    ensure(p.directories.len() == p.replicas.len(), || format!("{p:?}: a replica without a directory"))
}

fn ensure(holds: bool, words: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(words()) }
}

/// Everything that happens, and what was wrong first.
pub(super) fn run(words: &[u32]) -> Outcome {
    let mut model = Model::new();
    for (at, word) in words.iter().enumerate() {
        let step = Step::of(*word);
        model.take(step).map_err(|why| format!("step {at}, {step:?}: {why}"))?;
        model.c.bench.controller.check_all();
    }
    let mut again = Controller::default();
    for batch in &model.c.bench.log {
        again.take_in(batch)?;
    }
    again.commit(again.end())?;
    super::comes_back(again.image());
    ensure(again.image() == model.c.bench.controller.image(), || "a replay of the log gives another image".to_owned())
}

proptest! {
    #[test]
    fn nothing_acknowledged_is_lost_without_leave(words in prop::collection::vec(any::<u32>(), 1..300)) {
        if let Err(why) = run(&words) {
            prop_assert!(false, "{}", why);
        }
    }
}

#[cfg(feature = "sim")]
mod mutants {
    use super::run;
    use crate::probe::{Mutant, switch};
    use crate::rng;
    use rand::Rng as _;

    const SEEDS: u64 = 3000;

    /// In how many seeds the mutant shows; a panic counts, for the fold trusts nothing.
    fn found(mutant: Mutant) -> Option<u64> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let seed = (0..SEEDS).find(|seed| {
            let mut rng = rng::stream(*seed, "safety");
            let words: Vec<u32> = (0..400).map(|_| rng.random()).collect();
            switch(Some(mutant));
            let outcome = std::panic::catch_unwind(|| run(&words));
            switch(None);
            !matches!(outcome, Ok(Ok(())))
        });
        std::panic::set_hook(hook);
        seed
    }

    #[test]
    fn each_mutant_is_found() {
        let all = [
            Mutant::AlterpartNoEpoch,
            Mutant::IsrStaleBroker,
            Mutant::LastReplicaStanding,
            Mutant::UncleanKeepsIsr,
            Mutant::FencedInIsr,
            Mutant::PreferredNotInIsr,
        ];
        let first: Vec<(&str, Option<u64>)> = all.into_iter().map(|mutant| (mutant.name(), found(mutant))).collect();
        println!("first seeds: {first:?}");
        assert!(first.iter().all(|(_, seed)| seed.is_some()), "unseen within {SEEDS} seeds: {first:?}");
    }
}
