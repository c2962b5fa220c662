//! What follows for partitions when a broker is fenced, unfenced, stops, or comes back without its tail (KIP-631, 841, 966).

use super::plan::Planner;
use super::record::Record;
use crate::id::BrokerId;

impl Planner<'_> {
    /// The broker leaves every ISR and leads nothing, and is fenced.
    pub fn fence_broker(&mut self, _broker: BrokerId) -> Vec<Record> {
        Vec::new()
    }

    /// The broker may lead: it is elected where nobody leads and it is eligible.
    pub fn unfence_broker(&mut self, _broker: BrokerId) -> Vec<Record> {
        Vec::new()
    }
}
