//! Operators of the metadata quorum (KIP-853): they look who votes, remove voters, the leader too, and add observers; also what makes no sense, or
//! what another one does just then. A voter that has lost its disk they replace by its node on the new one.
//!
//! While faults strike, a request may be carried out long after it was given up, so only its own answer is judged: whether it is one that Kafka could
//! give. When all is healed, one operator alone goes on, and then the voters are to the last one what it was told.

use super::Book;
use super::line::Line;
use super::solo::Task;
use crate::plan::{Plan, QuorumKnobs};
use crate::stage;
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, PartitionIndex, Uuid};
use klamm_core::quorum::Replica as Voter;
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::add_raft_voter::{AddRaftVoterRequest, Listener};
use klamm_core::wire::api::describe_quorum::{DescribeQuorumRequest, DescribeQuorumResponse, PartitionData, TopicData};
use klamm_core::wire::api::remove_raft_voter::RemoveRaftVoterRequest;
use klamm_core::wire::{Request, Response};
use rand::Rng as _;
use std::collections::BTreeSet;
use std::time::Duration;

/// So long after the end of the faults nothing of what was asked before is carried out any more: it was given up after ten seconds, and what a cut had
/// held has arrived.
const QUIET: Duration = Duration::from_secs(14);
/// Between two steps then.
const STEP: Duration = Duration::from_millis(300);

/// An operator.
pub struct Voters {
    knobs: QuorumKnobs,
    /// It is the one that goes on when all is healed.
    is_first: bool,
    controllers: Vec<u32>,
    book: Book,
    rng: Rng,
    next: Instant,
    /// Who voted when it last looked, and who led.
    seen: Option<(BTreeSet<Voter>, BrokerId)>,
    /// What it saw before it asked for the last change.
    before: Option<(BTreeSet<Voter>, BrokerId)>,
    asked: Option<Asked>,
    /// The same is to be asked again at once.
    again: Option<Asked>,
    /// From then on nobody else changes anything.
    alone_from: Option<Instant>,
    /// Then: whoever votes is one of these.
    possible: Option<BTreeSet<BTreeSet<Voter>>>,
    is_done: bool,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Describe,
    Add(Voter, Twist),
    Remove(Voter, Twist),
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twist {
    /// Nothing.
    None,
    /// A directory that never was.
    Directory,
    /// No directory at all.
    NoDirectory,
    /// No listener of that name.
    NoListener,
    /// Another cluster.
    Cluster,
}

const NO_DISK: Uuid = Uuid([0xee; 16]);

impl Voters {
    /// Number 0 goes on when all is healed.
    #[must_use]
    pub fn new(plan: &Plan, knobs: QuorumKnobs, number: u32, book: Book) -> Self {
        Self {
            knobs,
            is_first: number == 0,
            controllers: plan.voters().collect(),
            book,
            rng: rng::stream(plan.seed, &format!("operator of voters {number}")),
            next: Instant(knobs.every),
            seen: None,
            before: None,
            asked: None,
            again: None,
            alone_from: None,
            possible: None,
            is_done: false,
        }
    }

    fn violation(&self, what: String) {
        self.book.borrow_mut().violations.push(what);
    }

    /// The node on the disk that it has now.
    fn on_its_disk(&self, id: BrokerId) -> Voter {
        (id, self.book.borrow().disks.get(&id).copied().unwrap_or_default())
    }

    // --- what to ask ----------------------------------------------------------------------------------------------------------------------

    /// What is to be done while faults strike.
    fn choose(&mut self, now: Now) -> Asked {
        self.before = self.seen.take();
        let Some((voters, leader)) = self.before.clone() else { return Asked::Describe };
        if self.rng.random_ratio(1, 5) {
            return self.choose_nonsense(&voters);
        }
        if let Some(lost) = self.without_disk(&voters) {
            return Asked::Remove(lost, Twist::None);
        }
        let outside = self.outside(&voters);
        let may_remove = voters.len() > self.knobs.least && now.at.0 > self.knobs.wipes_until && self.all_replaced(&voters);
        if !outside.is_empty() {
            let removes = may_remove && self.rng.random_bool(0.5);
            if !removes {
                return Asked::Add(outside[self.rng.random_range(0..outside.len())], Twist::None);
            }
        }
        if !may_remove {
            return Asked::Describe;
        }
        let all: Vec<Voter> = voters.into_iter().collect();
        let leader = all.iter().find(|voter| voter.0 == leader).filter(|_| self.rng.random_ratio(1, 3)).copied();
        Asked::Remove(leader.unwrap_or_else(|| all[self.rng.random_range(0..all.len())]), Twist::None)
    }

