use super::cluster::{Cluster, SESSION, dir, ids};
use crate::controller::draft::directory;
use crate::controller::{Liveness, Record};
use crate::error::ErrorCode as E;
use crate::id::{BrokerId, LeaderEpoch, Offset, Uuid};
use crate::partition::PartitionId;
use crate::time::Instant;
use crate::wire::api::assign_replicas_to_dirs as assign;
use crate::wire::api::broker_heartbeat::BrokerHeartbeatRequest;
use crate::wire::api::broker_registration::BrokerRegistrationRequest;
use crate::wire::api::unregister_broker::UnregisterBrokerRequest;
use std::time::Duration;

#[test]
fn a_brokers_epoch_is_its_records_offset() {
    let mut c = Cluster::empty();
    let at = c.bench.controller.end();
    assert_eq!(c.start(1, 1, -1).broker_epoch, at.0);
    assert!(c.broker(1).is_fenced);
    // With the ISR changes of its former life before it, the record stands further on.
    c.beat(1);
    let mut c = Cluster::of(2);
    c.topic("t", &[2, 1], &[]);
    c.pass(SESSION);
    let at = c.bench.controller.end();
    assert_eq!(c.start(2, 2, -1).broker_epoch, at.0 + 1);
}

#[test]
fn registrations_are_judged() {
    let mut c = Cluster::of(2);
    let mut no = |change: &dyn Fn(&mut BrokerRegistrationRequest)| {
        let mut request = Cluster::registration(3, 1, -1);
        change(&mut request);
        c.register(&request).error_code
    };
    assert_eq!(no(&|r| r.cluster_id = "other".to_owned()), E::INCONSISTENT_CLUSTER_ID);
    assert_eq!(no(&|r| r.log_dirs.clear()), E::INVALID_REGISTRATION);
    assert_eq!(no(&|r| r.log_dirs = vec![Uuid::ZERO]), E::INVALID_REGISTRATION);
    assert_eq!(no(&|r| r.log_dirs = vec![dir(3), dir(3)]), E::INVALID_REGISTRATION);
    assert_eq!(no(&|r| r.log_dirs = vec![dir(1)]), E::INVALID_REGISTRATION);
    assert_eq!(no(&|r| r.features.clear()), E::UNSUPPORTED_VERSION);
    assert_eq!(no(&|r| r.is_migrating_zk_broker = true), E::BROKER_ID_NOT_REGISTERED);
    assert_eq!(no(&|r| r.broker_id = BrokerId(2)), E::DUPLICATE_BROKER_REGISTRATION);
    assert_eq!(no(&|_| {}), E::NONE);
}

#[test]
fn a_live_broker_is_not_replaced_and_a_silent_one_is() {
    let mut c = Cluster::of(2);
    let epoch = c.broker(2).epoch;
    let stranger = BrokerRegistrationRequest { log_dirs: vec![dir(9)], ..Cluster::registration(2, 2, -1) };
    assert_eq!(c.register(&stranger).error_code, E::DUPLICATE_BROKER_REGISTRATION);
    // The same process may say it again: it keeps its epoch, and is not fenced.
    let again = c.start(2, 1, epoch);
    assert_eq!((again.error_code, again.broker_epoch, c.broker(2).is_fenced), (E::NONE, epoch, false));
    // Who presents its epoch has its directories: the one before is gone.
    let next = c.start(2, 2, epoch);
    assert!(next.error_code.is_none() && next.broker_epoch > epoch);
    assert!(c.broker(2).is_fenced);
    assert_eq!(c.heartbeat(&BrokerHeartbeatRequest { broker_epoch: epoch, ..c.well(2) }).error_code, E::STALE_BROKER_EPOCH);
    // So has who presents one of them, though it died before the last epoch was on its disk.
    c.beat(2);
    assert!(!c.broker(2).is_fenced);
    assert_eq!((c.start(2, 3, epoch).error_code, c.broker(2).is_fenced), (E::NONE, true));
}

#[test]
fn who_presents_its_epoch_stays_eligible_and_who_does_not_loses_it() {
    for (is_clean, elr) in [(true, vec![2]), (false, vec![])] {
        let mut c = Cluster::of(2);
        let t = c.topic("t", &[2, 1], &[("min.insync.replicas", "2")]);
        let epoch = c.broker(2).epoch;
        c.pass(SESSION);
        c.beat(1);
        c.start(2, 2, if is_clean { epoch } else { epoch - 1 });
        assert_eq!(c.state(t), (Some(1), vec![1], elr));
    }
}

