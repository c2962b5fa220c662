use super::cluster::{Cluster, SESSION, ids};
use crate::controller::{directory, lists, place};
use crate::error::ErrorCode as E;
use crate::id::{BrokerId, PartitionIndex, ProducerId};
use crate::rng;
use crate::wire::api::allocate_producer_ids::AllocateProducerIdsRequest;
use crate::wire::api::alter_partition_reassignments::{AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic};
use crate::wire::api::list_partition_reassignments::ListPartitionReassignmentsRequest;
use crate::wire::api::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn a_move_completes_when_all_that_stay_are_in_sync() {
    let mut c = Cluster::of(5);
    let t = c.topic("t", &[1, 2, 3], &[]);
    assert_eq!(c.reassign("t", Some(&[4, 5, 3])), (E::NONE, None));
    let p = c.partition(t);
    assert_eq!((&p.replicas, &p.adding, &p.removing), (&ids(&[4, 5, 3, 1, 2]), &ids(&[4, 5]), &ids(&[1, 2])));
    assert_eq!(p.directories.len(), 5);
    assert_eq!(c.epoch(t).0.0, 0, "who leads and who follows goes on");
    let listed = lists::reassignments(c.bench.controller.image(), &ListPartitionReassignmentsRequest::default());
    assert_eq!(listed.topics[0].partitions[0].adding_replicas, ids(&[4, 5]));
    assert_eq!(c.isr(t, &[1, 2, 3, 4]), E::NONE);
    assert!(c.partition(t).is_moving());
    // The leader is one of those that go.
    assert_eq!(c.isr(t, &[1, 2, 3, 4, 5]), E::NEW_LEADER_ELECTED);
    let p = c.partition(t);
    assert_eq!((&p.replicas, &p.isr, p.leader, p.is_moving()), (&ids(&[4, 5, 3]), &ids(&[3, 4, 5]), Some(BrokerId(4)), false));
    assert_eq!(c.epoch(t).0.0, 1);
    assert_eq!(c.bench.controller.image().assigned(BrokerId(1)).count(), 0);
}

#[test]
fn a_move_can_be_given_up_or_turned() {
    let mut c = Cluster::of(5);
    let t = c.topic("t", &[1, 2], &[]);
    assert_eq!(c.reassign("t", None).0, E::NO_REASSIGNMENT_IN_PROGRESS);
    c.reassign("t", Some(&[3, 2]));
    c.reassign("t", Some(&[3, 4]));
    let p = c.partition(t);
    assert_eq!((&p.replicas, &p.adding, &p.removing), (&ids(&[3, 4, 1, 2]), &ids(&[3, 4]), &ids(&[1, 2])));
    c.isr(t, &[1, 2, 3]);
    assert_eq!(c.reassign("t", None), (E::NONE, None));
    let p = c.partition(t);
    assert_eq!((&p.replicas, &p.isr, p.is_moving()), (&ids(&[1, 2]), &ids(&[1, 2]), false));
    assert_eq!(c.epoch(t).0.0, 1, "3 must learn that it is no replica");
    // Another order needs no move.
    assert_eq!(c.reassign("t", Some(&[2, 1])).0, E::NONE);
    assert_eq!((c.partition(t).replicas.clone(), c.partition(t).is_moving()), (ids(&[2, 1]), false));
    assert_eq!(c.state(t).0, Some(1));
}

#[test]
fn a_move_is_not_given_up_when_only_new_replicas_have_the_records() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1], &[]);
    c.reassign("t", Some(&[2, 3]));
    c.isr(t, &[1, 2]);
    c.pass(SESSION);
    c.beat(2);
    c.start(1, 2, -1);
    assert_eq!(c.state(t), (Some(2), vec![2], vec![]));
    let (code, words) = c.reassign("t", None);
    assert_eq!(code, E::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(
        words.as_deref(),
        Some("Unable to revert partition assignment for t:0 because it would require an unclean leader election.")
    );
}

#[test]
fn moves_are_judged() {
    let mut c = Cluster::of(2);
    c.topic("t", &[1, 2], &[]);
    assert_eq!(c.reassign("x", None), (E::UNKNOWN_TOPIC_OR_PARTITION, Some("Unable to find a topic named x.".to_owned())));
    assert_eq!(c.reassign("t", Some(&[])).0, E::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(c.reassign("t", Some(&[1, 1])).0, E::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(c.reassign("t", Some(&[1, 9])).0, E::INVALID_REPLICA_ASSIGNMENT);
    let partitions = vec![ReassignablePartition { partition_index: PartitionIndex(0), replicas: Some(ids(&[1])) }];
    let topics = vec![ReassignableTopic { name: "t".to_owned(), partitions }];
    let request = AlterPartitionReassignmentsRequest { topics, allow_replication_factor_change: false, ..Default::default() };
    let result = c.bench.run(|p| p.alter_partition_reassignments(&request)).responses.remove(0).partitions.remove(0);
    assert_eq!(
        (result.error_code, result.error_message.as_deref()),
        (E::INVALID_REPLICATION_FACTOR, Some("The replication factor is changed from 2 to 1"))
    );
}

#[test]
fn leaders_move_back_only_to_replicas_in_sync() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2, 3], &[]);
    c.fence(1);
    c.beat(1);
    assert_eq!(c.state(t), (Some(2), vec![2, 3], vec![]));
    assert_eq!(c.elect("t", 0), E::PREFERRED_LEADER_NOT_AVAILABLE);
    assert_eq!(c.bench.planner().balance_leaders().records, []);
    c.isr(t, &[2, 3, 1]);
    assert!(c.bench.controller.image().imbalanced().contains(&t));
    assert!(!c.bench.run(|p| p.balance_leaders()));
    assert_eq!(c.state(t).0, Some(1));
    assert_eq!(c.elect("t", 0), E::ELECTION_NOT_NEEDED);
    assert_eq!(c.elect("t", 1), E::ELECTION_NOT_NEEDED);
}