    fn choose_nonsense(&mut self, voters: &BTreeSet<Voter>) -> Asked {
        let id = BrokerId(self.controllers[self.rng.random_range(0..self.controllers.len())] as i32);
        let voter = voters.iter().find(|voter| voter.0 == id).copied().unwrap_or_else(|| self.on_its_disk(id));
        match self.rng.random_range(0..8) {
            0 => Asked::Add((id, NO_DISK), Twist::Directory),
            1 => Asked::Add((id, Uuid::ZERO), Twist::NoDirectory),
            2 => Asked::Add(self.on_its_disk(id), Twist::NoListener),
            3 => Asked::Add(self.on_its_disk(id), Twist::Cluster),
            // Perhaps it votes already.
            4 => Asked::Add(self.on_its_disk(id), Twist::None),
            5 => Asked::Remove((id, NO_DISK), Twist::Directory),
            6 => Asked::Remove((id, Uuid::ZERO), Twist::NoDirectory),
            _ => Asked::Remove(voter, Twist::Cluster),
        }
    }

    /// A voter whose disk is gone.
    fn without_disk(&self, voters: &BTreeSet<Voter>) -> Option<Voter> {
        voters.iter().find(|voter| self.on_its_disk(voter.0) != **voter).copied()
    }

    /// Whether every node that has lost a disk votes on the new one: so the removal of the old one is committed, and no voter lacks its disk. What is
    /// asked now may be done much later, when it would be one voter too many that is gone.
    fn all_replaced(&self, voters: &BTreeSet<Voter>) -> bool {
        self.book.borrow().replaced.iter().all(|id| voters.contains(&self.on_its_disk(*id)))
    }

    /// The controllers that have no vote.
    fn outside(&self, voters: &BTreeSet<Voter>) -> Vec<Voter> {
        let ids = self.controllers.iter().map(|node| BrokerId(*node as i32));
        ids.filter(|id| voters.iter().all(|voter| voter.0 != *id)).map(|id| self.on_its_disk(id)).collect()
    }

    /// What is to be done when all is healed; `None`: nothing any more.
    fn choose_alone(&mut self) -> Option<Asked> {
        let Some((voters, _)) = self.seen.take() else { return Some(Asked::Describe) };
        let lost = self.without_disk(&voters);
        if let Some(lost) = lost {
            return Some(Asked::Remove(lost, Twist::None));
        }
        let outside = self.outside(&voters).into_iter().next().filter(|_| self.knobs.restores);
        if let Some(next) = outside {
            return Some(Asked::Add(next, Twist::None));
        }
        self.is_done = true;
        self.book.borrow_mut().voters = Some(voters);
        None
    }

    fn send(&mut self, now: Now, line: &mut Line, asked: Asked) {
        let cluster = |twist: Twist| Some(if twist == Twist::Cluster { "another" } else { stage::CLUSTER }.to_owned());
        match &asked {
            Asked::Describe => {
                let partitions = vec![PartitionData { partition_index: PartitionIndex(0) }];
                let topics = vec![TopicData { topic_name: "__cluster_metadata".to_owned(), partitions }];
                line.ask(now, 2, Request::DescribeQuorum(DescribeQuorumRequest { topics }));
            }
            Asked::Add((voter_id, voter_directory_id), twist) => {
                let endpoint = stage::controller_endpoint(voter_id.0 as u32);
                let name = if *twist == Twist::NoListener { "OTHER".to_owned() } else { endpoint.name };
                let listeners = vec![Listener { name, host: endpoint.host, port: endpoint.port }];
                let ack_when_committed = self.rng.random_ratio(2, 3);
                let request = AddRaftVoterRequest {
                    cluster_id: cluster(*twist),
                    timeout_ms: 5_000,
                    voter_id: *voter_id,
                    voter_directory_id: *voter_directory_id,
                    listeners,
                    ack_when_committed,
                };
                line.ask(now, 1, Request::AddRaftVoter(request));
            }
            Asked::Remove((voter_id, voter_directory_id), twist) => {
                let request =
                    RemoveRaftVoterRequest { cluster_id: cluster(*twist), voter_id: *voter_id, voter_directory_id: *voter_directory_id };
                line.ask(now, 0, Request::RemoveRaftVoter(request));
            }
        }
        self.asked = Some(asked);
    }

