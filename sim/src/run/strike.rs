//! Faults strike: what each of them does to the mesh. Whether it bit is written into the ledger of the node it struck.

use super::{Alarm, Runner, formatted, metadata_directory, with_second};
use crate::chance::Matter;
use crate::cluster::mesh::Ambush;
use crate::disk::Bites;
use crate::plan::Fault;
use crate::stage::{self, NODE, SECOND};
use klamm_core::config::Durability;
use klamm_core::id::DirId;
use rand::Rng as _;
use std::collections::BTreeMap;

/// So long all nodes are up between two of a rolling restart, at least.
const ROLLING_PAUSE: u64 = 500_000_000;

impl Runner {
    pub(super) fn strike(&mut self, at: usize) {
        let (time, fault) = self.plan.faults[at];
        self.rng = self.chance.rng(Matter::Strike { at: time });
        let now = self.mesh.now();
        let node = if let Fault::Rot { node, .. } = fault { node } else { self.some_node() };
        self.station(node).ledger.planned(fault.name());
        if self.healed {
            return;
        }
        self.mesh.befell(node, format!("fault {fault:?}"));
        let until = now + fault.lasts().unwrap_or(0);
        self.recorder.keep(|recording| recording.band((now, until), (node, None), fault.name(), fault.words()));
        let up = self.mesh.node(node).broker().is_some();
        let client = stage::some_client(&self.plan, &mut self.rng);
        match fault {
            Fault::Kill { after, down } | Fault::PowerLoss { after, down } if up => {
                self.station(node).down = down;
                self.mesh.crash_after(node, after, matches!(fault, Fault::PowerLoss { .. }));
                self.station(node).ledger.bit(fault.name());
            }
            // While it recovers there are no effects to count: it dies at once.
            Fault::Kill { down, .. } | Fault::PowerLoss { down, .. } => {
                self.station(node).down = down;
                self.mesh.crash(node, matches!(fault, Fault::PowerLoss { .. }));
                self.station(node).ledger.bit(fault.name());
            }
            Fault::Restart { down } if up => {
                self.station(node).down = down;
                self.mesh.stop(node);
                self.station(node).ledger.bit(fault.name());
            }
            Fault::Restart { .. } => {}
            Fault::Pause(lasts) => {
                self.mesh.pause(node, now + lasts);
                self.station(node).ledger.bit(fault.name());
            }
            Fault::PauseClient(lasts) => {
                self.mesh.pause_client(client, now + lasts);
                self.station(node).ledger.bit(fault.name());
            }
            Fault::Cut(lasts) => {
                match self.some_other(node) {
                    Some(other) => self.mesh.cut_nodes(node, other, now + lasts),
                    None => self.mesh.cut(client, node, now + lasts),
                }
                self.station(node).ledger.bit(fault.name());
            }
            Fault::Reset(count) => {
                let before = self.mesh.counts().resets;
                (0..count).for_each(|_| self.mesh.reset_one(&mut self.rng));
                if self.mesh.counts().resets > before {
                    self.station(node).ledger.bit(fault.name());
                }
            }
            Fault::SlowDisk { factor, lasts } => {
                self.mesh.node(node).pace().slow_down(f64::from(factor));
                self.alarm(now + lasts, Alarm::Unslow(node));
                self.station(node).ledger.bit(fault.name());
            }
            Fault::FailSync => self.fail(node, true, |faults| faults.failing_syncs = 1),
            Fault::FailWrite => self.fail(node, false, |faults| faults.failing_writes = 1),
            Fault::FailReads(count) => {
                self.station(node).ledger.wants_restart = true;
                self.fail(node, false, |faults| faults.failing_reads = count);
            }
            Fault::BreakDisk { lasts } => {
                let Some(disk) = self.mesh.node(node).disks().get(1) else { return };
                disk.faults(|faults| faults.broken = true);
                self.station(node).ledger.wants_restart = true;
                self.alarm(now + lasts, Alarm::Mend(node));
                self.station(node).ledger.bit(fault.name());
            }
            Fault::FillDisk { left, lasts } => self.fill_disks(node, fault, 0, now + lasts, |used| used + left),
            Fault::FillSecondDisk { lasts } => self.fill_disks(node, fault, 1, now + lasts, |_| 0),
            Fault::Rot { pick, .. } => {
                if self.may_take_copies(node) && self.rot(node, pick) {
                    self.has_taken_copies = true;
                    self.station(node).ledger.bit(fault.name());
                }
            }
            Fault::Ambush { salt, after, down, power } => {
                let victim = if salt.is_some() { self.some_other(node).unwrap_or(node) } else { node };
                self.station(victim).down = down;
                self.mesh.ambush(node, Ambush { salt, victim, after, power });
            }
            Fault::ClockJump(by) => {
                self.mesh.jump_clock(node, by);
                self.station(node).ledger.bit(fault.name());
            }
            Fault::OneWay(_)
            | Fault::Ring(_)
            | Fault::SlowLink { .. }
            | Fault::Stall(_)
            | Fault::LateMetadata(_)
            | Fault::Refuse(_)
            | Fault::Drift(_)
            | Fault::KillMany { .. }
            | Fault::Wipe { .. }
            | Fault::WipeVoter { .. }
            | Fault::LoseSecondDisk { .. }
            | Fault::Rolling { .. }
            | Fault::RebootInProposal { .. } => self.strike_cluster(fault, node),
        }
    }

