//! Asks, when all is healed, what a node tells of the cluster, until it is whole: every broker is in it and unfenced, every partition has a leader, and
//! all its replicas are in sync.

use super::Book;
use super::line::Line;
use super::solo::Task;
use klamm_core::error::ErrorCode;
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::metadata::{MetadataRequest, MetadataResponse};
use klamm_core::wire::{Request, Response};
use std::collections::BTreeSet;
use std::time::Duration;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(300);

/// Waits for the cluster to be whole.
pub struct Whole {
    brokers: usize,
    book: Book,
    next: Option<Instant>,
}

impl Whole {
    /// Waits for so many brokers.
    #[must_use]
    pub fn new(brokers: usize, book: Book) -> Self {
        Self { brokers, book, next: Some(Instant::default()) }
    }
}

impl Task for Whole {
    fn next(&self) -> Option<Instant> {
        self.next
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = Some(now.at.after(PAUSE));
        line.ask(now, 9, Request::Metadata(MetadataRequest { topics: None, ..Default::default() }));
    }

    fn hear(&mut self, _: Now, _: &mut Line, response: &Response) {
        let Response::Metadata(response) = response else { return };
        let missing = missing(self.brokers, response);
        if missing.is_empty() {
            self.next = None;
        }
        self.book.borrow_mut().missing = missing;
    }
}

/// What the cluster lacks.
fn missing(brokers: usize, response: &MetadataResponse) -> Vec<String> {
    let mut missing = Vec::new();
    if response.brokers.len() != brokers {
        let there: Vec<i32> = response.brokers.iter().map(|broker| broker.node_id.0).collect();
        missing.push(format!("of {brokers} brokers there are {there:?}"));
    }
    for topic in &response.topics {
        let name = topic.name.as_deref().unwrap_or_default();
        for partition in &topic.partitions {
            let (isr, replicas): (BTreeSet<_>, BTreeSet<_>) =
                (partition.isr_nodes.iter().collect(), partition.replica_nodes.iter().collect());
            if partition.error_code != ErrorCode::NONE || isr != replicas {
                missing.push(format!("{name}-{} is {partition:?}", partition.partition_index));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::missing;
    use klamm_core::error::ErrorCode;
    use klamm_core::id::BrokerId;
    use klamm_core::wire::api::metadata::{MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};

    fn cluster(isr: &[i32], error_code: ErrorCode) -> MetadataResponse {
        let ids = |all: &[i32]| all.iter().map(|id| BrokerId(*id)).collect();
        let broker = |id: &i32| MetadataResponseBroker { node_id: BrokerId(*id), ..Default::default() };
        let partition = MetadataResponsePartition { error_code, replica_nodes: ids(&[2, 1]), isr_nodes: ids(isr), ..Default::default() };
        let topic = MetadataResponseTopic { partitions: vec![partition], ..Default::default() };
        MetadataResponse { brokers: [1, 2].iter().map(broker).collect(), topics: vec![topic], ..Default::default() }
    }

    #[test]
    fn a_cluster_is_whole_when_all_brokers_are_there_and_all_replicas_in_sync() {
        assert!(missing(2, &cluster(&[1, 2], ErrorCode::NONE)).is_empty());
        assert_eq!(missing(3, &cluster(&[1, 2], ErrorCode::NONE)).len(), 1);
        assert_eq!(missing(2, &cluster(&[2], ErrorCode::NONE)).len(), 1);
        assert_eq!(missing(2, &cluster(&[1, 2], ErrorCode::LEADER_NOT_AVAILABLE)).len(), 1);
    }
}