#[test]
fn new_partitions_have_no_fenced_broker_in_the_isr() {
    let mut c = Cluster::of(3);
    c.fence(2);
    let t = c.topic("t", &[2, 1, 3], &[]);
    assert_eq!(c.state(t), (Some(1), vec![1, 3], vec![]));
    let mut request = Cluster::registration(4, 1, -1);
    request.log_dirs = vec![super::cluster::dir(4), super::cluster::dir(44)];
    c.register(&request);
    c.beat(4);
    let u = c.topic("u", &[4], &[]);
    assert_eq!(c.partition(u).directories, [directory::UNASSIGNED]);
}

#[test]
fn producer_ids_go_to_registered_brokers() {
    let mut c = Cluster::of(2);
    let epoch = c.broker(2).epoch;
    let ask = |epoch| AllocateProducerIdsRequest { broker_id: BrokerId(2), broker_epoch: epoch };
    let given = c.bench.run(|p| p.allocate_producer_ids(&ask(epoch)));
    assert_eq!((given.producer_id_start, given.producer_id_len), (ProducerId(0), 1000));
    assert_eq!(c.bench.run(|p| p.allocate_producer_ids(&ask(epoch))).producer_id_start, ProducerId(1000));
    assert_eq!(c.bench.run(|p| p.allocate_producer_ids(&ask(epoch - 1))).error_code, E::STALE_BROKER_EPOCH);
}

#[test]
fn features_are_changed_with_leave_of_all() {
    let mut c = Cluster::of(2);
    let update = |c: &mut Cluster, feature: &str, level, upgrade_type| {
        let update = FeatureUpdateKey { feature: feature.to_owned(), max_version_level: level, upgrade_type, ..Default::default() };
        let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
        let response = c.bench.run(|p| p.update_features(2, &request));
        (response.error_code, response.error_message.unwrap_or_default())
    };
    let elr = "eligible.leader.replicas.version";
    assert!(c.bench.controller.image().has_elr());
    assert_eq!(update(&mut c, elr, 0, 1).0, E::INVALID_UPDATE_VERSION);
    assert_eq!(update(&mut c, elr, 0, 2).0, E::NONE);
    assert!(!c.bench.controller.image().has_elr());
    assert_eq!(update(&mut c, elr, 1, 1).0, E::NONE);
    let (code, words) = update(&mut c, elr, 2, 1);
    assert_eq!(code, E::INVALID_UPDATE_VERSION);
    assert!(words.ends_with("Local controller 1 only supports versions 0-1"), "{words}");
    assert!(update(&mut c, "nope", 1, 1).1.ends_with("Local controller 1 does not support this feature."));
    assert_eq!(update(&mut c, "metadata.version", 20, 2).0, E::INVALID_UPDATE_VERSION);
    assert_eq!(update(&mut c, "metadata.version", 30, 1).0, E::NONE);
}

proptest! {
    /// Each active broker leads as often as another, give or take one; no rack is used twice before each is used once.
    #[test]
    fn replicas_are_spread(racks in prop::collection::vec(prop::option::of(0..3_u8), 1..8), partitions in 1..40_usize, factor in 1..5_i16, seed: u64, fenced in 0..8_i32) {
        let mut c = Cluster::empty();
        for (at, rack) in racks.iter().enumerate() {
            let id = i32::try_from(at).expect("few") + 1;
            let mut request = Cluster::registration(id, 1, -1);
            request.rack = rack.map(|r| format!("r{r}"));
            c.register(&request);
            if id != fenced {
                c.beat(id);
            }
        }
        let image = c.bench.controller.image();
        let active: Vec<BrokerId> = image.brokers().keys().copied().filter(|id| image.is_active(*id)).collect();
        let placed = place::place(image, partitions, factor, &mut rng::stream(seed, "place"));
        let factor = usize::try_from(factor).expect("positive");
        prop_assert_eq!(placed.is_err(), active.is_empty() || factor > racks.len());
        let Ok(placed) = placed else { return Ok(()) };
        let mut leads: BTreeMap<BrokerId, usize> = active.iter().map(|id| (*id, 0)).collect();
        let all: BTreeSet<_> = image.brokers().values().map(|b| b.rack.clone()).collect();
        for replicas in &placed {
            prop_assert_eq!(replicas.len(), factor);
            prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor);
            *leads.get_mut(&replicas[0]).expect("an active broker leads") += 1;
            let used: BTreeSet<_> = replicas.iter().map(|id| image.brokers()[id].rack.clone()).collect();
            prop_assert_eq!(used.len(), all.len().min(factor));
            if all.len() == 1 && factor <= active.len() {
                prop_assert!(replicas.iter().all(|id| active.contains(id)), "a fenced broker before an active one");
            }
        }
        let (most, least) = (leads.values().max().expect("one"), leads.values().min().expect("one"));
        prop_assert!(most - least <= 1, "{:?}", leads);
    }
}
