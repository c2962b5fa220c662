//! A client's view of the cluster, kept fresh: connections below, metadata beside, and the choice of whom to ask.
//!
//! Producer and consumer each own one. Never knows what its parent's calls are about.

use std::collections::BTreeSet;
use std::time::Duration;

use super::io::{Address, Common};
use super::links::{LinkEffect, Links, Outcome, Peer};
use super::metadata::Metadata;
use super::versions::{Api, Versions};
use super::{Topic, TopicPartition, io::Input};
use crate::id::{BrokerId, ConnId, LeaderEpoch};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::api::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::wire::{Request, Response};

/// A peer does not speak a request in any version that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unspoken;

/// A call's note: ours, or the parent's.
#[derive(Clone, Debug)]
enum Note<P> {
    Metadata,
    Parent(P),
}

#[derive(Clone, Debug)]
pub(super) struct Cluster<P> {
    common: Common,
    rng: Rng,
    links: Links<Note<P>>,
    metadata: Metadata,
    asking: bool,
    /// Rotates over whom to ask.
    turn: usize,
}

impl<P> Cluster<P> {
    pub(super) fn new(common: Common, rng: Rng) -> Self {
        let links = Links::new(common.clone(), rng.clone());
        Self { common, rng, links, metadata: Metadata::new(), asking: false, turn: 0 }
    }

