//! What nodes must agree upon: whoever has applied the metadata log up to the same offset holds the same image, whether it came there by the log,
//! by a snapshot of its own, or by another node's.

use klamm_core::broker::Broker;
use klamm_core::id::Offset;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The image at each offset, as the first node that came there had it.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    images: BTreeMap<Offset, (u32, u64)>,
    /// How far each node was when it was last looked at.
    seen: BTreeMap<u32, Offset>,
}

impl Metadata {
    /// Looks at a node that has just done something.
    ///
    /// # Panics
    /// If its image is not that of another node at the same offset.
    pub(super) fn look(&mut self, node: u32, broker: &Broker) {
        let (applied, image) = broker.committed_metadata();
        if self.seen.insert(node, applied) == Some(applied) {
            return;
        }
        // Its keys are fixed: the same image has the same hash in every process.
        let mut hasher = DefaultHasher::new();
        image.hash(&mut hasher);
        let (first, known) = *self.images.entry(applied).or_insert((node, hasher.finish()));
        assert!(known == hasher.finish(), "node {node} has other metadata at {applied} than node {first} had: {image:?}");
    }
}
