//! A node dies at a chosen moment: when another one, or itself, passes a rare branch of the code, or acknowledges records.

use super::Mesh;
use klamm_core::error::ErrorCode;
use klamm_core::probe;
use klamm_core::wire::Response;

/// A node dies when another one, or itself, does what is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Ambush {
    /// Chooses rare branches: about one probe in eight. Without it, the acknowledgement of a produce request is waited for.
    pub salt: Option<u64>,
    /// Who dies.
    pub victim: u32,
    /// After so many more effects.
    pub after: u64,
    /// With or without power.
    pub power: bool,
}

impl Ambush {
    fn waits_for(&self, probe: &str) -> bool {
        let Some(salt) = self.salt else { return false };
        // FNV-1a; its upper bits are the better ones.
        let hash = probe.bytes().fold(0xcbf2_9ce4_8422_2325 ^ salt, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        hash >> 61 == 0
    }
}

impl Mesh {
    /// Lies in wait for what a node does.
    pub fn ambush(&mut self, id: u32, ambush: Ambush) {
        self.hosts.get_mut(&id).expect("a node of this mesh").ambush = Some(ambush);
    }

    /// Whether the node passed a branch that an ambush waits for.
    pub(super) fn look_for_ambush(&mut self, id: u32) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        let waiting = host.ambush;
        let mut found = false;
        probe::drain_recent(|probe| found |= waiting.is_some_and(|ambush| ambush.waits_for(probe)));
        if found {
            self.spring(id);
        }
    }

    /// The node answers: whether that is what an ambush waits for.
    pub(super) fn look_for_acknowledgement(&mut self, id: u32, body: &Response) {
        let waits = self.hosts[&id].ambush.is_some_and(|ambush| ambush.salt.is_none());
        let Response::Produce(produce) = body else { return };
        let mut answers = produce.responses.iter().flat_map(|topic| &topic.partition_responses);
        if waits && answers.any(|answer| answer.error_code == ErrorCode::NONE) {
            self.spring(id);
        }
    }

    fn spring(&mut self, id: u32) {
        let Some(ambush) = self.hosts.get_mut(&id).and_then(|host| host.ambush.take()) else { return };
        self.counts.ambushes += 1;
        self.trace.note(self.timeline.now(), id, "ambush", &ambush.victim);
        self.crash_after(ambush.victim, ambush.after, ambush.power);
    }
}
