//! One node: a `Quorum`, and what a broker does around it.

use super::fetch::{Parked, Waiting};
use super::log::{Disk, Entry, Value};
use super::{Event, Message, World, address, ms};
use crate::id::{BrokerId, CallId, ConnId, LeaderEpoch, Offset, Uuid};
use crate::quorum::{Action, Election, Quorum, Replica};
use crate::request::Token;
use crate::rng::stream;
use crate::time::{Instant, Now};
use crate::wire::api::add_raft_voter::{AddRaftVoterRequest, Listener};
use crate::wire::api::remove_raft_voter::RemoveRaftVoterRequest;
use crate::wire::{Request, Response};
use rand::Rng as _;
use std::collections::BTreeMap;

/// A request under way: who waits, for which call, and whom a vote is asked for.
type Asked = (usize, CallId, Option<(LeaderEpoch, Replica)>);

pub(in crate::quorum::tests) struct Node {
    pub(in crate::quorum::tests) replica: Replica,
    pub(super) disk: Disk,
    /// `None` while the process is down.
    pub(super) quorum: Option<Quorum>,
    /// How often it was started.
    pub(super) life: u64,
    pub(super) paused: Instant,
    pub(super) stopping: bool,
    /// The next tick that is on its way.
    tick: Option<Instant>,
    asked: BTreeMap<Token, Asked>,
    pub(super) waiting: Option<Waiting>,
    pub(super) parked: Vec<Parked>,
    /// The newest epoch that it told anybody of.
    told: LeaderEpoch,
    /// The newest epoch that this life knew.
    epoch: LeaderEpoch,
    /// What it has been told to be committed, or told itself.
    pub(super) high: Offset,
}

impl Node {
    pub(super) fn new(replica: Replica) -> Self {
        Self {
            replica,
            disk: Disk::default(),
            quorum: None,
            life: 0,
            paused: Instant(0),
            stopping: false,
            tick: None,
            asked: BTreeMap::new(),
            waiting: None,
            parked: Vec::new(),
            told: LeaderEpoch(0),
            epoch: LeaderEpoch(0),
            high: Offset::ZERO,
        }
    }
}

impl World {
    pub(super) fn quorum(&self, i: usize) -> &Quorum {
        self.nodes[i].quorum.as_ref().unwrap_or_else(|| panic!("{i} is up"))
    }

    /// Lets the quorum of `i` do something, if it is up, and does what it then asks for.
    pub(super) fn with<T>(&mut self, i: usize, act: impl FnOnce(&mut Quorum, Now, &Disk) -> T) -> Option<T> {
        let now = Now { at: self.now, ..Now::default() };
        let node = &mut self.nodes[i];
        let out = node.quorum.as_mut().map(|quorum| act(quorum, now, &node.disk));
        self.drain(i);
        out
    }

    pub(super) fn start(&mut self, i: usize, seed: u64) {
        let config = self.config(i);
        let (now, initial) = (self.now, self.initial.clone());
        let node = &mut self.nodes[i];
        node.life += 1;
        let rng = stream(seed ^ (node.life << 8), &config.me.to_string());
        let mut quorum = Quorum::new(config, node.disk.election, initial, node.disk.tail(), now, rng);
        for (at, voters) in node.disk.voters() {
            quorum.voters_changed(now, at, voters);
        }
        assert!(quorum.epoch() >= node.told, "{i} forgot epoch {}, and is at {}", node.told, quorum.epoch());
        (node.epoch, node.stopping, node.tick, node.high) = (quorum.epoch(), false, None, Offset::ZERO);
        node.quorum = Some(quorum);
        let state = (self.quorum(i).epoch(), self.quorum(i).role(), self.nodes[i].disk.tail());
        self.note(|| format!("{i} starts: {state:?}"));
        self.drain(i);
    }