/// Seed 76 of three nodes: such a broker counted as one that had lost its records, and the other one that could lead had a new disk.
#[test]
fn who_dies_before_it_was_let_in_presents_the_epoch_before_and_stays_eligible() {
    let mut c = Cluster::of(2);
    let t = c.topic("t", &[2, 1], &[("min.insync.replicas", "2")]);
    let served = c.broker(2).epoch;
    c.pass(SESSION);
    c.beat(1);
    c.start(2, 2, served);
    assert!(c.broker(2).is_fenced);
    c.start(2, 3, served);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![2]));
    // Once let in, it may have been given what the one before has not.
    c.beat(2);
    assert!(!c.broker(2).is_fenced);
    c.pass(SESSION);
    c.beat(1);
    c.start(2, 4, served);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![]));
}

#[test]
fn a_broker_is_unfenced_when_it_has_replayed_its_registration() {
    let mut c = Cluster::empty();
    let epoch = c.start(1, 1, -1).broker_epoch;
    let behind = BrokerHeartbeatRequest { current_metadata_offset: Offset(epoch - 1), ..c.well(1) };
    let answer = c.heartbeat(&behind);
    assert_eq!((answer.is_caught_up, answer.is_fenced), (false, true));
    let wants = BrokerHeartbeatRequest { want_fence: true, ..c.well(1) };
    let answer = c.heartbeat(&wants);
    assert_eq!((answer.is_caught_up, answer.is_fenced), (true, true));
    let answer = c.beat(1);
    assert_eq!((answer.is_caught_up, answer.is_fenced, answer.should_shut_down), (true, false, false));
    let unknown = BrokerHeartbeatRequest { broker_id: BrokerId(7), ..c.well(1) };
    assert_eq!(c.heartbeat(&unknown).error_code, E::STALE_BROKER_EPOCH);
}

#[test]
fn silent_brokers_are_fenced_one_by_one() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2, 3], &[("min.insync.replicas", "2")]);
    assert_eq!(c.liveness.deadline(c.bench.controller.planned()), Some(Instant(0).after(SESSION)));
    c.pass(Duration::from_secs(5));
    c.beat(3);
    c.pass(Duration::from_secs(4));
    assert_eq!(c.expire(), Some(BrokerId(1)));
    assert_eq!(c.state(t), (Some(2), vec![2, 3], vec![]));
    assert_eq!(c.expire(), Some(BrokerId(2)));
    assert_eq!(c.state(t), (Some(3), vec![3], vec![2]));
    assert_eq!(c.expire(), None);
    assert_eq!(c.liveness.deadline(c.bench.controller.planned()), Some(Instant(0).after(Duration::from_secs(14))));
    // A new controller has heard nobody, and grants each a whole session.
    c.pass(SESSION);
    c.liveness = Liveness::new(c.now, SESSION);
    assert_eq!(c.expire(), None);
}

#[test]
fn a_suspected_broker_is_back_with_its_next_heartbeat_unless_it_flaps() {
    let mut c = Cluster::of(2);
    assert!(c.suspect(2) && c.broker(2).is_fenced);
    assert!(!c.suspect(2), "it is fenced already");
    assert!(!c.beat(2).is_fenced);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert!(c.suspect(2));
        let mut waited = 0;
        while c.beat(2).is_fenced {
            c.pass(Duration::from_secs(1));
            waited += 1;
        }
        waits.push(waited);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    c.pass(Duration::from_secs(120));
    c.suspect(2);
    assert!(!c.beat(2).is_fenced, "what is long ago is forgotten");
}

#[test]
fn a_controlled_shutdown_hands_over_first() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[2, 1, 3], &[("min.insync.replicas", "2")]);
    let stop = |c: &mut Cluster| c.heartbeat(&BrokerHeartbeatRequest { want_shut_down: true, ..c.well(2) });
    let first = stop(&mut c);
    assert_eq!((first.is_fenced, first.should_shut_down), (false, false));
    assert!(c.broker(2).is_stopping && !c.broker(2).is_fenced);
    assert_eq!(c.state(t), (Some(1), vec![1, 3], vec![]));
    let handed_over = c.bench.controller.end();
    c.beat(1);
    assert!(!stop(&mut c).should_shut_down, "broker 3 does not know yet");
    c.heartbeat(&BrokerHeartbeatRequest { current_metadata_offset: handed_over.plus(-1), ..c.well(3) });
    let last = stop(&mut c);
    assert_eq!((last.is_fenced, last.should_shut_down), (true, true));
    assert!(stop(&mut c).should_shut_down, "it may ask again");
}

#[test]
fn a_new_controller_does_not_know_when_a_stopping_broker_handed_over() {
    let mut c = Cluster::of(2);
    c.topic("t", &[2, 1], &[]);
    let stop = |c: &mut Cluster| c.heartbeat(&BrokerHeartbeatRequest { want_shut_down: true, ..c.well(2) }).should_shut_down;
    assert!(!stop(&mut c));
    c.liveness = Liveness::new(c.now, SESSION);
    assert!(!stop(&mut c));
    c.beat(1);
    assert!(stop(&mut c));
}

