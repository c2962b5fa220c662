use super::cluster::{Cluster, SESSION, dir, ids};
use crate::error::ErrorCode as E;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::partition::PartitionId;
use crate::wire::api::alter_partition::PartitionData;
use crate::wire::api::assign_replicas_to_dirs as assign;
use crate::wire::api::broker_registration::BrokerRegistrationRequest;

#[test]
fn a_leader_gets_the_isr_that_it_asks_for_and_sees_it() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2, 3], &[("min.insync.replicas", "2")]);
    let request = c.wish(t, &[1, 3]);
    let answer = c.alter(&request).topics.remove(0).partitions.remove(0);
    assert_eq!((answer.error_code, answer.leader_id, answer.isr), (E::NONE, BrokerId(1), ids(&[1, 3])));
    // Only the partition epoch grows: no follower has to begin anew.
    assert_eq!((answer.leader_epoch, answer.partition_epoch), (LeaderEpoch(0), 1));
    assert_eq!(c.state(t), (Some(1), vec![1, 3], vec![]));
    assert_eq!(c.isr(t, &[1]), E::NONE);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![3]));
    assert_eq!(c.isr(t, &[1, 2]), E::NONE);
    assert_eq!(c.state(t), (Some(1), vec![1, 2], vec![]));
}

#[test]
fn requests_are_judged_in_kafkas_order() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2], &[]);
    c.isr(t, &[1]);
    let mut no = |change: &dyn Fn(&mut PartitionData)| {
        let mut request = c.wish(t, &[1, 2]);
        change(&mut request.topics[0].partitions[0]);
        c.alter(&request).topics[0].partitions[0].error_code
    };
    assert_eq!(no(&|p| p.partition_index = PartitionIndex(9)), E::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(no(&|p| p.leader_epoch = LeaderEpoch(1)), E::NOT_CONTROLLER);
    assert_eq!(no(&|p| p.partition_epoch = 2), E::NOT_CONTROLLER);
    assert_eq!(no(&|p| p.leader_epoch = LeaderEpoch(-1)), E::FENCED_LEADER_EPOCH);
    assert_eq!(no(&|p| p.partition_epoch = 0), E::INVALID_UPDATE_VERSION);
    assert_eq!(no(&|p| p.new_isr_with_epochs[1].broker_id = BrokerId(3)), E::INVALID_REQUEST);
    assert_eq!(no(&|p| p.new_isr_with_epochs[1].broker_id = BrokerId(1)), E::INVALID_REQUEST);
    assert_eq!(no(&|p| p.new_isr_with_epochs.truncate(0)), E::INVALID_REQUEST);
    assert_eq!(no(&|p| p.leader_recovery_state = 1), E::INVALID_REQUEST);
    assert_eq!(no(&|p| p.new_isr_with_epochs[1].broker_epoch += 1), E::INELIGIBLE_REPLICA);
    assert_eq!(no(&|p| p.new_isr_with_epochs[1].broker_epoch = -1), E::NONE);
    let mut request = c.wish(t, &[1]);
    request.broker_epoch -= 1;
    assert_eq!(c.alter(&request).error_code, E::STALE_BROKER_EPOCH);
    let mut request = c.wish(t, &[1]);
    request.topics[0].topic_id = Uuid([9; 16]);
    assert_eq!(c.alter(&request).topics[0].partitions[0].error_code, E::UNKNOWN_TOPIC_ID);
    let mut request = c.wish(t, &[1]);
    (request.broker_id, request.broker_epoch) = (BrokerId(2), c.broker(2).epoch);
    assert_eq!(c.alter(&request).topics[0].partitions[0].error_code, E::INVALID_REQUEST);
}

#[test]
fn fenced_and_stopping_brokers_do_not_join() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2], &[]);
    c.isr(t, &[1]);
    c.fence(2);
    assert_eq!(c.isr(t, &[1, 2]), E::INELIGIBLE_REPLICA);
    c.beat(2);
    c.topic("led-by-2", &[2, 3], &[]);
    c.heartbeat(&crate::wire::api::broker_heartbeat::BrokerHeartbeatRequest { want_shut_down: true, ..c.well(2) });
    assert!(c.broker(2).is_stopping);
    assert_eq!(c.isr(t, &[1, 2]), E::INELIGIBLE_REPLICA);
}