    /// Loses power, and with it some of what was not yet synced.
    pub(super) fn crash(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        if node.quorum.take().is_none() {
            return;
        }
        let disk = &mut node.disk;
        let kept = self.rng.random_range(disk.durable..=disk.log.len());
        self.seen.lost_records += u64::try_from(disk.log.len() - kept).expect("few");
        disk.log.truncate(kept);
        disk.durable = kept;
        let landed = self.rng.random_range(0..=disk.saving.len());
        self.seen.lost_elections += u64::try_from(disk.saving.len() - landed).expect("few");
        if let Some((_, election)) = disk.saving.iter().take(landed).next_back() {
            disk.election = *election;
        }
        disk.saving.clear();
        (node.waiting, node.asked, node.life) = (None, BTreeMap::new(), node.life + 1);
        node.parked.clear();
        self.seen.crashes += 1;
        let delay = ms(self.rng.random_range(1..400));
        self.note(|| format!("{i} crashes"));
        self.after(delay, i, Event::Restart);
    }

    /// The disk of a voter is replaced: the node comes back with another directory and nothing else.
    pub(super) fn wipe(&mut self, i: usize) {
        if self.seen.wipes > 0 || i >= self.initial.len() {
            return;
        }
        self.crash(i);
        let node = &mut self.nodes[i];
        // What it had acknowledged was on a disk once, and was counted.
        self.truth.ghost = Some((node.replica, node.disk.log.clone()));
        (node.disk, node.told, node.replica.1) = (Disk::default(), LeaderEpoch(0), Uuid([100; 16]));
        self.seen.wipes += 1;
        self.note(|| format!("{i} loses its disk"));
    }

    pub(super) fn suspect(&mut self, i: usize) {
        let Some((leader, _)) = self.nodes[i].quorum.as_ref().and_then(Quorum::leader) else { return };
        self.with(i, |quorum, now, _| quorum.gone(now.at, leader));
    }

    pub(super) fn resign(&mut self, i: usize) {
        if self.nodes[i].quorum.is_some() {
            self.nodes[i].stopping = true;
            self.note(|| format!("{i} resigns"));
            self.with(i, |quorum, now, _| quorum.resign(now.at));
        }
    }

    pub(super) fn propose(&mut self) {
        for i in 0..self.nodes.len() {
            if self.nodes[i].paused <= self.now && self.nodes[i].quorum.as_ref().is_some_and(Quorum::is_leader) {
                self.next_value += 1;
                let (epoch, value) = (self.quorum(i).epoch(), Value::Data(self.next_value));
                self.append(i, vec![Entry { epoch, value }]);
            }
        }
    }

    /// Somebody adds or removes a voter, by whoever leads.
    pub(super) fn change_voters(&mut self) {
        let leads = |i: &usize| self.nodes[*i].paused <= self.now && self.nodes[*i].quorum.as_ref().is_some_and(Quorum::is_leader);
        let Some(leader) = (0..self.nodes.len()).find(leads) else { return };
        let i = self.rng.random_range(0..self.nodes.len());
        let (voter_id, voter_directory_id) = self.nodes[i].replica;
        let to = address(voter_id);
        let listeners = vec![Listener { name: "CONTROLLER".into(), host: to.host, port: to.port }];
        let token = self.token(leader);
        self.with(leader, |quorum, now, disk| {
            if quorum.voters().contains((voter_id, voter_directory_id)) {
                let body = RemoveRaftVoterRequest { cluster_id: None, voter_id, voter_directory_id };
                quorum.remove_voter(now.at, token, body, disk.tail());
            } else {
                let body = AddRaftVoterRequest {
                    timeout_ms: 300,
                    voter_id,
                    voter_directory_id,
                    listeners,
                    cluster_id: None,
                    ack_when_committed: true,
                };
                quorum.add_voter(now.at, token, body, disk.tail());
            }
        });
    }

    fn token(&mut self, i: usize) -> Token {
        self.next_token += 1;
        Token { conn: ConnId(u64::try_from(i).expect("few")), seq: self.next_token }
    }