#[test]
fn who_leads_nothing_may_go_at_once() {
    let mut c = Cluster::of(2);
    let t = c.topic("t", &[1, 2], &[]);
    let answer = c.heartbeat(&BrokerHeartbeatRequest { want_shut_down: true, ..c.well(2) });
    assert_eq!((answer.is_fenced, answer.should_shut_down), (true, true));
    assert_eq!(c.state(t), (Some(1), vec![1], vec![]));
}

#[test]
fn nobody_leads_until_somebody_eligible_is_back() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2, 3], &[("min.insync.replicas", "2")]);
    c.fence(3);
    c.fence(2);
    c.fence(1);
    assert_eq!(c.state(t), (None, vec![], vec![1, 2]));
    assert_eq!(c.partition(t).last_known_elr, ids(&[1]));
    assert_eq!(c.bench.controller.image().leaderless().iter().collect::<Vec<_>>(), [&t]);
    c.beat(3);
    assert_eq!(c.state(t), (None, vec![], vec![1, 2]), "it left while the others went on");
    c.beat(2);
    assert_eq!(c.state(t), (Some(2), vec![2], vec![1]));
    assert_eq!(c.partition(t).last_known_elr, ids(&[]));
}

#[test]
fn a_failed_directory_takes_its_replicas_out() {
    let mut c = Cluster::of(2);
    let mut request = Cluster::registration(3, 1, -1);
    request.log_dirs = vec![dir(3), dir(33), dir(34)];
    c.register(&request);
    c.beat(3);
    let t = c.topic("t", &[3, 1, 2], &[]);
    let topics = |id| assign::AssignReplicasToDirsRequest {
        broker_id: BrokerId(3),
        broker_epoch: id,
        directories: vec![assign::DirectoryData {
            id: dir(33),
            topics: vec![assign::TopicData { topic_id: t.topic, partitions: vec![assign::PartitionData { partition_index: t.index }] }],
        }],
    };
    assert_eq!(c.bench.run(|p| p.assign_replicas_to_dirs(&topics(0))).error_code, E::STALE_BROKER_EPOCH);
    let request = topics(c.broker(3).epoch);
    assert_eq!(c.bench.run(|p| p.assign_replicas_to_dirs(&request)).directories[0].topics[0].partitions[0].error_code, E::NONE);
    assert_eq!(c.partition(t).directories, [dir(33), dir(1), dir(2)]);
    c.heartbeat(&BrokerHeartbeatRequest { offline_log_dirs: vec![dir(3)], ..c.well(3) });
    assert_eq!(c.state(t), (Some(3), vec![3, 1, 2], vec![]));
    c.heartbeat(&BrokerHeartbeatRequest { offline_log_dirs: vec![dir(33)], ..c.well(3) });
    assert_eq!(c.state(t), (Some(1), vec![1, 2], vec![]));
    assert_eq!(c.isr(t, &[1, 2, 3]), E::INELIGIBLE_REPLICA, "it had caught up before, and holds nothing now");
}

#[test]
fn a_broker_that_is_forgotten_is_nobodys_hope() {
    let mut c = Cluster::of(2);
    let t = c.topic("t", &[1, 2], &[("min.insync.replicas", "2")]);
    c.fence(2);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![2]));
    let forget = |id| UnregisterBrokerRequest { broker_id: BrokerId(id) };
    assert_eq!(c.bench.run(|p| p.unregister_broker(&forget(2))).error_code, E::NONE);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![]));
    let answer = c.bench.run(|p| p.unregister_broker(&forget(2)));
    assert_eq!(answer.error_code, E::BROKER_ID_NOT_REGISTERED);
    assert_eq!(answer.error_message.as_deref(), Some("Broker ID 2 is not currently registered"));
}

#[test]
fn fencing_is_quick_among_many_partitions() {
    let mut c = Cluster::of(3);
    for topic in 0..10 {
        let topic = crate::wire::api::create_topics::CreatableTopic {
            name: format!("t{topic}"),
            num_partitions: 1000,
            replication_factor: 3,
            ..Default::default()
        };
        let request = crate::wire::api::create_topics::CreateTopicsRequest { topics: vec![topic], timeout_ms: 0, validate_only: false };
        let records = c.bench.planner().create_topics(&request).records;
        c.bench.propose(records);
    }
    let records = c.bench.planner().fence_broker(BrokerId(1));
    assert_eq!(records.len(), 10_001);
    assert!(matches!(records.last(), Some(Record::BrokerRegistrationChange(_))));
    c.bench.propose(records);
    c.bench.commit();
    assert!(!c.bench.controller.image().leads(BrokerId(1)));
    assert!(c.bench.planner().fence_broker(BrokerId(1)).is_empty());
}

