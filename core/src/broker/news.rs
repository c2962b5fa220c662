//! What this node tells its operator of the cluster: who is the active controller, who is in sync, whom it cannot fetch from. Each is said when it
//! changes, and not at each attempt.

use super::boot::{METADATA, Phase};
use super::io::{Level, Unreachable};
use super::{Broker, Timer};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::partition::PartitionId;
use crate::partition::isr::Isr;
use crate::time::Instant;
use std::collections::BTreeSet;
use std::time::Duration;

/// An election takes a few seconds at most. When nothing was heard of a controller for so long, there is something to do.
const SILENCE: Duration = Duration::from_secs(10);

/// What was said last.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    controller: Option<(BrokerId, LeaderEpoch)>,
    /// When the active controller last answered, or this node was it.
    heard: Instant,
    is_missing: bool,
    is_fenced: bool,
}

/// What of a leader's replicas could not be fetched since all of them last were; each is said once.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    unreachable: BTreeSet<Unreachable>,
    partitions: BTreeSet<ErrorCode>,
}

impl Broker {
    /// From now on a controller is expected to be heard of.
    pub(super) fn expect_controller(&mut self) {
        self.news.heard = self.now.at;
        self.timer(SILENCE, Timer::Silence);
    }

    /// This node leads the quorum: it says so itself when it is active.
    pub(super) fn is_controller_itself(&mut self, epoch: LeaderEpoch) {
        self.news.controller = Some((self.config.broker.id, epoch));
        (self.news.heard, self.news.is_missing) = (self.now.at, false);
    }

    /// The leader of the quorum has answered a fetch of the metadata log.
    pub(super) fn heard_controller(&mut self, epoch: LeaderEpoch) {
        let Some((leader, _)) = self.quorum.as_ref().and_then(|quorum| quorum.leader()) else { return };
        self.news.heard = self.now.at;
        let was_missing = std::mem::take(&mut self.news.is_missing);
        let is_new = self.news.controller.replace((leader, epoch)) != Some((leader, epoch));
        if is_new || was_missing {
            self.note(Level::Info, format!("this node follows node {leader}, the active controller of epoch {}", epoch.0));
        }
    }

    /// Looks whether a controller was heard of lately.
    pub(super) fn look_for_silence(&mut self) {
        if self.quorum.as_ref().is_some_and(|quorum| quorum.is_leader()) {
            self.news.heard = self.now.at;
        }
        let due = self.news.heard.after(SILENCE);
        if due > self.now.at {
            self.timer(due.since(self.now.at), Timer::Silence);
            return;
        }
        self.timer(SILENCE, Timer::Silence);
        if self.phase != Phase::Stopping && !std::mem::replace(&mut self.news.is_missing, true) {
            let text = format!(
                "no active controller was heard of for {} s: nothing in the cluster changes until a majority of the voters runs and is reached",
                SILENCE.as_secs()
            );
            self.note(Level::Warn, text);
        }
    }

    /// The metadata may say that this broker was fenced, or is no longer. Of a former life it says nothing that matters, and who stops is fenced.
    pub(super) fn look_at_fence(&mut self) {
        let Some(me) = self.image().brokers().get(&self.config.broker.id).filter(|me| Some(me.epoch) == self.life.epoch) else { return };
        let (is_fenced, is_stopping) = (me.is_fenced, me.is_stopping || self.life.is_leaving || self.phase == Phase::Stopping);
        if is_stopping || std::mem::replace(&mut self.news.is_fenced, is_fenced) == is_fenced {
            return;
        }
        if is_fenced {
            let text =
                "the controller has fenced this broker: it leads nothing and clients are sent elsewhere, until its heartbeats arrive again";
            self.note(Level::Warn, text.to_owned());
        } else {
            self.note(Level::Info, "this broker is unfenced: it may lead, and clients are sent here".to_owned());
        }
    }

    /// A new registration begins fenced.
    pub(super) fn begins_fenced(&mut self) {
        self.news.is_fenced = true;
    }