    pub(super) fn handle(&mut self, i: usize, event: Event) {
        match event {
            Event::Tick => {
                self.nodes[i].tick = None;
                self.with(i, |quorum, now, disk| quorum.tick(now.at, disk.tail()));
            }
            Event::Saved(number) => {
                let disk = &mut self.nodes[i].disk;
                while let Some((_, election)) = disk.saving.pop_front_if(|(saving, _)| *saving <= number) {
                    disk.election = election;
                }
                self.with(i, |quorum, now, _| quorum.saved(now.at, number));
            }
            Event::Synced(end, cuts) if cuts == self.nodes[i].disk.cuts => {
                let disk = &mut self.nodes[i].disk;
                disk.durable = disk.durable.max(end);
                self.with(i, |quorum, now, disk| quorum.durable(now.at, disk.tail()));
            }
            Event::Synced(_, _) => {}
            Event::Arrive { from, message } if self.nodes[i].quorum.is_some() => self.arrive(i, from, message),
            Event::Arrive { .. } => {}
            Event::FetchLate(number) => self.fetch_late(i, number),
            Event::Unpark(number) => self.unpark(i, Some(number)),
            Event::Restart if self.nodes[i].quorum.is_none() => self.start(i, self.nodes[i].life),
            Event::Restart => {}
        }
    }

    fn arrive(&mut self, i: usize, from: usize, message: Message) {
        match message {
            Message::Ask { call, body } => self.asked(i, from, call, body),
            Message::Answer { call, outcome } => {
                self.with(i, |quorum, now, disk| quorum.answered(now.at, call, outcome, disk.tail()));
            }
            Message::Fetch(fetch) => self.serve_fetch(i, from, fetch),
            Message::Fetched(fetched) => self.take_fetched(i, from, fetched),
        }
    }

    fn asked(&mut self, i: usize, from: usize, call: CallId, body: Request) {
        let token = self.token(i);
        let candidate = match &body {
            Request::Vote(body) if !body.topics[0].partitions[0].pre_vote => {
                let ask = &body.topics[0].partitions[0];
                Some((ask.replica_epoch, (ask.replica_id, ask.replica_directory_id)))
            }
            _ => None,
        };
        self.nodes[i].asked.insert(token, (from, call, candidate));
        self.with(i, |quorum, now, disk| match body {
            Request::Vote(body) => quorum.vote(now.at, token, body, disk.tail()),
            Request::BeginQuorumEpoch(body) => quorum.begin_epoch(now.at, token, body, disk.tail()),
            Request::EndQuorumEpoch(body) => quorum.end_epoch(now.at, token, body, disk.tail()),
            other => panic!("nobody asks {other:?}"),
        });
    }

    /// Does what the quorum of `i` wants, until it wants nothing more.
    pub(super) fn drain(&mut self, i: usize) {
        while let Some(action) = self.nodes[i].quorum.as_mut().and_then(Quorum::poll) {
            self.note(|| format!("{i} {action:?}"));
            self.act(i, action);
        }
        let Some(quorum) = &self.nodes[i].quorum else { return };
        let (epoch, before) = (quorum.epoch(), self.nodes[i].epoch);
        assert!(epoch >= before, "{i} went back from epoch {before} to {epoch}");
        self.nodes[i].epoch = epoch;
        self.fetch(i);
        self.wind(i);
    }

    /// Sees to it that the next tick comes.
    fn wind(&mut self, i: usize) {
        let node = &self.nodes[i];
        let Some(at) = node.quorum.as_ref().and_then(Quorum::deadline) else { return };
        if node.tick.is_none_or(|tick| at < tick) {
            self.nodes[i].tick = Some(at);
            self.after(at.since(self.now), i, Event::Tick);
        }
    }

