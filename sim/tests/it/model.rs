//! Small worlds explored to the end, as far as a test has time for; `cargo sim explore` goes further.

use klamm_sim::model::explore::{Count, End, Limits, Model, explore};
use klamm_sim::model::partition::{self, PartitionModel};
use klamm_sim::model::quorum::{self, QuorumModel};

const LIMITS: Limits = Limits { states: 50_000, bytes: u64::MAX };

fn election() -> QuorumModel {
    QuorumModel { bounds: quorum::Bounds { flight: 2, crashes: 0, ..quorum::Bounds::USUAL } }
}

fn replication() -> PartitionModel {
    PartitionModel { bounds: partition::Bounds { writes: 2, shrinks: 0, ..partition::Bounds::USUAL } }
}

fn whole(model: &impl Model) -> Count {
    let (count, end) = explore(model, LIMITS, |_| {});
    assert_eq!(end, End::Whole, "{count:?}");
    count
}

/// A world in which nothing can happen proves nothing: there are many states, and they lead from the start to a leader with a committed record.
#[test]
fn no_way_through_a_first_election_leads_to_harm() {
    let count = whole(&election());
    assert!(count.states > 100 && count.depth > 20, "{count:?}");
}

#[test]
fn no_way_through_the_replication_of_two_records_leads_to_harm() {
    let count = whole(&replication());
    assert!(count.states > 100 && count.depth > 10, "{count:?}");
}

#[cfg(feature = "sim")]
mod mutants {
    use super::*;
    use klamm_core::probe::{Mutant, switch};

    /// How many steps lead to what the mutant breaks.
    fn depth(model: &impl Model, mutant: Mutant) -> Option<u32> {
        switch(Some(mutant));
        let (count, end) = explore(model, LIMITS, |_| {});
        switch(None);
        matches!(end, End::Broken { .. }).then_some(count.depth)
    }

    #[test]
    fn a_missing_guard_of_the_quorum_is_found_by_the_shortest_way() {
        let model = QuorumModel { bounds: quorum::Bounds { timers: 2, crashes: 1, ..election().bounds } };
        assert_eq!(depth(&model, Mutant::SameEpochLeader), Some(13));
    }

    #[test]
    fn a_missing_guard_of_the_partition_is_found_by_the_shortest_way() {
        let model = PartitionModel { bounds: partition::Bounds::USUAL };
        assert_eq!(depth(&model, Mutant::AckBeforeHw), Some(1));
        assert_eq!(depth(&model, Mutant::HwCommittedIsr), Some(8));
    }
}