#[test]
fn a_broker_does_not_join_by_what_its_former_life_had() {
    let mut c = Cluster::of(2);
    let t = c.topic("t", &[1, 2], &[]);
    c.isr(t, &[1]);
    let late = c.wish(t, &[1, 2]);
    c.pass(SESSION);
    c.beat(1);
    c.start(2, 2, -1);
    c.beat(2);
    assert_eq!(c.alter(&late).topics[0].partitions[0].error_code, E::INELIGIBLE_REPLICA);
    assert_eq!(c.isr(t, &[1, 2]), E::NONE);
}

#[test]
fn an_unclean_leader_is_alone_until_it_has_recovered() {
    let mut c = Cluster::of(2);
    let t = c.topic("t", &[1, 2], &[("unclean.leader.election.enable", "true")]);
    c.isr(t, &[1]);
    c.fence(1);
    assert_eq!(c.state(t), (Some(2), vec![2], vec![]));
    assert!(c.partition(t).is_recovering);
    c.beat(1);
    let mut request = c.wish(t, &[2, 1]);
    request.topics[0].partitions[0].leader_recovery_state = 1;
    assert_eq!(c.alter(&request).topics[0].partitions[0].error_code, E::INVALID_REQUEST);
    assert_eq!(c.isr(t, &[2]), E::NONE);
    assert!(!c.partition(t).is_recovering);
    assert_eq!(c.isr(t, &[2, 1]), E::NONE);
}

#[test]
fn only_leave_makes_an_unclean_leader() {
    let mut c = Cluster::of(2);
    let t = c.topic("t", &[1, 2], &[]);
    c.isr(t, &[1]);
    c.fence(1);
    assert_eq!(c.state(t), (None, vec![], vec![1]));
    assert!(c.bench.planner().elect_unclean_leaders().records.is_empty());
    assert_eq!(c.elect("t", 0), E::PREFERRED_LEADER_NOT_AVAILABLE);
    assert_eq!(c.elect("t", 1), E::NONE);
    assert_eq!(c.state(t), (Some(2), vec![2], vec![]));
    assert!(c.partition(t).is_recovering);
}

/// The last known leader comes back with an empty disk: whoever follows it would be cut to nothing.
fn with_a_replaced_disk() -> (Cluster, PartitionId) {
    let mut c = Cluster::of(2);
    let t = c.topic("t", &[1, 2], &[]);
    c.isr(t, &[1]);
    c.pass(SESSION);
    c.beat(2);
    let new_disk = BrokerRegistrationRequest { log_dirs: vec![dir(9)], ..Cluster::registration(1, 2, -1) };
    c.register(&new_disk);
    c.beat(1);
    (c, t)
}

#[test]
fn a_replaced_disk_does_not_lead_by_itself() {
    let (mut c, t) = with_a_replaced_disk();
    assert_eq!(c.state(t), (None, vec![], vec![]));
    assert_eq!(c.partition(t).last_known_elr, ids(&[1]));
    // With the disk that it led with it does, since of all replicas it lost the least (KIP-966).
    c.pass(SESSION);
    c.beat(2);
    c.start(1, 3, -1);
    c.beat(1);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![]));
    assert!(c.partition(t).is_recovering);
}