    // --- what is answered -----------------------------------------------------------------------------------------------------------------

    fn described(&mut self, response: &DescribeQuorumResponse) {
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let Some(partition) = partition.filter(|_| response.error_code.is_none()) else {
            return self.violation(format!("the quorum is described as {response:?}"));
        };
        if partition.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER {
            return;
        }
        let all: Vec<Voter> = partition.current_voters.iter().map(|it| (it.replica_id, it.replica_directory_id)).collect();
        let ids: BTreeSet<BrokerId> = all.iter().map(|voter| voter.0).collect();
        let are_controllers = ids.iter().all(|id| self.controllers.contains(&(id.0 as u32)));
        let are_named = all.iter().all(|voter| voter.1 != Uuid::ZERO && voter.1 != NO_DISK);
        let is_both = partition.observers.iter().any(|it| all.contains(&(it.replica_id, it.replica_directory_id)));
        if !partition.error_code.is_none() || all.is_empty() || ids.len() < all.len() || !are_controllers || !are_named || is_both {
            return self.violation(format!("the quorum is described as {response:?}"));
        }
        let voters: BTreeSet<Voter> = all.into_iter().collect();
        if let Some(possible) = self.possible.as_ref().filter(|possible| !possible.contains(&voters)) {
            return self.violation(format!("the voters are {voters:?}, which the operator alone made one of {possible:?}"));
        }
        if self.is_alone() {
            self.possible = Some([voters.clone()].into());
        }
        self.seen = Some((voters, partition.leader_id));
    }

    fn is_alone(&self) -> bool {
        self.alone_from.is_some()
    }

    /// Whether Kafka could answer this, whatever state the quorum is in.
    fn judge(&self, asked: &Asked, code: ErrorCode) {
        // Another change is under way, or was not yet looked at; another leader.
        let passing = [ErrorCode::REQUEST_TIMED_OUT, ErrorCode::NOT_LEADER_OR_FOLLOWER];
        let others: &[ErrorCode] = match asked {
            Asked::Describe => return,
            Asked::Add(_, Twist::None) => &[ErrorCode::NONE, ErrorCode::DUPLICATE_VOTER],
            Asked::Add(_, Twist::Directory) => &[ErrorCode::DUPLICATE_VOTER],
            Asked::Remove(_, Twist::None) => &[ErrorCode::NONE, ErrorCode::VOTER_NOT_FOUND],
            Asked::Remove(_, Twist::Directory) => &[ErrorCode::VOTER_NOT_FOUND],
            Asked::Add(_, Twist::NoDirectory | Twist::NoListener) | Asked::Remove(_, Twist::NoDirectory | Twist::NoListener) => {
                &[ErrorCode::INVALID_REQUEST]
            }
            Asked::Add(_, Twist::Cluster) | Asked::Remove(_, Twist::Cluster) => &[ErrorCode::INCONSISTENT_CLUSTER_ID],
        };
        if !passing.contains(&code) && !others.contains(&code) {
            self.violation(format!("{asked:?} was answered {code:?}"));
        }
    }

    /// What has become of the voters, now that nobody else changes them.
    fn became(&mut self, asked: &Asked, code: Option<ErrorCode>) {
        let Some(possible) = &mut self.possible else { return };
        let after: BTreeSet<BTreeSet<Voter>> = possible.iter().map(|voters| applied(voters, asked)).collect();
        match code {
            Some(ErrorCode::NONE) => *possible = after,
            // It may still be carried out, or was by an attempt whose answer was lost.
            _ => possible.extend(after),
        }
    }
}

/// The voters after a change.
fn applied(voters: &BTreeSet<Voter>, asked: &Asked) -> BTreeSet<Voter> {
    let mut voters = voters.clone();
    match asked {
        Asked::Add(voter, _) => drop(voters.insert(*voter)),
        Asked::Remove(voter, _) => drop(voters.remove(voter)),
        Asked::Describe => {}
    }
    voters
}

impl Task for Voters {
    fn next(&self) -> Option<Instant> {
        let is_over = self.is_done || (!self.is_first && self.book.borrow().calm_from.is_some());
        Some(self.next).filter(|_| !is_over)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        if self.book.borrow().calm_from.is_some() {
            let alone_from = *self.alone_from.get_or_insert_with(|| {
                // What it saw before somebody else may have changed.
                (self.seen, self.again) = (None, None);
                now.at.after(QUIET)
            });
            self.next = alone_from.max(now.at.after(STEP));
            if now.at >= alone_from
                && let Some(asked) = self.choose_alone()
            {
                self.send(now, line, asked);
            }
            return;
        }
        self.next = now.at.after(Duration::from_nanos(self.knobs.every).mul_f64(self.rng.random_range(0.2..1.8)));
        let asked = self.again.take().unwrap_or_else(|| self.choose(now));
        self.send(now, line, asked);
    }

