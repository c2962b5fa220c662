//! What nodes tell their operator of the cluster: when it changes, and once.

use crate::trio::Trio;
use klamm_core::error::ErrorCode as E;
use klamm_core::wire::ApiKey;
use klamm_core::wire::api::metadata::{MetadataRequest, MetadataRequestTopic};
use std::time::Duration;

fn with_records() -> Trio {
    let mut trio = Trio::new(&[]);
    trio.create("t", 3, &[]);
    assert_eq!(trio.produce("t", 4, -1), E::NONE);
    trio.pass(Duration::from_secs(2));
    trio
}

/// How often a node has said this.
fn says(trio: &Trio, node: i32, what: &str) -> usize {
    trio.notes.iter().filter(|(who, text)| *who == node && text.contains(what)).count()
}

#[test]
fn a_leader_says_who_leaves_and_who_joins_the_isr() {
    let mut trio = with_records();
    let (leader, late) = (trio.leader("t"), trio.followers("t")[0]);
    let rest = [1, 2, 3].into_iter().filter(|node| *node != late).map(|node| node.to_string()).collect::<Vec<_>>().join(",");
    trio.kill(late);
    trio.pass(Duration::from_secs(40));
    let shrinks = format!("t-0: the ISR shrinks from 1,2,3 to {rest} (the leader's log ends at 4; broker {late} has told of 4)");
    assert_eq!(says(&trio, leader, &shrinks), 1, "{:?}", trio.notes);
    trio.start(late);
    trio.pass(Duration::from_secs(20));
    assert_eq!(says(&trio, leader, &format!("t-0: the ISR grows from {rest} to 1,2,3")), 1, "{:?}", trio.notes);
    assert_eq!(says(&trio, leader, "t-0: the ISR"), 2, "{:?}", trio.notes);
}

#[test]
fn a_follower_says_once_that_its_leader_gives_nothing_and_when_it_does_again() {
    let mut trio = with_records();
    let (leader, follower) = (trio.leader("t"), trio.followers("t")[0]);
    trio.lose(follower, ApiKey::Fetch);
    trio.pass(Duration::from_secs(5));
    let cut_off = format!("replicas cannot be fetched from their leader, broker {leader}, which closes its connections");
    assert_eq!(says(&trio, follower, &cut_off), 1, "{:?}", trio.notes);
    trio.lose_nothing();
    trio.pass(Duration::from_secs(5));
    assert_eq!(says(&trio, follower, &format!("replicas are fetched from broker {leader} again")), 1, "{:?}", trio.notes);
}

#[test]
fn a_replica_that_is_cut_says_how_much_and_why() {
    let mut trio = with_records();
    let (old, followers) = (trio.leader("t"), trio.followers("t"));
    followers.iter().for_each(|node| trio.lose(*node, ApiKey::Fetch));
    // Those that wait at the leader are answered.
    trio.pass(Duration::from_millis(700));
    trio.begin_produce(old, "t", 1, 1);
    trio.kill(old);
    trio.lose_nothing();
    trio.pass(Duration::from_secs(20));
    trio.start(old);
    trio.pass(Duration::from_secs(20));
    let new = trio.leader("t");
    let cut = format!("t-0 is cut from its end, 5, to 4: its leader, broker {new}, has not what it holds there");
    assert_eq!(says(&trio, old, &cut), 1, "{:?}", trio.notes);
}

#[test]
fn a_broker_says_that_it_is_fenced_and_that_it_is_no_longer() {
    let mut trio = with_records();
    let node = trio.followers("t")[0];
    assert_eq!(says(&trio, node, "this broker is unfenced"), 1, "{:?}", trio.notes);
    trio.lose(node, ApiKey::BrokerHeartbeat);
    trio.pass(Duration::from_secs(30));
    assert_eq!(says(&trio, node, "the controller has fenced this broker"), 1, "{:?}", trio.notes);
    trio.lose_nothing();
    trio.pass(Duration::from_secs(30));
    assert_eq!(says(&trio, node, "this broker is unfenced"), 2, "{:?}", trio.notes);
}

#[test]
fn a_node_says_whom_it_follows_and_that_there_is_nobody() {
    let mut trio = with_records();
    let told =
        trio.notes.iter().find(|(_, text)| text.starts_with("this node is the active controller, in epoch")).expect("there is one").0;
    let others = [1, 2, 3].into_iter().filter(|node| *node != told).collect::<Vec<_>>();
    let follows = format!("this node follows node {told}, the active controller of epoch");
    others.iter().for_each(|node| assert_eq!(says(&trio, *node, &follows), 1, "{:?}", trio.notes));
    trio.kill(told);
    trio.kill(others[0]);
    trio.pass(Duration::from_secs(60));
    assert_eq!(says(&trio, others[1], "no active controller was heard of for 10 s"), 1, "{:?}", trio.notes);
    let before = trio.notes.len();
    trio.start(others[0]);
    trio.pass(Duration::from_secs(10));
    let elected = trio.notes[before..].iter().filter(|(_, text)| text.contains("this node is the active controller")).count();
    let following = trio.notes[before..].iter().filter(|(_, text)| text.starts_with("this node follows node")).count();
    assert_eq!((elected, following), (1, 1), "{:?}", trio.notes);
}

#[test]
fn a_broker_that_is_not_released_in_time_says_what_it_leaves_behind() {
    let mut trio = with_records();
    let leader = trio.leader("t");
    trio.lose(leader, ApiKey::BrokerHeartbeat);
    trio.stop(leader);
    trio.pass(Duration::from_secs(9));
    let late = "the controller has not released this broker within 10 s, and it stops";
    assert_eq!(says(&trio, leader, late), 0, "{:?}", trio.notes);
    trio.pass(Duration::from_secs(2));
    assert_eq!(says(&trio, leader, late), 1, "{:?}", trio.notes);
    assert_eq!(says(&trio, leader, "stopped"), 1, "{:?}", trio.notes);
}

#[test]
fn a_topic_that_cannot_be_created_is_told_of_once_for_each_reason() {
    let mut trio = Trio::new(&[("default.replication.factor", "5")]);
    let topic = MetadataRequestTopic { name: Some("wanted".to_owned()), ..Default::default() };
    let wish = MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: true, ..Default::default() };
    // Among them the active controller, which asks itself.
    for node in [1, 2, 3] {
        for _ in 0..3 {
            trio.ask(node, 12, wish.clone());
            trio.pass(Duration::from_secs(1));
        }
        let told =
            "auto topic creation failed for wanted with error INVALID_REPLICATION_FACTOR: Unable to replicate the partition 5 time(s)";
        assert_eq!(says(&trio, node, told), 1, "node {node}: {:?}", trio.notes);
    }
}