    /// What strikes several nodes, or what is between them.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`strike` keeps those that strike one node")]
    fn strike_cluster(&mut self, fault: Fault, node: u32) {
        let now = self.mesh.now();
        let other = self.another(node);
        match fault {
            Fault::OneWay(lasts) => self.mesh.cut_one_way(node, other, now + lasts),
            Fault::Ring(lasts) => self.cut_ring(node, now + lasts),
            Fault::Stall(lasts) => {
                if !self.mesh.stall_one(now + lasts, &mut self.rng) {
                    return;
                }
            }
            Fault::LateMetadata(lasts) => self.mesh.hold_metadata(node, now + lasts),
            Fault::SlowLink { by, lasts } => self.mesh.slow_link(node, other, now + lasts, by),
            Fault::Refuse(lasts) => self.mesh.refuse(node, now + lasts),
            Fault::Drift(by) => self.mesh.drift(node, by),
            Fault::KillMany { all, power, down } => {
                for victim in self.plan.nodes().filter(|victim| all || *victim == node || *victim == other).collect::<Vec<_>>() {
                    self.station(victim).down = self.rng.random_range(1_000_000..=down);
                    self.mesh.crash(victim, power);
                }
            }
            Fault::Wipe { down } => {
                let brokers: Vec<u32> = self.plan.brokers().collect();
                let victim = brokers[self.rng.random_range(0..brokers.len())];
                return self.wipe(victim, down, fault.name());
            }
            Fault::WipeVoter { down } => {
                let voters: Vec<u32> = self.plan.voters().filter(|node| self.mesh.oracle().can_spare_voter(*node)).collect();
                let Some(victim) = voters.get(self.rng.random_range(0..voters.len().max(1))) else { return };
                return self.wipe(*victim, down, fault.name());
            }
            Fault::LoseSecondDisk { within, down } => {
                self.second_disk_goes = Some((now + within, down));
                return;
            }
            Fault::Rolling { down } => {
                for (at, victim) in (0..).zip(self.plan.nodes()) {
                    self.alarm(now + at * (down + ROLLING_PAUSE), Alarm::Restart(victim, down));
                }
            }
            Fault::RebootInProposal { away, down, is_lost } => return self.await_joiner(away, down, is_lost),
            other => unreachable!("{other:?} strikes one node"),
        }
        self.station(node).ledger.bit(fault.name());
    }

    /// A node loses its disk, if that takes nothing from the cluster for ever.
    fn wipe(&mut self, node: u32, down: u64, name: &'static str) {
        if !self.mesh.oracle().can_spare(node) || !self.may_take_copies(node) || self.mesh.node(node).broker().is_none() {
            return;
        }
        self.has_taken_copies = true;
        self.mesh.crash(node, true);
        self.count_bites(node);
        let station = self.station(node);
        (station.down, station.formats) = (down, station.formats + 1);
        station.ledger.another_disk(Bites::default());
        let formats = station.formats;
        self.mesh.replace(node, formatted(&self.plan, &self.chance, node, formats));
        self.mesh.oracle().formatted(node, metadata_directory(node, formats));
        self.tell_disk(node, formats);
        self.station(node).ledger.bit(name);
    }