    fn hear(&mut self, now: Now, _: &mut Line, response: &Response) {
        let Some(asked) = self.asked.take() else { return };
        let code = if let Response::DescribeQuorum(response) = response {
            return self.described(response);
        } else if let Response::AddRaftVoter(response) = response {
            response.error_code
        } else if let Response::RemoveRaftVoter(response) = response {
            response.error_code
        } else {
            return;
        };
        self.judge(&asked, code);
        self.became(&asked, Some(code));
        if self.is_alone() {
            return;
        }
        // The next change at once: the last one may not be committed yet, if the operator did not wait for that.
        if let Some((voters, leader)) = self.before.take().filter(|_| code.is_none() && self.rng.random_ratio(2, 3)) {
            (self.seen, self.next) = (Some((applied(&voters, &asked), leader)), now.at);
        } else if self.rng.random_ratio(1, 6) {
            (self.again, self.next) = (Some(asked), now.at);
        }
    }

    fn lost(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.became(&asked, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Shared;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn operator() -> Voters {
        let plan = Plan::general(1).on(3);
        let knobs = QuorumKnobs { first: 3, least: 2, every: 1, rival: false, wipes_until: 0, restores: true };
        let book: Book = Rc::new(RefCell::new(Shared::default()));
        for id in 1..=3 {
            book.borrow_mut().disks.insert(BrokerId(id), Uuid([id as u8; 16]));
        }
        Voters { controllers: vec![1, 2, 3], ..Voters::new(&plan, knobs, 0, book) }
    }

    fn voter(id: i32, disk: u8) -> Voter {
        (BrokerId(id), Uuid([disk; 16]))
    }

    #[test]
    fn a_voter_without_its_disk_is_replaced_when_all_is_healed() {
        let mut operator = operator();
        let mut voters: BTreeSet<Voter> = [voter(1, 1), voter(2, 9), voter(3, 3)].into();
        for step in [Asked::Remove(voter(2, 9), Twist::None), Asked::Add(voter(2, 2), Twist::None)] {
            operator.seen = Some((voters.clone(), BrokerId(1)));
            assert_eq!(operator.choose_alone(), Some(step.clone()));
            voters = applied(&voters, &step);
        }
        operator.seen = Some((voters.clone(), BrokerId(1)));
        assert_eq!((operator.choose_alone(), &operator.book.borrow().voters), (None, &Some(voters)));
    }

    #[test]
    fn what_was_not_answered_may_or_may_not_be_done() {
        let mut operator = operator();
        let before: BTreeSet<Voter> = [voter(1, 1), voter(2, 2)].into();
        let after: BTreeSet<Voter> = [voter(1, 1)].into();
        let remove = Asked::Remove(voter(2, 2), Twist::None);
        operator.possible = Some([before.clone()].into());
        operator.became(&remove, None);
        assert_eq!(operator.possible, Some([before, after.clone()].into()));
        operator.became(&remove, Some(ErrorCode::NONE));
        assert_eq!(operator.possible, Some([after].into()));
    }

    #[test]
    fn an_answer_that_kafka_would_not_give_is_noticed() {
        let operator = operator();
        operator.judge(&Asked::Add(voter(1, 1), Twist::None), ErrorCode::DUPLICATE_VOTER);
        assert!(operator.book.borrow().violations.is_empty());
        operator.judge(&Asked::Add((BrokerId(1), NO_DISK), Twist::Directory), ErrorCode::NONE);
        assert_eq!(operator.book.borrow().violations.len(), 1);
    }
}