#[test]
fn a_new_log_on_a_replaced_disk_is_nobodys_last_leader() {
    let (mut c, t) = with_a_replaced_disk();
    assert_eq!(c.partition(t).last_known_elr, ids(&[1]));
    // It has made a new log there, and tells so: the other one, which nobody elects by itself, holds more.
    let partitions = vec![assign::PartitionData { partition_index: t.index }];
    let directories = vec![assign::DirectoryData { id: dir(9), topics: vec![assign::TopicData { topic_id: t.topic, partitions }] }];
    let request = assign::AssignReplicasToDirsRequest { broker_id: BrokerId(1), broker_epoch: c.broker(1).epoch, directories };
    assert_eq!(c.bench.run(|p| p.assign_replicas_to_dirs(&request)).error_code, E::NONE);
    assert_eq!((c.state(t), c.partition(t).last_known_elr.clone()), ((None, vec![], vec![]), ids(&[])));
    assert_eq!(c.partition(t).directories[0], dir(9));
    c.fence(1);
    assert_eq!(c.elect("t", 1), E::NONE);
    assert_eq!(c.state(t), (Some(2), vec![2], vec![]));
}

#[test]
fn without_elr_the_last_member_stays() {
    let mut c = Cluster::without_elr(2);
    let t = c.topic("t", &[1, 2], &[("min.insync.replicas", "2")]);
    c.fence(2);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![]));
    c.fence(1);
    assert_eq!(c.state(t), (None, vec![1], vec![]));
    c.beat(2);
    assert_eq!(c.state(t), (None, vec![1], vec![]));
    c.beat(1);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![]));
}

/// Sets `min.insync.replicas` of a topic (2) or of all brokers (4), or removes it.
fn set(c: &mut Cluster, kind: i8, name: &str, value: Option<&str>) -> (E, String) {
    use crate::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
    let config = AlterableConfig {
        name: "min.insync.replicas".to_owned(),
        config_operation: i8::from(value.is_none()),
        value: value.map(str::to_owned),
    };
    let resource = AlterConfigsResource { resource_type: kind, resource_name: name.to_owned(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let mut response = c.bench.run(|p| p.incremental_alter_configs(&request));
    let result = response.responses.remove(0);
    (result.error_code, result.error_message.unwrap_or_default())
}

/// Seeds 5, 11 and 15 of `--nodes 3`: both had everything, and neither was ever elected again.
#[test]
fn a_lower_minimum_leaves_those_eligible_whom_nobody_leads() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2], &[("min.insync.replicas", "2")]);
    c.fence(1);
    c.fence(2);
    assert_eq!(c.state(t), (None, vec![], vec![1, 2]));
    assert_eq!(set(&mut c, 2, "t", Some("1")).0, E::NONE);
    assert_eq!(c.state(t), (None, vec![], vec![1, 2]));
    c.beat(2);
    assert_eq!(c.state(t), (Some(2), vec![2], vec![]), "what it commits alone the other one does not have");
}

/// Seed 67 of `--nodes 3`: the last one in sync had just lost its disk.
#[test]
fn a_lower_minimum_that_too_few_reach_leaves_the_others_eligible() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2, 3], &[("min.insync.replicas", "3")]);
    c.isr(t, &[1]);
    assert_eq!(set(&mut c, 2, "t", Some("2")).0, E::NONE);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![2, 3]), "nothing is committed by one");
    assert_eq!(set(&mut c, 2, "t", Some("1")).0, E::NONE);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![]));
}

#[test]
fn a_lower_minimum_voids_the_elr_and_a_higher_one_does_not() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2, 3], &[("min.insync.replicas", "2")]);
    c.isr(t, &[1]);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![2, 3]));
    assert_eq!(set(&mut c, 2, "t", Some("3")).0, E::NONE);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![2, 3]));
    let epoch = c.epoch(t).1;
    assert_eq!(set(&mut c, 2, "t", None).0, E::NONE);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![]));
    assert_eq!(c.epoch(t).1, epoch + 1);
    assert_eq!(set(&mut c, 4, "", Some("2")).0, E::NONE);
    assert_eq!(
        set(&mut c, 4, "", None),
        (E::INVALID_CONFIG, "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.".to_owned())
    );
    assert_eq!(
        set(&mut c, 4, "2", Some("1")),
        (E::INVALID_CONFIG, "Broker-level min.insync.replicas cannot be altered while ELR is enabled.".to_owned())
    );
    c.fence(2);
    c.fence(3);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![]), "they had left before");
}
