//! What a node does with what it is told, as the broker does it around its quorum (`core/src/broker/quorum.rs`).

use super::State;
use super::net::{Body, Caller, Message, Outcome};
use super::node::{Asked, Entry, Node, Value, Waiting, chance, offset, place, replica};
use klamm_core::broker::io::Unreachable;
use klamm_core::client::io::Address;
use klamm_core::id::{BrokerId, CallId, LeaderEpoch, Offset};
use klamm_core::invariant::Verdict;
use klamm_core::quorum::{Action, Quorum, Tail};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::{Request, Response};
use std::sync::Arc;

impl State {
    pub(super) fn node(&mut self, i: usize) -> &mut Node {
        self.touched |= 1 << i;
        Arc::make_mut(&mut self.nodes[i])
    }

    /// Tells the quorum of `i` something, and does what it then asks for.
    pub(super) fn with<T>(&mut self, i: usize, act: impl FnOnce(&mut Quorum, Instant, Tail) -> T) -> Result<T, String> {
        let node = self.node(i);
        let out = act(&mut node.quorum, node.clock, node.disk.tail());
        self.drain(i)?;
        Ok(out)
    }

    pub(super) fn drain(&mut self, i: usize) -> Verdict {
        while let Some(action) = self.node(i).quorum.poll() {
            self.act(i, action)?;
        }
        self.fetch(i);
        self.node(i).quorum.reseed(chance());
        Ok(())
    }

    fn act(&mut self, i: usize, action: Action) -> Verdict {
        match action {
            Action::Save { number, election } => {
                let node = self.node(i);
                node.last_save = number;
                node.disk.saving.push_back(election);
            }
            Action::Call { call, to, body } => self.call(i, call, index(to.id), body),
            Action::HangUp { call } => {
                self.node(i).open.remove(&call);
                self.net.retain(|message| {
                    !(matches!(message.body, Body::Answer(_)) && message.caller.is_some_and(|it| it.node == i && it.call == call))
                });
            }
            Action::Reply { token, body } => return self.reply(i, Caller::of(token.seq), body),
            Action::Lead { epoch, .. } => {
                let node = self.node(i);
                node.led_from = offset(node.disk.log.len());
                let (who, voters) = (node.replica, (0..self.voters).map(replica).collect());
                let node = Arc::clone(&self.nodes[i]);
                Arc::make_mut(&mut self.truth).leads(who, epoch, &node.disk, &voters)?;
                self.append(i, &[Entry { epoch, value: Value::LeaderChange(who.0) }]);
            }
            Action::Follow { .. } => self.give_up_fetch(i),
            Action::High(high) => {
                self.commits(i, high)?;
                self.node(i).high = high;
                self.unpark(i);
            }
            Action::Change { .. } => return Err("voters change that nobody has changed".to_owned()),
        }
        Ok(())
    }

    fn call(&mut self, i: usize, call: CallId, to: usize, body: Request) {
        let votes =
            matches!(&body, Request::Vote(body) if body.topics.iter().any(|topic| topic.partitions.iter().any(|ask| !ask.pre_vote)));
        let node = self.node(i);
        node.open.insert(call);
        let caller = Caller { node: i, life: node.life, call, votes };
        self.send(Message::new(i, to, Some(caller), Body::Ask(body)));
    }

    fn reply(&mut self, i: usize, caller: Caller, body: Response) -> Verdict {
        if let Response::Vote(vote) = &body
            && let Some(answer) = vote.topics.first().and_then(|topic| topic.partitions.first())
            && caller.votes
            && answer.vote_granted
        {
            Arc::make_mut(&mut self.truth).votes(replica(i), answer.leader_epoch, replica(caller.node))?;
        }
        if caller.rank(&self.nodes).is_some() {
            self.send(Message::new(i, caller.node, Some(caller), Body::Answer(body)));
        }
        Ok(())
    }

    fn send(&mut self, message: Message) {
        self.net.push(Arc::new(message));
    }

    /// Appends, which begins a sync.
    pub(super) fn append(&mut self, i: usize, entries: &[Entry]) {
        let node = self.node(i);
        node.disk.log.extend_from_slice(entries);
        node.quorum.appended(node.clock, node.disk.tail());
        self.unpark(i);
    }

    /// A message arrives.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of all requests, those that a quorum makes")]
    pub(super) fn arrive(&mut self, message: &Message) -> Verdict {
        let (i, from) = (message.to, message.from);
        match (&message.body, message.caller) {
            (Body::Ask(body), Some(caller)) => {
                let (token, body) = (caller.token(), body.clone());
                self.with(i, |quorum, now, tail| match body {
                    Request::Vote(body) => quorum.vote(now, token, body, tail),
                    Request::BeginQuorumEpoch(body) => quorum.begin_epoch(now, token, body, tail),
                    Request::EndQuorumEpoch(body) => quorum.end_epoch(now, token, body, tail),
                    other => panic!("a quorum asks {:?}", other.api()),
                })
            }
            (Body::Answer(body), Some(caller)) => {
                self.node(i).open.remove(&caller.call);
                self.with(i, |quorum, now, tail| quorum.answered(now, caller.call, Ok(body.clone()), tail))
            }
            (Body::Fetch { asked, is_stale }, _) => self.serve(i, from, *asked, *is_stale),
            (Body::Fetched { epoch, leader, outcome }, _) => self.fetched(i, from, *epoch, leader.clone(), outcome),
            (Body::Ask(_) | Body::Answer(_), None) => Ok(()),
        }
    }