    fn act(&mut self, i: usize, action: Action) {
        match action {
            Action::Save { number, election } => self.save(i, number, election),
            Action::Call { call, to, body } => {
                self.tells(i, epoch_asked(&body));
                let to = self.index(to.id);
                self.send(i, to, Message::Ask { call, body });
            }
            Action::HangUp { .. } => {}
            Action::Reply { token, body } => self.reply(i, token, body),
            Action::Lead { epoch, .. } => {
                self.seen.elections += 1;
                self.truth.leads(epoch, i, self.nodes[i].life, &self.nodes[i].disk);
                self.append(i, vec![Entry { epoch, value: Value::LeaderChange }]);
            }
            Action::Follow { .. } => self.unpark(i, None),
            Action::High(high) => {
                let voters = self.quorum(i).voters().clone();
                self.majority_has(i, &voters, high);
                assert!(high >= self.nodes[i].high, "the high watermark of {i} went from {} to {high}", self.nodes[i].high);
                self.nodes[i].high = high;
                let epoch = self.quorum(i).epoch();
                self.seen.committed += self.truth.commits(i, epoch, high, &self.nodes[i].disk);
                self.unpark(i, None);
            }
            Action::Change { epoch, voters } => {
                self.seen.changes += 1;
                self.append(i, vec![Entry { epoch, value: Value::Voters(voters) }]);
            }
        }
    }

    fn save(&mut self, i: usize, number: u64, election: Election) {
        self.nodes[i].disk.saving.push_back((number, election));
        let delay = ms(if self.rng.random_bool(0.1) { self.rng.random_range(1..80) } else { 1 });
        self.after(delay, i, Event::Saved(number));
    }

    fn reply(&mut self, i: usize, token: Token, body: Response) {
        let Some((to, call, candidate)) = self.nodes[i].asked.remove(&token) else { return };
        if let Response::Vote(vote) = &body
            && let (Some((epoch, candidate)), true) = (candidate, vote.topics.iter().any(|topic| topic.partitions[0].vote_granted))
        {
            self.truth.votes(self.nodes[i].replica, epoch, candidate);
        }
        self.tells(i, epoch_answered(&body));
        self.send(i, to, Message::Answer { call, outcome: Ok(body) });
    }

    /// From now on others may know that `i` has been in this epoch.
    pub(super) fn tells(&mut self, i: usize, epoch: Option<LeaderEpoch>) {
        self.nodes[i].told = self.nodes[i].told.max(epoch.unwrap_or_default());
    }

    /// Appends, and begins a sync.
    pub(super) fn append(&mut self, i: usize, entries: Vec<Entry>) {
        let now = self.now;
        let node = &mut self.nodes[i];
        let Some(quorum) = &mut node.quorum else { return };
        for entry in entries {
            let at = super::log::offset(node.disk.log.len());
            node.disk.log.push(entry.clone());
            quorum.appended(now, node.disk.tail());
            if let Value::Voters(voters) = entry.value {
                quorum.voters_changed(now, at, voters);
            }
        }
        let (end, cuts) = (node.disk.log.len(), node.disk.cuts);
        let delay = ms(if self.rng.random_bool(0.1) { self.rng.random_range(1..100) } else { 2 });
        self.after(delay, i, Event::Synced(end, cuts));
        self.drain(i);
        self.unpark(i, None);
    }

    pub(super) fn id(&self, i: usize) -> BrokerId {
        self.nodes[i].replica.0
    }
}

fn epoch_asked(body: &Request) -> Option<LeaderEpoch> {
    match body {
        Request::Vote(body) => Some(body.topics[0].partitions[0].replica_epoch),
        Request::BeginQuorumEpoch(body) => Some(body.topics[0].partitions[0].leader_epoch),
        Request::EndQuorumEpoch(body) => Some(body.topics[0].partitions[0].leader_epoch),
        _ => None,
    }
}

fn epoch_answered(body: &Response) -> Option<LeaderEpoch> {
    match body {
        Response::Vote(body) => body.topics.first().map(|topic| topic.partitions[0].leader_epoch),
        Response::BeginQuorumEpoch(body) => body.topics.first().map(|topic| topic.partitions[0].leader_epoch),
        Response::EndQuorumEpoch(body) => body.topics.first().map(|topic| topic.partitions[0].leader_epoch),
        _ => None,
    }
}
