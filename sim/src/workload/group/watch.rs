//! Waits, when all is healed, until every group is stable and has committed everything there is; and asks for what is committed meanwhile.
//!
//! Static members that changed what they subscribe to are first let out of their group, as an operator of Kafka must: one that comes back is given
//! what its instance had, whatever it subscribes to by then, and nothing rebalances (KIP-345, `GroupMetadataManager`).

use super::ledger::Ledger;
use super::tap::Tap;
use crate::cluster::client::{Actor, FromClient, ToClient};
use crate::workload::line::{Heard, Line, is_elsewhere};
use crate::workload::{Book, place};
use klamm_core::client::TopicPartition;
use klamm_core::client::io::Address;
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, CallId, PartitionIndex};
use klamm_core::time::{Instant, Now, Timestamp};
use klamm_core::wire::api::describe_groups::DescribeGroupsRequest;
use klamm_core::wire::api::leave_group::{LeaveGroupRequest, MemberIdentity};
use klamm_core::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic};
use klamm_core::wire::api::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchResponse};
use klamm_core::wire::{Request, Response};
use klamm_jepsen::history::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(300);

/// What it asks next, of the group at that place in its list.
#[derive(Clone, Copy, Debug)]
enum Question {
    Ends,
    /// To let those out that must join anew.
    Removal(usize),
    Committed(usize),
    State(usize),
}

/// Watches all groups of a run.
pub struct Watch {
    line: Line,
    book: Book,
    groups: Vec<String>,
    keys: Vec<Key>,
    ends: BTreeMap<TopicPartition, i64>,
    question: Question,
    /// Groups that are stable and have committed everything.
    settled: BTreeSet<usize>,
    /// So far in this round everything was as it must be.
    good: bool,
    pause: Option<Instant>,
    taps: Vec<Tap>,
    calls: u64,
    done: bool,
}

impl Watch {
    /// Waits for these groups to reach the end of these keys.
    #[must_use]
    pub fn new(at: Vec<Address>, groups: Vec<String>, keys: Vec<Key>, book: Book) -> Self {
        Self {
            line: Line::new(at),
            book,
            taps: vec![Tap::default(); groups.len()],
            groups,
            keys,
            ends: BTreeMap::new(),
            question: Question::Ends,
            settled: BTreeSet::new(),
            good: true,
            pause: None,
            calls: 0,
            done: false,
        }
    }

    fn ask(&mut self, now: Now) {
        self.pause = None;
        let (version, request) = match self.question {
            Question::Ends => (7, Request::ListOffsets(self.ends_wanted())),
            Question::Removal(at) => (5, Request::LeaveGroup(self.removal_wanted(at))),
            Question::Committed(at) => (7, Request::OffsetFetch(self.committed_wanted(at))),
            Question::State(at) => {
                (5, Request::DescribeGroups(DescribeGroupsRequest { groups: vec![self.groups[at].clone()], ..Default::default() }))
            }
        };
        self.calls += 1;
        if let Question::Committed(at) = self.question {
            let (tap, call) = (&mut self.taps[at], CallId(self.calls));
            self.book.borrow_mut().with_group(&self.groups[at], |ledger| {
                tap.sent(now.at.0, call, &request, ledger);
                Ok(())
            });
        }
        self.line.ask(now, version, request);
    }

    fn ends_wanted(&self) -> ListOffsetsRequest {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for key in &self.keys {
            let (name, partition) = place(*key);
            if topics.last().is_none_or(|last| last.name != name) {
                topics.push(ListOffsetsTopic { name, ..Default::default() });
            }
            let wanted =
                ListOffsetsPartition { partition_index: PartitionIndex(partition), timestamp: Timestamp(-1), ..Default::default() };
            topics.last_mut().expect("pushed above").partitions.push(wanted);
        }
        ListOffsetsRequest { replica_id: BrokerId(-1), topics, ..Default::default() }
    }

    fn committed_wanted(&self, at: usize) -> OffsetFetchRequest {
        let mut topics: Vec<OffsetFetchRequestTopic> = Vec::new();
        for key in &self.keys {
            let (name, partition) = place(*key);
            if topics.last().is_none_or(|last| last.name != name) {
                topics.push(OffsetFetchRequestTopic { name, ..Default::default() });
            }
            topics.last_mut().expect("pushed above").partition_indexes.push(PartitionIndex(partition));
        }
        OffsetFetchRequest { group_id: self.groups[at].clone(), topics: Some(topics), ..Default::default() }
    }

    fn removal_wanted(&self, at: usize) -> LeaveGroupRequest {
        let changed = self.changed(at).into_iter();
        let members = changed.map(|instance| MemberIdentity { group_instance_id: Some(instance), ..Default::default() }).collect();
        LeaveGroupRequest { group_id: self.groups[at].clone(), members, ..Default::default() }
    }