/// A broker tells in which directory its replica lies.
fn told(c: &mut Cluster, broker: i32, t: PartitionId, dir: Uuid) -> E {
    let partitions = vec![assign::PartitionData { partition_index: t.index }];
    let topics = vec![assign::TopicData { topic_id: t.topic, partitions }];
    let request = assign::AssignReplicasToDirsRequest {
        broker_id: BrokerId(broker),
        broker_epoch: c.broker(broker).epoch,
        directories: vec![assign::DirectoryData { id: dir, topics }],
    };
    let answer = c.bench.run(|p| p.assign_replicas_to_dirs(&request));
    assert_eq!(answer.error_code, E::NONE);
    answer.directories[0].topics[0].partitions[0].error_code
}

/// Seed 94 of three nodes: what such a follower had asked for arrived late, its leader took it for in sync, and it held nothing.
#[test]
fn whoever_gives_up_its_log_is_asked_anew_under_another_leader_epoch() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2, 3], &[]);
    c.isr(t, &[1, 2]);
    let before = c.partition(t).clone();
    assert_eq!(told(&mut c, 3, t, directory::LOST), E::NONE);
    let after = c.partition(t).clone();
    assert_eq!((after.leader, after.leader_epoch), (before.leader, LeaderEpoch(before.leader_epoch.0 + 1)));
    // It has begun anew.
    assert_eq!(told(&mut c, 3, t, dir(3)), E::NONE);
    assert_eq!(c.partition(t).leader_epoch, after.leader_epoch);
}

/// Seed 308 of three nodes: two brokers found damage one after the other, and nothing was acknowledged until one of them was filled.
#[test]
fn a_log_that_the_minimum_needs_is_led_by_another_one_and_not_given_up() {
    let mut c = Cluster::of(3);
    let t = c.topic("t", &[1, 2, 3], &[("min.insync.replicas", "2")]);
    // All are in sync: one may go.
    assert_eq!(told(&mut c, 3, t, directory::LOST), E::NONE);
    assert_eq!(c.state(t), (Some(1), vec![1, 2], vec![]));
    let before = c.partition(t).leader_epoch;
    assert_eq!(told(&mut c, 1, t, directory::LOST), E::NOT_ENOUGH_REPLICAS);
    assert_eq!(c.state(t), (Some(2), vec![1, 2], vec![]));
    assert_eq!(c.partition(t).leader_epoch, LeaderEpoch(before.0 + 1));
    // A follower says so only where its log cannot be opened: it does not count then, whatever the ISR says.
    assert_eq!(told(&mut c, 1, t, directory::LOST), E::NONE);
    assert_eq!(c.state(t), (Some(2), vec![2], vec![]));
}

/// A new log would take the place of what lay on the disk that is gone, and would lead.
#[test]
fn what_nobody_has_told_the_place_of_may_have_lain_in_a_directory_that_is_gone() {
    let with = |life, previous, dirs: &[i32]| BrokerRegistrationRequest {
        log_dirs: dirs.iter().copied().map(dir).collect(),
        ..Cluster::registration(1, life, previous)
    };
    for (dirs, elr) in [(&[11, 12][..], vec![1]), (&[12, 11], vec![1]), (&[11], vec![]), (&[11, 13], vec![])] {
        let mut c = Cluster::of(2);
        let first = c.register(&with(2, c.broker(1).epoch, &[11, 12])).broker_epoch;
        c.beat(1);
        let t = c.topic("t", &[1, 2], &[("min.insync.replicas", "2")]);
        assert_eq!(c.partition(t).directories[0], directory::UNASSIGNED);
        c.register(&with(3, first, dirs));
        assert_eq!(c.state(t), (Some(2), vec![2], elr), "{dirs:?}");
        // What is known to lie elsewhere counts on.
        let second = c.broker(1).epoch;
        c.beat(1);
        assert_eq!((told(&mut c, 1, t, dir(11)), c.isr(t, &[1, 2])), (E::NONE, E::NONE));
        c.register(&with(4, second, &[11, 14]));
        assert_eq!(c.state(t), (Some(2), vec![2], vec![1]), "{dirs:?}");
    }
}

/// Seed 803 of three nodes: the other one had been killed without its records synced, and came back as one that may have lost them.
#[test]
fn a_log_is_given_up_only_where_another_one_can_lead() {
    let mut c = Cluster::of(2);
    let t = c.topic("t", &[1, 2], &[("min.insync.replicas", "2")]);
    c.fence(2);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![2]));
    assert_eq!(told(&mut c, 1, t, directory::LOST), E::ELIGIBLE_LEADERS_NOT_AVAILABLE);
    assert_eq!(c.state(t), (Some(1), vec![1], vec![2]));
    c.beat(2);
    assert_eq!(told(&mut c, 1, t, directory::LOST), E::NONE);
    assert_eq!(c.state(t), (Some(2), vec![2], vec![]));
}
