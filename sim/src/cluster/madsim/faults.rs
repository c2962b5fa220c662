//! The plan's faults, as they strike whole nodes, and their end.

use super::{Alarm, Party, Runner, Station, host};
use crate::plan::Fault;
use crate::stage::{self, NODE};
use klamm::net::weather::{self, Barrier};
use madsim::net::NetSim;
use madsim::task::NodeId;
use rand::Rng as _;

/// A crash in the midst of work comes with one of so many disk operations.
const CRASH_WITHIN: u64 = 50;
/// A reset strikes within so many bytes, of all that are sent.
const RESET_WITHIN: u64 = 20_000;

impl Runner {
    pub(super) fn strike(&mut self, at: usize) {
        let (_, fault) = self.plan.faults[at];
        let node = self.some_node();
        self.station(node).ledger.planned(fault.name());
        let (from, until) = (self.now(), self.now() + fault.lasts().unwrap_or(0));
        self.recorder.keep(|recording| recording.band((from, until), (node, None), fault.name(), fault.words()));
        let client = self.clients[&stage::some_client(&self.plan, &mut self.rng)];
        if self.act(fault, node, client) {
            self.station(node).ledger.bit(fault.name());
        }
    }

    /// Faults end.
    pub(super) fn heal(&mut self) {
        self.torn = weather::stop_tearing();
        (0..self.torn).for_each(|_| self.station(NODE).ledger.bit("reset"));
        let held = std::mem::take(&mut self.alarms);
        for (at, alarm) in held {
            match alarm {
                Alarm::Resume(_) | Alarm::Mend(..) => self.ring(alarm),
                Alarm::Start(_) => drop(self.alarms.insert(at, alarm)),
                Alarm::Strike(_) | Alarm::Unslow(_) | Alarm::Empty(_) => {}
            }
        }
        self.stations.values_mut().for_each(Station::heal);
    }

    /// A node, by chance.
    fn some_node(&mut self) -> u32 {
        let nodes = self.plan.nodes;
        if nodes == 1 { NODE } else { self.rng.random_range(1..=nodes) }
    }

    /// Lets a fault strike; says whether it is known by now to bite.
    fn act(&mut self, fault: Fault, node: u32, client: Party) -> bool {
        let now = self.now();
        let station = self.station(node);
        let (machine, disk) = (station.machine, station.host.disk());
        match fault {
            // The tasks of a whole node pass their branches by themselves: an ambush strikes at once.
            Fault::Kill { after, down } | Fault::PowerLoss { after, down } | Fault::Ambush { after, down, .. } => {
                if station.alive.is_none() {
                    return false;
                }
                station.down = down;
                station.host.pace().arm(
                    after % CRASH_WITHIN,
                    machine,
                    matches!(fault, Fault::PowerLoss { .. } | Fault::Ambush { power: true, .. }),
                );
            }
            Fault::Restart { down } => {
                let Some(life) = station.alive else { return false };
                station.down = down;
                station.host.stop(life);
            }
            Fault::Pause(lasts) => self.pause(machine, now + lasts),
            Fault::PauseClient(lasts) => self.pause(client.machine, now + lasts),
            Fault::Cut(lasts) => self.cut(node, client, now + lasts),
            Fault::Reset(count) => {
                (0..count).for_each(|_| weather::tear_after(self.rng.random_range(0..RESET_WITHIN)));
                return false;
            }
            Fault::SlowDisk { factor, lasts } => {
                station.host.pace().slow_down(f64::from(factor));
                self.alarm(now + lasts, Alarm::Unslow(node));
            }
            Fault::FailSync => {
                station.ledger.disk_fault(true);
                disk.faults(|faults| faults.failing_syncs = 1);
                return false;
            }
            Fault::FailWrite => {
                station.ledger.disk_fault(false);
                disk.faults(|faults| faults.failing_writes = 1);
                return false;
            }
            Fault::FailReads(count) => {
                station.ledger.disk_fault(false);
                station.ledger.wants_restart = true;
                disk.faults(|faults| faults.failing_reads = count);
                return false;
            }
            Fault::FillDisk { left, lasts } => {
                let used = disk.used();
                disk.faults(|faults| faults.capacity = Some(used + left));
                station.ledger.is_filled = true;
                self.alarm(now + lasts, Alarm::Empty(node));
            }
            Fault::ClockJump(by) => station.host.jump_clock(by),
            // Who else holds a good copy cannot be seen from outside.
            Fault::Rot { .. } | Fault::BreakDisk { .. } | Fault::FillSecondDisk { .. } => return false,
            // These are for the mesh so far.
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
            | Fault::RebootInProposal { .. } => return false,
        }
        true
    }

    fn pause(&mut self, machine: NodeId, until: u64) {
        self.madsim.pause(machine);
        self.alarm(until, Alarm::Resume(machine));
    }

    /// Cuts a node from a client, or in a cluster one time in two from another node; what was sent comes when the cut heals. One cut in three is in
    /// one direction only: then no connection can be made either way, since each needs both.
    fn cut(&mut self, node: u32, client: Party, until: u64) {
        let is_among_nodes = self.plan.nodes > 1 && self.rng.random_bool(0.5);
        let other = if is_among_nodes { self.another(node) } else { client };
        let node = self.station(node).party(node);
        let (is_one_way, is_refusing) = (self.cuts.random_ratio(1, 3), self.cuts.random_bool(0.5));
        let barrier = if is_refusing && !is_one_way { Barrier::Refuses } else { Barrier::Swallows };
        weather::bar(node.machine, other.ip, Some(barrier));
        weather::bar(other.machine, node.ip, Some(barrier));
        let (from, to) = if self.cuts.random_bool(0.5) { (node, other) } else { (other, node) };
        NetSim::current().clog_link(from.machine, to.machine);
        if !is_one_way {
            NetSim::current().clog_link(to.machine, from.machine);
        }
        self.alarm(until, Alarm::Mend(node, other));
    }

    pub(super) fn mend(one: Party, other: Party) {
        for (from, to) in [(one, other), (other, one)] {
            weather::bar(from.machine, to.ip, None);
            NetSim::current().unclog_link(from.machine, to.machine);
        }
    }

    fn another(&mut self, node: u32) -> Party {
        let others: Vec<u32> = self.plan.nodes().filter(|other| *other != node).collect();
        let other = others[self.rng.random_range(0..others.len())];
        self.station(other).party(other)
    }
}

impl Station {
    fn party(&self, node: u32) -> Party {
        Party { machine: self.machine, ip: host::ip(node) }
    }

    fn heal(&mut self) {
        self.host.pace().calm();
        self.host.disk().faults(|faults| *faults = Default::default());
        self.ledger.is_filled = false;
        if let Some(life) = self.alive.filter(|_| self.ledger.wants_restart) {
            self.down = stage::HALTED_DOWN;
            self.host.stop(life);
        }
    }
}