    /// A second disk is to be lost when a replica has moved there, and nobody was told yet.
    pub(super) fn lose_second_disk(&mut self) {
        let Some((until, down)) = self.second_disk_goes else { return };
        if self.healed || self.mesh.now() > until {
            self.second_disk_goes = None;
            return;
        }
        let has_moved = |node: &u32| self.mesh.node(*node).broker().is_some_and(|broker| broker.view().has_moved_untold(DirId(1)));
        let Some(node) = self.plan.brokers().find(has_moved) else { return };
        if !self.mesh.oracle().can_spare(node) {
            return;
        }
        self.second_disk_goes = None;
        let lost = self.mesh.node(node).broker().map(|broker| broker.view().held_in(DirId(1)).collect()).unwrap_or_default();
        self.mesh.crash(node, true);
        self.mesh.oracle().lost(node, lost);
        self.count_bites(node);
        let station = self.station(node);
        (station.down, station.second_disks) = (down, station.second_disks + 1);
        let (formats, seconds) = (station.formats, station.second_disks);
        station.ledger.bit(Fault::LoseSecondDisk { within: 0, down }.name());
        self.mesh.befell(node, "its second disk is lost".to_owned());
        let anew = with_second(&self.plan, &self.chance, node, self.mesh.node(node), formats, seconds);
        self.mesh.replace(node, anew);
        let left = self.mesh.node(node).bites();
        self.station(node).ledger.another_disk(left);
    }

    /// Nobody reaches anybody but its neighbours in a ring; of three, two do not reach each other.
    fn cut_ring(&mut self, first: u32, until: u64) {
        let count = self.plan.nodes;
        let at = |place: u32| (first + place - 1) % count + 1;
        for one in 0..count {
            for other in one + 1..count {
                let apart = (other - one).min(count - (other - one));
                if apart > 1 || (count < 4 && other - one == count - 1) {
                    self.mesh.cut_nodes(at(one), at(other), until);
                }
            }
        }
    }

    /// Asks a node to stop, and to start again after `down`.
    pub(super) fn restart(&mut self, node: u32, down: u64) {
        if self.mesh.node(node).broker().is_some() && !self.healed {
            self.station(node).down = down;
            self.mesh.stop(node);
        }
    }

    /// The node's disks from that one on hold only so many bytes, until then.
    fn fill_disks(&mut self, node: u32, fault: Fault, from: usize, until: u64, capacity: impl Fn(u64) -> u64) {
        for disk in self.mesh.node(node).disks().iter().skip(from) {
            let used = disk.used();
            disk.faults(|faults| faults.capacity = Some(capacity(used)));
        }
        self.station(node).ledger.is_filled = true;
        self.alarm(until, Alarm::Empty(node));
        self.station(node).ledger.bit(fault.name());
    }

    /// Flips a bit of an old segment of a topic under test. The newest three are spared: what may lie behind the recovery point that survives a
    /// crash is cut as a torn tail, and nobody can tell the two apart.
    fn rot(&self, node: u32, pick: u64) -> bool {
        let disk = self.mesh.node(node).disk();
        let mut old: Vec<(String, u64)> = Vec::new();
        let mut segments: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for (path, len) in disk.files() {
            let Some((folder, _)) = path.split_once('/').filter(|(_, name)| name.ends_with(".log")) else { continue };
            if !folder.starts_with("__") {
                segments.entry(folder.to_owned()).or_default().push((path, len));
            }
        }
        for (folder, mut files) in segments {
            if self.is_held_elsewhere(&folder, node) {
                files.truncate(files.len().saturating_sub(3));
                old.extend(files.into_iter().filter(|(_, len)| *len > 0));
            }
        }
        if old.is_empty() {
            return false;
        }
        let (path, len) = &old[(pick % old.len() as u64) as usize];
        disk.rot(path, (pick >> 16) % len);
        true
    }