    /// A message is lost with its connection; whoever waits for it or its answer hears that.
    pub(super) fn lose(&mut self, message: &Message) -> Verdict {
        match (&message.body, message.caller) {
            (Body::Ask(_) | Body::Answer(_), Some(caller)) if caller.rank(&self.nodes).is_some() => {
                let i = caller.node;
                self.node(i).open.remove(&caller.call);
                self.with(i, |quorum, now, tail| quorum.answered(now, caller.call, Err(Unreachable::Lost), tail))
            }
            (Body::Fetch { is_stale: false, .. }, _) => self.fetch_failed(message.from),
            (Body::Fetched { .. }, _) => self.fetch_failed(message.to),
            (Body::Ask(_) | Body::Answer(_) | Body::Fetch { .. }, _) => Ok(()),
        }
    }

    fn fetch_failed(&mut self, i: usize) -> Verdict {
        self.node(i).waiting = None;
        self.with(i, |quorum, now, _| quorum.fetch_failed(now))
    }

    /// Power is lost, and with it what was written since the last sync, but for `kept` records, and the last elections, but for `landed` of them.
    pub(super) fn crash(&mut self, i: usize, kept: usize, landed: usize) -> Verdict {
        self.give_up_fetch(i);
        self.net.retain(|message| !(message.to == i && matches!(message.body, Body::Answer(_))));
        // What others have asked of it comes again, on new connections.
        let parked = std::mem::take(&mut self.node(i).parked);
        for (from, asked) in parked {
            self.send(Message::new(from, i, None, Body::Fetch { asked, is_stale: false }));
        }
        let voters = self.voters;
        let node = self.node(i);
        node.disk.log.truncate(kept);
        node.disk.durable = kept;
        for _ in 0..landed {
            self.saved(i)?;
        }
        let node = self.node(i);
        node.disk.saving.clear();
        node.restart(i, voters);
        self.drain(i)
    }

    /// The store is done with the oldest election.
    pub(super) fn save_ends(&mut self, i: usize) -> Verdict {
        self.saved(i)?;
        let node = self.node(i);
        let number = node.last_save - node.disk.saving.len() as u64;
        self.with(i, |quorum, now, _| quorum.saved(now, number))
    }

    /// The store has synced all that is written.
    pub(super) fn sync_ends(&mut self, i: usize) -> Verdict {
        let node = self.node(i);
        node.disk.durable = node.disk.log.len();
        self.with(i, |quorum, now, tail| quorum.durable(now, tail))
    }

    /// The oldest election that is on its way is durable.
    fn saved(&mut self, i: usize) -> Verdict {
        let node = self.node(i);
        let Some(election) = node.disk.saving.pop_front() else { return Ok(()) };
        node.disk.election = election;
        if let Some(voted) = election.voted {
            Arc::make_mut(&mut self.truth).votes(replica(i), election.epoch, voted)?;
        }
        Ok(())
    }

    // --- replication ----------------------------------------------------------------------------------------------------------------------

    /// Asks for what follows, once everything fetched before is durable.
    fn fetch(&mut self, i: usize) {
        let voters = self.voters;
        let node = self.node(i);
        if node.waiting.is_some() || node.disk.durable < node.disk.log.len() || node.quorum.is_leader() {
            return;
        }
        // A voter hears from its leader that it leads; others have to ask.
        if node.quorum.leader().is_none() && i < voters {
            return;
        }
        let Some(target) = node.quorum.fetch_target(node.clock) else { return };
        let to = index(target.id);
        node.waiting = Some(Waiting::Asked(to));
        let (epoch, last_epoch, at) = (node.quorum.epoch(), node.disk.last_epoch(), offset(node.disk.log.len()));
        let asked = Asked { epoch, offset: at, last_epoch, high: node.high };
        self.send(Message::new(i, to, None, Body::Fetch { asked, is_stale: false }));
    }

    /// Nobody waits for its fetch any more; the request may arrive all the same.
    fn give_up_fetch(&mut self, i: usize) {
        let Some(Waiting::Asked(to)) = self.node(i).waiting.take() else { return };
        self.net.retain(|message| !(message.to == i && matches!(message.body, Body::Fetched { .. })));
        self.node(to).parked.retain(|(from, _)| *from != i);
        for message in self.net.iter_mut().filter(|message| message.from == i) {
            if let Body::Fetch { asked, is_stale: false } = message.body {
                *message = Arc::new(Message::new(i, message.to, None, Body::Fetch { asked, is_stale: true }));
            }
        }
    }