    pub(super) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    pub(super) fn metadata_and_rng(&mut self) -> (&Metadata, &mut Rng) {
        (&self.metadata, &mut self.rng)
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(super) fn want(&mut self, topic: &Topic) {
        self.metadata.want(topic);
    }

    pub(super) fn want_only(&mut self, topics: &BTreeSet<Topic>) {
        self.metadata.want_only(topics);
    }

    pub(super) fn invalidate(&mut self) {
        self.metadata.invalidate();
    }

    /// A broker that does not lead a partition names who does, and where to find that one (KIP-951). Whether that is news: then it can be asked at once.
    pub(super) fn told(&mut self, part: &TopicPartition, leader: (BrokerId, LeaderEpoch), address: Option<Address>) -> bool {
        // Whom metadata left out may still be known by an address at which calls are open: the next answer about metadata tells which holds.
        let is_new = !self.metadata.brokers().contains_key(&leader.0) && !self.links.is_known(Peer::Broker(leader.0));
        if let Some(address) = address.filter(|_| is_new && leader.0.0 >= 0) {
            self.links.address(Peer::Broker(leader.0), &address);
            self.metadata.add_broker(leader.0, address);
        }
        self.metadata.told(part, leader)
    }

    pub(super) fn poll(&mut self) -> Option<LinkEffect> {
        self.links.poll()
    }

    pub(super) fn close(&mut self) {
        self.links.close();
        self.asking = false;
    }

    /// Takes in what is not the application's business; answers what became of the parent's calls.
    pub(super) fn absorb<C>(&mut self, now: Instant, input: Input<C>) -> Vec<Outcome<P>> {
        let outcomes = match input {
            Input::Tick | Input::App(_) => self.links.tick(now),
            Input::Connected { conn } => {
                self.links.connected(now, conn);
                Vec::new()
            }
            Input::Closed { conn } => {
                // A leader may have died: its partitions may have a new one already.
                self.metadata.invalidate();
                self.links.closed(now, conn)
            }
            Input::Answer { call, response } => self.links.answered(now, call, response),
        };
        outcomes.into_iter().flat_map(|outcome| self.sort(now, outcome)).collect()
    }

    fn sort(&mut self, now: Instant, outcome: Outcome<Note<P>>) -> Vec<Outcome<P>> {
        match outcome {
            Outcome::Answered { of: Note::Parent(of), response } => vec![Outcome::Answered { of, response }],
            Outcome::Lost { of: Note::Parent(of) } => {
                self.metadata.invalidate();
                vec![Outcome::Lost { of }]
            }
            Outcome::Lost { of: Note::Metadata } => {
                self.asking = false;
                self.metadata.failed(now, self.common.retry_backoff, &mut self.rng);
                Vec::new()
            }
            Outcome::Answered { of: Note::Metadata, response } => {
                self.asking = false;
                self.learn(now, &response)
            }
        }
    }

    /// Takes in an answer that nobody asked for.
    #[cfg(test)]
    pub(super) fn learn_for_tests(&mut self, response: &crate::wire::api::metadata::MetadataResponse) {
        self.metadata.apply(Instant::default(), Instant::default(), self.common.retry_backoff, &mut self.rng, response);
    }

    fn learn(&mut self, now: Instant, response: &Response) -> Vec<Outcome<P>> {
        let Response::Metadata(response) = response else {
            self.metadata.failed(now, self.common.retry_backoff, &mut self.rng);
            return Vec::new();
        };
        let next = now.after(self.common.metadata_max_age);
        self.metadata.apply(now, next, self.common.retry_backoff, &mut self.rng, response);
        let brokers: Vec<(BrokerId, Address)> = self.metadata.brokers().iter().map(|(id, address)| (*id, address.clone())).collect();
        let mut lost = Vec::new();
        for (id, address) in brokers {
            lost.extend(self.links.address(Peer::Broker(id), &address));
            lost.extend(self.links.address(Peer::Coordinator(id), &address));
        }
        lost.into_iter().flat_map(|outcome| self.sort(now, outcome)).collect()
    }

    /// A peer that requests can be sent to now, and the version to send this one in. Otherwise sees to it that there is a connection as soon
    /// as may be. `Err`: the peer does not speak the request at all.
    pub(super) fn ready(&mut self, now: Instant, peer: Peer, api: Api) -> Option<Result<i16, Unspoken>> {
        self.links.ready(now, peer).map(|versions| versions.pick(api).ok_or(Unspoken))
    }

    /// Where a peer is to be found from now on. Answers the calls that its old address will not answer.
    pub(super) fn set_address(&mut self, now: Instant, peer: Peer, address: Address) -> Vec<Outcome<P>> {
        let lost = self.links.address(peer, &address);
        lost.into_iter().flat_map(|outcome| self.sort(now, outcome)).collect()
    }

    /// The connection to a peer, if it is up.
    pub(super) fn conn(&self, peer: Peer) -> Option<ConnId> {
        self.links.conn(peer)
    }

    /// Sends a request whose answer must come within the request time-out and `extra`.
    pub(super) fn send(&mut self, now: Instant, peer: Peer, version: i16, request: Request, extra: Duration, of: P) {
        let until = now.after(self.common.request_timeout + extra);
        self.links.send(peer, version, request, until, Note::Parent(of));
    }

    /// Sends a request that has no answer.
    pub(super) fn send_unanswered(&mut self, peer: Peer, version: i16, request: Request) {
        self.links.send_unanswered(peer, version, request);
    }

    /// When something is to be done here. What was due by `now` waits for something else.
    pub(super) fn deadline(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let metadata = Some(self.metadata.due()).filter(|due| !self.asking && *due > now).map(|due| (due, "refresh metadata"));
        metadata.into_iter().chain(self.links.deadline()).min()
    }

    /// To be called before the parent looks at what it has to send; keeps metadata fresh on the way.
    pub(super) fn begin(&mut self, now: Instant) {
        self.links.begin();
        if self.asking || self.metadata.due() > now {
            return;
        }
        let Some(peer) = self.anyone(now) else { return };
        let Some(version) = self.links.ready(now, peer).and_then(|versions| versions.pick(Versions::METADATA)) else { return };
        let topics = self.metadata.wanted().map(|topic| MetadataRequestTopic { name: Some(topic.to_string()), ..Default::default() });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: self.common.auto_create_topics,
            ..Default::default()
        };
        self.asking = true;
        let until = now.after(self.common.request_timeout);
        self.links.send(peer, version, Request::Metadata(request), until, Note::Metadata);
    }

    /// Whom to ask what any broker can answer: someone connected and not busy, else someone known, else the bootstrap list.
    pub(super) fn anyone(&mut self, now: Instant) -> Option<Peer> {
        let brokers = self.metadata.brokers().keys().map(|id| Peer::Broker(*id));
        let bootstrap = (0..self.common.bootstrap.len()).map(Peer::Bootstrap);
        let peers: Vec<Peer> = brokers.chain(bootstrap).collect();
        if let Some(up) = peers.iter().filter(|peer| self.links.is_up(**peer)).min_by_key(|peer| self.links.outstanding(**peer)) {
            return Some(*up);
        }
        // One attempt at a time: the same peer until it fails, then the next; with all resting, the first that may be tried again.
        let awake = (0..peers.len()).map(|i| (self.turn + i) % peers.len()).find(|i| self.links.resting_until(now, peers[*i]).is_none());
        let chosen = awake.or_else(|| (0..peers.len()).min_by_key(|i| self.links.resting_until(now, peers[*i])))?;
        self.turn = chosen;
        Some(peers[chosen])
    }
}