    /// A leader knows of another ISR than `before`.
    pub(super) fn tell_isr(&mut self, id: PartitionId, before: &BTreeSet<BrokerId>) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let Some((leader, isr)) = partition.leader().and_then(|leader| Some((leader, leader.isr()?))) else { return };
        if isr.confirmed() == before {
            return;
        }
        let (level, text) = isr_change(&partition.folder(), isr, before, leader.log.end());
        self.note(level, text);
    }

    /// A leader could not be asked for its replicas' logs.
    pub(super) fn tell_unreachable(&mut self, leader: BrokerId, why: Unreachable) {
        let Some(fetcher) = self.fetchers.get_mut(&leader) else { return };
        if fetcher.trouble.unreachable.insert(why) {
            let text = format!("replicas cannot be fetched from their leader, broker {leader}, which {why}: it is asked again");
            self.note(Level::Warn, text);
        }
    }

    /// A leader did not give what was asked for of a partition. What ends with the next metadata is not worth a line.
    pub(super) fn tell_unfetched(&mut self, leader: BrokerId, id: PartitionId, code: ErrorCode) {
        let passes = [
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::FENCED_LEADER_EPOCH,
            ErrorCode::UNKNOWN_LEADER_EPOCH,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::UNKNOWN_TOPIC_ID,
        ];
        let (Some(fetcher), Some(partition)) = (self.fetchers.get_mut(&leader), self.partitions.get(&id)) else { return };
        if !passes.contains(&code) && fetcher.trouble.partitions.insert(code) {
            let text = format!("{} cannot be fetched from its leader, broker {leader}: {code}. It is asked again", partition.folder());
            self.note(Level::Warn, text);
        }
    }

    /// A leader has answered a fetch; `is_whole` says whether everything was asked for and given.
    pub(super) fn tell_fetched(&mut self, leader: BrokerId, is_whole: bool) {
        let Some(fetcher) = self.fetchers.get_mut(&leader) else { return };
        let was_cut_off = !std::mem::take(&mut fetcher.trouble.unreachable).is_empty();
        let was_partial = is_whole && !std::mem::take(&mut fetcher.trouble.partitions).is_empty();
        if was_cut_off || was_partial {
            self.note(Level::Info, format!("replicas are fetched from broker {leader} again"));
        }
    }

    /// A follower is about to cut its log so that it ends at `to`.
    pub(super) fn tell_cut(&mut self, id: PartitionId, to: Offset) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let Some((leader, end)) = partition.follower().map(|follower| (follower.leader, follower.log.end())).filter(|(_, end)| to < *end)
        else {
            return;
        };
        let leader = leader.map_or_else(String::new, |leader| format!(", {} {leader},", if id == METADATA { "node" } else { "broker" }));
        let text = format!("{} is cut from its end, {end}, to {to}: its leader{leader} has not what it holds there", partition.folder());
        match partition.high() {
            high if to < high => self.note(Level::Warn, format!("{text}. Up to {high} that was committed, as far as was known here")),
            _ => self.note(Level::Info, text),
        }
    }

    /// A follower is about to drop its whole log, and to begin at `at`.
    pub(super) fn tell_restart(&mut self, id: PartitionId, at: Offset) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let Some(log) = partition.follower().map(|follower| &follower.log).filter(|log| log.start() < log.end()) else { return };
        let (start, end) = (log.start(), log.end());
        let text = format!(
            "{} is emptied, of {start} to {end}, and begins at {at}: its leader holds nothing of that any more",
            partition.folder()
        );
        self.note(Level::Info, text);
    }
}

/// Who left or joined, how much they have, and what it means.
fn isr_change(folder: &str, isr: &Isr, before: &BTreeSet<BrokerId>, end: Offset) -> (Level, String) {
    let list = |ids: &BTreeSet<BrokerId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (after, has) = (isr.confirmed(), |id: &BrokerId| isr.end_of(*id).map_or_else(|| "nothing yet".to_owned(), |end| format!("{end}")));
    let verb = match (before.is_subset(after), after.is_subset(before)) {
        (true, _) => "grows",
        (_, true) => "shrinks",
        _ => "changes",
    };
    let gone: Vec<String> = before.difference(after).map(|id| format!("broker {id} has told of {}", has(id))).collect();
    let gone = if gone.is_empty() { String::new() } else { format!(" (the leader's log ends at {end}; {})", gone.join(", ")) };
    let text = format!("{folder}: the ISR {verb} from {} to {}{gone}", list(before), list(after));
    if isr.is_under_min() {
        (Level::Warn, format!("{text}, fewer than min.insync.replicas: acks=all is refused"))
    } else {
        (Level::Info, text)
    }
}