    fn serve(&mut self, i: usize, from: usize, asked: Asked, is_stale: bool) -> Verdict {
        let epoch = asked.epoch;
        self.with(i, |quorum, now, _| {
            if epoch > quorum.epoch() {
                quorum.heard(now, epoch, None, None);
            }
        })?;
        let node = &self.nodes[i];
        if !node.quorum.is_leader() || epoch != node.quorum.epoch() {
            self.answer(i, from, is_stale, Outcome::Refused);
            return Ok(());
        }
        let (held, end) = node.disk.end_of(asked.last_epoch);
        if held != asked.last_epoch || offset(end) < asked.offset {
            self.with(i, |quorum, now, _| quorum.listens(now, replica(from)))?;
            self.answer(i, from, is_stale, Outcome::Diverging { epoch: held, end: offset(end) });
            return Ok(());
        }
        self.with(i, |quorum, now, _| quorum.fetched(Now { at: now, ..Now::default() }, replica(from), asked.offset))?;
        if !is_stale {
            self.node(i).parked.push((from, asked));
            self.unpark(i);
        }
        Ok(())
    }

    /// Answers the fetches that have something to hear.
    fn unpark(&mut self, i: usize) {
        if self.nodes[i].parked.is_empty() {
            return;
        }
        let node = self.node(i);
        let (leads, epoch, high) = (node.quorum.is_leader(), node.quorum.epoch(), node.quorum.high());
        for (from, asked) in std::mem::take(&mut node.parked) {
            let log = &self.nodes[i].disk.log;
            if !leads || epoch != asked.epoch {
                self.answer(i, from, false, Outcome::Refused);
            } else if log.len() > place(asked.offset) || high.is_some_and(|high| high > asked.high) {
                let entries = log[place(asked.offset)..].to_vec();
                self.answer(i, from, false, Outcome::Records { entries, high });
            } else {
                self.node(i).parked.push((from, asked));
            }
        }
    }

    fn answer(&mut self, i: usize, to: usize, is_stale: bool, outcome: Outcome) {
        if is_stale {
            return;
        }
        let quorum = &self.nodes[i].quorum;
        let (epoch, leader) = (quorum.epoch(), quorum.leader());
        self.send(Message::new(i, to, None, Body::Fetched { epoch, leader, outcome }));
    }

    fn fetched(&mut self, i: usize, from: usize, epoch: LeaderEpoch, leader: Option<(BrokerId, Address)>, outcome: &Outcome) -> Verdict {
        let id = replica(from).0;
        let refused = *outcome == Outcome::Refused;
        // What is asked next depends on what this answer brings.
        self.node(i).waiting = Some(Waiting::Answered);
        let follows = self.with(i, |quorum, now, _| {
            // Before the news: if they name a leader, it is asked at once.
            if refused {
                quorum.fetch_failed(now);
            }
            let asked_in = quorum.epoch();
            quorum.heard(now, epoch, leader.as_ref().map(|(id, _)| *id), leader.map(|(_, address)| address));
            let follows = asked_in == epoch && !quorum.is_leader() && quorum.leader().is_some_and(|(leader, _)| leader == id);
            if follows && !refused {
                quorum.fetch_answered(now, epoch);
            }
            follows
        })?;
        // Who follows another leader by now has given the fetch up.
        if follows && self.nodes[i].waiting == Some(Waiting::Answered) {
            match outcome {
                Outcome::Refused => {}
                Outcome::Diverging { epoch, end } => self.cut(i, *epoch, *end)?,
                Outcome::Records { entries, high } => self.take_records(i, entries, *high)?,
            }
        }
        let node = self.node(i);
        node.waiting.take_if(|waiting| *waiting == Waiting::Answered);
        self.drain(i)
    }

    fn cut(&mut self, i: usize, epoch: LeaderEpoch, end: Offset) -> Verdict {
        let node = self.node(i);
        let (_, mine) = node.disk.end_of(epoch);
        let to = mine.min(place(end));
        if offset(to) < node.high {
            return Err(format!("{} must cut its log to {to}, and {} is committed", node.replica.0, node.high));
        }
        node.disk.log.truncate(to);
        node.disk.durable = node.disk.durable.min(to);
        self.with(i, |quorum, now, tail| {
            quorum.appended(now, tail);
            quorum.truncated(now, tail.end);
        })
    }

    fn take_records(&mut self, i: usize, entries: &[Entry], high: Option<Offset>) -> Verdict {
        if !entries.is_empty() {
            self.append(i, entries);
        }
        let node = self.node(i);
        let reached = high.unwrap_or_default().min(offset(node.disk.log.len()));
        node.high = node.high.max(reached);
        self.with(i, |quorum, now, _| quorum.committed(now, reached))
    }
}

fn index(id: BrokerId) -> usize {
    usize::try_from(id.0 - 1).expect("ids count from 1")
}
