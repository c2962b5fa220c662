//! The plan's faults, as they strike whole nodes, and their end.

use super::{Alarm, Runner, Station};
use crate::plan::Fault;
use crate::stage::{self, NODE};
use klamm::net;
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
        let client = self.clients[&stage::some_client(&self.plan, &mut self.rng)];
        if self.act(fault, node, client) {
            self.station(node).ledger.bit(fault.name());
        }
    }

    /// Faults end.
    pub(super) fn heal(&mut self) {
        self.torn = net::stop_tearing();
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
    fn act(&mut self, fault: Fault, node: u32, client: NodeId) -> bool {
        let now = self.now();
        let station = self.station(node);
        let (machine, disk) = (station.machine, station.host.disk());
        match fault {
            Fault::Kill { after, down } | Fault::PowerLoss { after, down } => {
                if station.alive.is_none() {
                    return false;
                }
                station.down = down;
                station.crash = Some(matches!(fault, Fault::PowerLoss { .. }));
                station.host.pace().arm(after % CRASH_WITHIN, machine);
            }
            Fault::Restart { down } => {
                let Some(life) = station.alive else { return false };
                station.down = down;
                station.host.stop(life);
            }
            Fault::Pause(lasts) => self.pause(machine, now + lasts),
            Fault::PauseClient(lasts) => self.pause(client, now + lasts),
            Fault::Cut(lasts) => self.cut(node, client, now + lasts),
            Fault::Reset(count) => {
                (0..count).for_each(|_| net::tear_after(self.rng.random_range(0..RESET_WITHIN)));
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
        }
        true
    }

    fn pause(&mut self, machine: NodeId, until: u64) {
        self.madsim.pause(machine);
        self.alarm(until, Alarm::Resume(machine));
    }

    /// Cuts a node from a client, or in a cluster one time in two from another node; what was sent comes when the cut heals.
    fn cut(&mut self, node: u32, client: NodeId, until: u64) {
        let is_among_nodes = self.plan.nodes > 1 && self.rng.random_bool(0.5);
        let other = if is_among_nodes { self.another(node) } else { client };
        let machine = self.station(node).machine;
        for (from, to) in [(other, machine), (machine, other)] {
            NetSim::current().clog_link(from, to);
            self.alarm(until, Alarm::Mend(from, to));
        }
    }

    fn another(&mut self, node: u32) -> NodeId {
        let others: Vec<NodeId> = self.stations.iter().filter(|(number, _)| **number != node).map(|(_, other)| other.machine).collect();
        others[self.rng.random_range(0..others.len())]
    }
}

impl Station {
    fn heal(&mut self) {
        self.crash = None;
        self.host.pace().calm();
        self.host.disk().faults(|faults| *faults = Default::default());
        self.ledger.is_filled = false;
        if let Some(life) = self.alive.filter(|_| self.ledger.wants_restart) {
            self.down = stage::HALTED_DOWN;
            self.host.stop(life);
        }
    }
}