    fn changed(&self, at: usize) -> BTreeSet<String> {
        self.book.borrow().groups.get(&self.groups[at]).map(|ledger| ledger.changed.clone()).unwrap_or_default()
    }

    fn answered(&mut self, now: Now, response: &Response) {
        match (self.question, response) {
            (Question::Ends, Response::ListOffsets(response)) => self.ended(response),
            (Question::Removal(at), Response::LeaveGroup(answer)) => {
                self.good = answer.error_code == ErrorCode::NONE;
                if self.good {
                    self.book.borrow_mut().groups.entry(self.groups[at].clone()).or_default().changed.clear();
                }
                self.say(at, format!("members were let out: {}", answer.error_code));
            }
            (Question::Committed(at), Response::OffsetFetch(answer)) => {
                let (tap, call) = (&mut self.taps[at], CallId(self.calls));
                let listen = |ledger: &mut Ledger| tap.heard(now.at.0, call, response, ledger);
                self.book.borrow_mut().with_group(&self.groups[at], listen);
                self.committed(at, answer);
            }
            (Question::State(at), Response::DescribeGroups(response)) => {
                let state = response.groups.first().map(|group| (group.error_code, group.group_state.as_str(), group.members.len()));
                self.good &= matches!(state, Some((ErrorCode::NONE, "Stable", 1..)));
                self.say(at, format!("it is {state:?}"));
            }
            (Question::Ends | Question::Removal(_) | Question::Committed(_) | Question::State(_), _) => self.good = false,
        }
        self.next(now);
    }

    fn ended(&mut self, response: &ListOffsetsResponse) {
        for topic in &response.topics {
            for answer in &topic.partitions {
                if answer.error_code == ErrorCode::NONE {
                    self.ends.insert(TopicPartition::new(topic.name.as_str(), answer.partition_index.0), answer.offset.0);
                }
            }
        }
    }

    fn committed(&mut self, at: usize, response: &OffsetFetchResponse) {
        let mut behind = Vec::new();
        for topic in &response.topics {
            for answer in &topic.partitions {
                let part = TopicPartition::new(topic.name.as_str(), answer.partition_index.0);
                let end = self.ends.get(&part).copied().unwrap_or(0);
                // Of a partition that nothing was ever read from, nothing need be committed.
                if answer.committed_offset.0.max(0) < end {
                    behind.push(format!("{part} at {} of {end}", answer.committed_offset));
                }
            }
        }
        self.good &= response.error_code == ErrorCode::NONE && behind.is_empty();
        // Of a group, the others know nothing.
        if !is_elsewhere(response.error_code) {
            self.say(at, format!("{:?}, behind: {behind:?}", response.error_code));
        }
    }

    fn say(&self, at: usize, what: String) {
        self.book.borrow_mut().last_of_groups.insert(self.groups[at].clone(), what);
    }

    fn begin_anew(&mut self, now: Now) {
        self.question = Question::Ends;
        self.pause = Some(now.at.after(PAUSE));
        self.line.elsewhere(now);
    }

    /// Goes on to the next question.
    fn next(&mut self, now: Now) {
        if !std::mem::replace(&mut self.good, true) {
            return self.begin_anew(now);
        }
        match self.question {
            // Each node knows the ends of what it leads.
            Question::Ends if self.ends.len() < self.keys.len() => self.begin_anew(now),
            Question::Ends => self.ask_of_next(now),
            Question::Removal(at) => self.put(now, Question::Committed(at)),
            Question::Committed(at) => self.put(now, Question::State(at)),
            Question::State(at) => {
                self.settled.insert(at);
                self.ask_of_next(now);
            }
        }
    }

    fn put(&mut self, now: Now, question: Question) {
        self.question = question;
        self.ask(now);
    }

    /// Each group has its coordinator; those that were found as they must be are asked no more.
    fn ask_of_next(&mut self, now: Now) {
        match (0..self.groups.len()).find(|at| !self.settled.contains(at)) {
            Some(at) if self.changed(at).is_empty() => self.put(now, Question::Committed(at)),
            Some(at) => self.put(now, Question::Removal(at)),
            None => {
                self.done = true;
                self.book.borrow_mut().groups_settled = true;
                self.line.close();
            }
        }
    }
}

impl Actor for Watch {
    fn handle(&mut self, now: Now, input: ToClient) {
        if self.done {
            return;
        }
        match self.line.handle(now, input) {
            Heard::Nothing => {}
            Heard::Ready => self.ask(now),
            Heard::Answer(response) => self.answered(now, &response),
            Heard::Broken => self.question = Question::Ends,
        }
        if self.pause.is_some_and(|at| at <= now.at) && self.line.is_ready() {
            self.ask(now);
        }
    }

    fn poll(&mut self) -> Option<FromClient> {
        self.line.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        if self.done {
            return None;
        }
        self.line.deadline().into_iter().chain(self.pause.filter(|_| self.line.is_ready())).min()
    }
}