    /// Whether every broker that is up knows of another holder of all that is committed: in ISR or ELR.
    fn is_held_elsewhere(&self, folder: &str, node: u32) -> bool {
        let mut up = self.plan.brokers().filter_map(|id| self.mesh.node(id).broker()).peekable();
        up.peek().is_some() && up.all(|broker| broker.holders(folder).iter().any(|holder| holder.0 != node as i32))
    }

    /// A node is back, and has not learned yet what it missed: another one dies meanwhile.
    pub(super) fn pass_on(&mut self, node: u32) {
        let now = self.mesh.now();
        if self.healed || now < SECOND || self.plan.relay == 0 {
            return;
        }
        let mut rng = self.chance.rng(Matter::Relay { node });
        if !rng.random_ratio(self.plan.relay, 100) {
            return;
        }
        let others: Vec<u32> = self.plan.nodes().filter(|other| *other != node).collect();
        let other = others[rng.random_range(0..others.len())];
        let within: u32 = rng.random_range(0..11);
        let after = rng.random_range(0..1 << within);
        let power = self.plan.durability == Durability::Fsync && rng.random_bool(0.5);
        self.station(other).down = rng.random_range(10_000_000..2 * SECOND);
        self.station(other).ledger.planned("relay");
        if self.mesh.node(other).broker().is_some() {
            self.station(other).ledger.bit("relay");
            self.mesh.crash_after(other, after, power);
        }
    }

    /// A node, by chance.
    fn some_node(&mut self) -> u32 {
        let nodes = self.plan.nodes;
        if nodes == 1 { NODE } else { self.rng.random_range(1..=nodes) }
    }

    /// Another one than this.
    fn another(&mut self, node: u32) -> u32 {
        (node + self.rng.random_range(1..self.plan.nodes) - 1) % self.plan.nodes + 1
    }

    /// In a cluster one cut in two is between nodes.
    fn some_other(&mut self, node: u32) -> Option<u32> {
        if self.plan.nodes == 1 || self.rng.random_bool(0.5) {
            return None;
        }
        Some(self.some_node()).filter(|other| *other != node)
    }

    /// Whether a broker that starts without one of its two disks may have lost something, and leaves ISR and ELR (KIP-966).
    fn loses_by_starting(&self) -> bool {
        self.plan.disks > 1 && self.plan.durability == Durability::PageCache
    }

    /// Whether copies on a node may be gone for good. What brokers lose that start without one of two disks must be known by then: whoever is up has
    /// registered, and whoever is down will have both.
    fn may_take_copies(&self, node: u32) -> bool {
        let is_known = |other: &u32| self.mesh.node(*other).broker().is_some_and(|broker| broker.view().broker_epoch().is_some());
        let mut others = self.plan.brokers().filter(|other| *other != node);
        !self.loses_by_starting() || others.all(|other| self.mesh.node(other).is_down() || is_known(&other))
    }

    /// Once copies are gone for good a broker that starts might be the last one there: what has not struck its second disk by then is over.
    pub(super) fn spare_start(&self, node: u32) {
        let is_last = self.has_taken_copies && self.loses_by_starting();
        if let Some(second) = self.mesh.node(node).disks().get(1).filter(|_| is_last) {
            second.faults(|faults| (faults.failing_syncs, faults.failing_writes, faults.failing_reads) = (0, 0, 0));
        }
    }

    /// A disk of a node fails. Without the one of its metadata it stops; without another one it goes on, until it is started anew.
    fn fail(&mut self, node: u32, anew: bool, change: impl FnOnce(&mut crate::disk::Faults)) {
        let second = self.plan.disks > 1 && self.rng.random_bool(0.5);
        // Else it would start without that disk.
        if second && self.has_taken_copies && self.loses_by_starting() && self.mesh.node(node).broker().is_none() {
            return;
        }
        if second {
            self.station(node).ledger.wants_restart = true;
        } else {
            self.station(node).ledger.disk_fault(anew);
        }
        self.mesh.node(node).disks()[usize::from(second)].faults(change);
    }
}
