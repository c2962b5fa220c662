//! The topics of a cluster's run: how many replicas each has, and how many of them must be in sync.

use super::pick;
use klamm_core::rng::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// One topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicKnobs {
    /// Replicas of each partition.
    pub replication: i16,
    /// `min.insync.replicas`
    pub min_isr: i16,
    /// `unclean.leader.election.enable`
    pub unclean: bool,
}

impl Default for TopicKnobs {
    fn default() -> Self {
        Self { replication: 1, min_isr: 1, unclean: false }
    }
}

impl TopicKnobs {
    /// A node may lose its disk: whatever it acknowledged is on another one, and stays eligible there.
    pub(super) fn survive_a_wipe(&mut self) {
        (self.replication, self.min_isr) = (self.replication.max(2), 2);
    }
}

/// `count` topics on `nodes` nodes. The last one is that of producers of which nothing is promised: an unclean election may take from it.
pub(super) fn topics(count: usize, nodes: u32, rng: &mut Rng) -> Vec<TopicKnobs> {
    let most = i16::try_from(nodes).expect("few nodes");
    let mut all: Vec<TopicKnobs> = (0..count).map(|_| topic(most, rng)).collect();
    let last = all.last_mut().expect("at least one topic");
    last.unclean = rng.random_bool(0.5);
    all
}

fn topic(most: i16, rng: &mut Rng) -> TopicKnobs {
    let replication = if rng.random_ratio(1, 8) { 1 } else { rng.random_range(2..=most) };
    let min_isr = *pick(rng, &[1, 2, 2, 2, 3, most]);
    TopicKnobs { replication, min_isr: min_isr.min(replication), unclean: false }
}
