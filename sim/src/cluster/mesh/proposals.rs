//! What leaders ask of the active controller, as it leaves them; and the connection by which they do, which may stand still or break.

use super::Mesh;
use crate::cluster::link::LinkId;
use klamm_core::broker::io::{Lane, Peer};
use klamm_core::id::BrokerId;
use klamm_core::wire::Request;
use klamm_core::wire::api::alter_partition::AlterPartitionRequest;

/// A leader asks for other ISRs.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Who asks.
    pub leader: u32,
    /// Who is asked, and is another node.
    pub controller: u32,
    /// What is asked.
    pub asked: AlterPartitionRequest,
}

impl Mesh {
    /// From now on it is kept, or not any more, what leaders ask of a controller on another node.
    pub fn watch_proposals(&mut self, watches: bool) {
        self.proposals = watches.then(Vec::new);
    }

    /// What they have asked since the last time.
    pub fn proposals(&mut self) -> Vec<Proposal> {
        self.proposals.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn look_for_proposal(&mut self, leader: u32, to: &Peer, body: &Request) {
        if let (Some(proposals), Request::AlterPartition(asked), Ok(controller)) = (&mut self.proposals, body, u32::try_from(to.id.0)) {
            proposals.push(Proposal { leader, controller, asked: asked.clone() });
        }
    }

    /// A broker's connection to the active controller stands still until then, as long as it keeps to that one.
    pub fn stall_control(&mut self, node: u32, controller: u32, until: u64) {
        let link = self.control_of(node, controller);
        if let Some(link) = link.and_then(|id| self.links.get_mut(&id)) {
            link.stalled_until = until;
        }
    }

    /// A broker's connection to the active controller breaks, with what is under way on it.
    pub fn break_control(&mut self, node: u32, controller: u32) {
        if let Some(id) = self.control_of(node, controller) {
            self.counts.resets += 1;
            self.end_link(id, true);
        }
    }

    fn control_of(&mut self, node: u32, controller: u32) -> Option<LinkId> {
        let id = i32::try_from(controller).ok().map(BrokerId)?;
        self.peers_of(node).link_to(id, Lane::Control)
    }
}
