//! What followers do: where their logs begin and end, and how they get on after they were away.

use crate::answer;
use crate::cluster::reassigned;
use crate::trio::Trio;
use klamm_core::error::ErrorCode as E;
use klamm_core::id::{BrokerId, CorrelationId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence};
use klamm_core::wire::api::alter_replica_log_dirs::{AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest};
use klamm_core::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use klamm_core::wire::api::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use klamm_core::wire::api::delete_topics::DeleteTopicsRequest;
use klamm_core::wire::api::describe_cluster::DescribeClusterRequest;
use klamm_core::wire::api::describe_quorum::DescribeQuorumRequest;
use klamm_core::wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use klamm_core::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use klamm_core::wire::api::metadata::{MetadataRequest, MetadataRequestTopic};
use klamm_core::wire::record::Identity;
use klamm_core::wire::{ApiKey, Records, Response};
use std::time::Duration;

fn deletion(to: i64, timeout_ms: i32) -> DeleteRecordsRequest {
    let partitions = vec![DeleteRecordsPartition { partition_index: PartitionIndex(0), offset: Offset(to) }];
    DeleteRecordsRequest { topics: vec![DeleteRecordsTopic { name: "t".to_owned(), partitions }], timeout_ms }
}

fn with_records(fixed: &[(&str, &str)], records: usize) -> Trio {
    let mut trio = Trio::new(fixed);
    trio.create("t", 3, &[]);
    assert_eq!(trio.produce("t", records, -1), E::NONE);
    trio.pass(Duration::from_secs(2));
    trio
}

#[test]
fn deleted_records_are_gone_from_all_replicas_when_it_is_said() {
    let mut trio = with_records(&[], 8);
    let leader = trio.leader("t");
    let answered = answer!(DeleteRecords, trio.ask(leader, 2, deletion(5, 10_000)));
    let answer = &answered.topics[0].partitions[0];
    assert_eq!((answer.error_code, answer.low_watermark), (E::NONE, Offset(5)));
    for node in [1, 2, 3] {
        assert_eq!(trio.ends(node, "t"), [5, 8, 8, 8], "node {node}");
    }
    // What lies further back is deleted already, and that is no error.
    let answered = answer!(DeleteRecords, trio.ask(leader, 2, deletion(3, 10_000)));
    assert_eq!(answered.topics[0].partitions[0].low_watermark, Offset(5));
}

#[test]
fn a_deletion_does_not_wait_for_the_dead_but_for_the_living() {
    let mut trio = with_records(&[("broker.session.timeout.ms", "6000")], 8);
    let (leader, followers) = (trio.leader("t"), trio.followers("t"));
    trio.kill(followers[0]);
    trio.pass(Duration::from_millis(5));
    let early = trio.send(leader, 2, deletion(5, 200), Vec::new());
    trio.pass(Duration::from_millis(400));
    // Refused connections may have had it fenced by now; if not, the time is over.
    let early = answer!(DeleteRecords, trio.answer(early).expect("in time"));
    let code = early.topics[0].partitions[0].error_code;
    assert!([E::NONE, E::REQUEST_TIMED_OUT].contains(&code), "{code:?}");
    let answered = answer!(DeleteRecords, trio.ask(leader, 2, deletion(5, 20_000)));
    assert_eq!(answered.topics[0].partitions[0].error_code, E::NONE);
    assert_eq!(trio.ends(followers[1], "t")[0], 5);
}

#[test]
fn a_follower_that_lacks_what_was_deleted_begins_where_its_leader_does() {
    let mut trio = with_records(&[], 4);
    let late = trio.followers("t")[0];
    trio.kill(late);
    trio.pass(Duration::from_secs(40));
    assert_eq!(trio.produce("t", 8, -1), E::NONE);
    let leader = trio.leader("t");
    let answered = answer!(DeleteRecords, trio.ask(leader, 2, deletion(9, 10_000)));
    assert_eq!(answered.topics[0].partitions[0].error_code, E::NONE);
    trio.start(late);
    trio.pass(Duration::from_secs(20));
    assert_eq!(trio.ends(late, "t"), [9, 12, 12, 12]);
    assert_eq!(trio.bases(late, "t"), [9, 10, 11]);
    // Its epochs begin there too: it may lead.
    let state = trio.state(leader, "t");
    assert!(state.contains(&format!("BrokerId({late})")), "it is in sync again: {state}");
    assert_eq!(trio.produce("t", 1, -1), E::NONE);
    assert_eq!(trio.ends(late, "t")[3], 13);
}

/// Seed 100 of three nodes: such a follower took nothing of what it was sent, and asked for it again and again.
#[test]
fn a_follower_begins_with_the_batch_in_which_its_leaders_log_begins() {
    let mut trio = with_records(&[], 4);
    let late = trio.followers("t")[0];
    trio.kill(late);
    trio.pass(Duration::from_secs(40));
    assert_eq!(trio.produce_many("t", 2, 4, -1), E::NONE);
    let leader = trio.leader("t");
    answer!(DeleteRecords, trio.ask(leader, 2, deletion(6, 10_000)));
    trio.start(late);
    trio.pass(Duration::from_secs(20));
    assert_eq!(trio.bases(late, "t"), [4, 8]);
    assert_eq!(trio.ends(late, "t"), [6, 12, 12, 12]);
    let state = trio.state(leader, "t");
    assert!(state.contains(&format!("BrokerId({late})")), "it is in sync again: {state}");
}

#[test]
fn a_follower_of_a_log_that_is_empty_at_a_later_offset_begins_there() {
    let mut trio = with_records(&[], 4);
    let late = trio.followers("t")[0];
    trio.kill(late);
    trio.pass(Duration::from_secs(40));
    assert_eq!(trio.produce("t", 4, -1), E::NONE);
    let leader = trio.leader("t");
    answer!(DeleteRecords, trio.ask(leader, 2, deletion(-1, 10_000)));
    trio.start(late);
    trio.pass(Duration::from_secs(20));
    assert_eq!(trio.ends(late, "t"), [8, 8, 8, 8]);
    assert_eq!(trio.produce("t", 2, -1), E::NONE);
    trio.pass(Duration::from_secs(1));
    assert_eq!(trio.bases(late, "t"), [8, 9]);
}

#[test]
fn a_follower_forgets_silent_producers_as_its_leader_does() {
    let mut trio = Trio::new(&[("producer.id.expiration.ms", "60000"), ("producer.id.expiration.check.interval.ms", "20000")]);
    trio.create("t", 3, &[]);
    let of = |id, sequence| Identity { id: ProducerId(id), epoch: ProducerEpoch(0), sequence: Sequence(sequence) };
    assert_eq!(trio.produce_as("t", of(1, 0)), E::NONE);
    trio.pass(Duration::from_secs(60));
    assert_eq!(trio.produce_as("t", of(2, 0)), E::NONE);
    trio.pass(Duration::from_secs(25));
    let before = trio.leader("t");
    trio.stop(before);
    // Sooner than the new leader looks for them again.
    trio.pass(Duration::from_millis(500));
    assert_ne!(trio.leader("t"), before);
    assert_eq!(trio.produce_as("t", of(2, 7)), E::OUT_OF_ORDER_SEQUENCE_NUMBER, "it is remembered, and one is missing");
    assert_eq!(trio.produce_as("t", of(1, 7)), E::NONE, "it goes on where it was (KIP-360)");
}

const HIGHS: &str = "replication-offset-checkpoint";

/// A leader that has not heard of its third follower since it came back, with all in-sync replicas wanted: what is committed, only its file tells.
fn alone_again(file: Option<&str>) -> Trio {
    let mut trio = with_records(&[("min.insync.replicas", "3")], 8);
    trio.pass(Duration::from_secs(6));
    assert!(trio.saved(1, "t", HIGHS).expect("it is saved").contains("\nt 0 8\n"));
    [1, 2, 3].into_iter().for_each(|node| trio.kill(node));
    for node in [1, 2] {
        if let Some(text) = file {
            trio.write(node, "t", HIGHS, text);
        }
        trio.start(node);
    }
    trio.pass(Duration::from_secs(15));
    trio
}

#[test]
fn what_was_committed_is_known_after_a_start() {
    let trio = alone_again(None);
    assert_eq!(trio.ends(trio.leader("t"), "t"), [0, 8, 8, 8]);
}

#[test]
fn a_high_watermark_from_a_file_is_bounded_by_the_log_and_forgiven_if_it_is_nonsense() {
    let trio = alone_again(Some("0\n1\nt 0 100\n"));
    assert_eq!(trio.ends(trio.leader("t"), "t"), [0, 8, 8, 8]);
    let trio = alone_again(Some("0\n2\nt 0 100\n"));
    assert_eq!(trio.ends(trio.leader("t"), "t"), [0, 0, 8, 8]);
}

#[test]
fn a_log_does_not_get_the_high_watermark_of_an_older_one_of_its_name() {
    let mut trio = with_records(&[], 8);
    trio.pass(Duration::from_secs(6));
    let request = DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 1000, ..Default::default() };
    let answered = answer!(DeleteTopics, trio.ask(1, 5, request));
    assert_eq!(answered.responses[0].error_code, E::NONE);
    // Sooner than the next checkpoint by its interval.
    trio.create("t", 3, &[]);
    for node in [1, 2, 3] {
        let saved = trio.saved(node, "t", HIGHS).expect("it is saved");
        assert!(!saved.contains("\nt 0 8\n"), "a start of node {node} would take eight records of the new log for committed");
    }
}

fn assert_filled(trio: &Trio, node: i32, records: i64) {
    assert_eq!(trio.ends(node, "t"), [0, records, records, records]);
    assert_eq!(trio.bases(node, "t"), (0..records).collect::<Vec<_>>());
    let state = trio.state(trio.leader("t"), "t");
    let isr = state.split("decided").nth(1).and_then(|decided| decided.split('[').nth(1)).and_then(|rest| rest.split(']').next());
    assert!(isr.is_some_and(|isr| isr.contains(&format!("{node}"))), "in sync: {state}");
}

fn ask_to_move(trio: &mut Trio, node: i32, path: &str) {
    let topic = AlterReplicaLogDirTopic { name: "t".to_owned(), partitions: vec![PartitionIndex(0)] };
    let request = AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: path.to_owned(), topics: vec![topic] }] };
    assert_eq!(answer!(AlterReplicaLogDirs, trio.ask(node, 2, request)).results[0].partitions[0].error_code, E::NONE);
    trio.pass(Duration::from_millis(500));
}

fn move_to(trio: &mut Trio, node: i32, path: &str) {
    ask_to_move(trio, node, path);
    assert!(says(trio, node, &format!("t-0 lies in {path} now")), "{:?}", trio.notes);
}

fn says(trio: &Trio, node: i32, what: &str) -> bool {
    trio.notes.iter().any(|(who, text)| *who == node && text.contains(what))
}

#[test]
fn a_leader_whose_log_rots_gives_up_and_is_filled_anew() {
    let mut trio = with_records(&[], 8);
    let leader = trio.leader("t");
    trio.rot(leader, "t", 3, false);
    trio.pass(Duration::from_secs(20));
    assert!(says(&trio, leader, "t-0 is damaged at offset 3"), "{:?}", trio.notes);
    assert_ne!(trio.leader("t"), leader);
    assert_eq!(trio.produce("t", 2, -1), E::NONE);
    trio.pass(Duration::from_secs(2));
    assert_filled(&trio, leader, 10);
    // It counts again: with one of the others gone, two are in sync.
    let other = *trio.followers("t").iter().find(|node| **node != leader).expect("two followers");
    trio.kill(other);
    trio.pass(Duration::from_secs(40));
    assert_eq!(trio.produce("t", 1, -1), E::NONE);
}

#[test]
fn a_damaged_log_that_the_minimum_needs_is_given_up_when_another_one_is_back() {
    let mut trio = Trio::new(&[]);
    trio.create("t", 3, &[("min.insync.replicas", "2")]);
    assert_eq!(trio.produce("t", 8, -1), E::NONE);
    let (leader, followers) = (trio.leader("t"), trio.followers("t"));
    let (away, other) = (followers[0], followers[1]);
    trio.kill(away);
    trio.pass(Duration::from_secs(40));
    trio.rot(leader, "t", 3, false);
    trio.pass(Duration::from_secs(20));
    assert!(says(&trio, leader, "as a follower, until another replica is in sync"), "{:?}", trio.notes);
    assert_eq!(trio.leader("t"), other);
    assert_eq!(trio.produce("t", 2, -1), E::NONE);
    assert!(!says(&trio, leader, "filled anew from its leader"), "{:?}", trio.notes);
    trio.start(away);
    trio.pass(Duration::from_secs(30));
    assert!(says(&trio, leader, "filled anew from its leader"), "{:?}", trio.notes);
    assert_filled(&trio, leader, 10);
    assert_filled(&trio, away, 10);
}

/// Neither of the two that are in sync can be read from end to end, and each can read what the other one cannot.
#[test]
fn two_damaged_logs_that_the_minimum_needs_lead_by_turns_until_the_third_has_everything() {
    let mut trio = Trio::new(&[]);
    trio.create("t", 3, &[("min.insync.replicas", "2")]);
    assert_eq!(trio.produce("t", 4, -1), E::NONE);
    let (leader, followers) = (trio.leader("t"), trio.followers("t"));
    let (away, other) = (followers[0], followers[1]);
    trio.kill(away);
    trio.pass(Duration::from_secs(40));
    assert_eq!(trio.produce("t", 4, -1), E::NONE);
    trio.rot(leader, "t", 5, false);
    trio.rot(other, "t", 6, false);
    trio.pass(Duration::from_secs(3600));
    let turns: u32 =
        trio.state(leader, "t").split("LeaderEpoch(").nth(1).and_then(|rest| rest.split(')').next()?.parse().ok()).expect("an epoch");
    assert!((10..50).contains(&turns), "they lead by turns, for longer each time: {turns}");
    assert_eq!(trio.produce("t", 2, -1), E::NONE);
    trio.start(away);
    trio.pass(Duration::from_secs(1200));
    [leader, other, away].into_iter().for_each(|node| assert_filled(&trio, node, 10));
}

#[test]
fn a_batch_whose_offset_rots_is_found_by_the_scrub() {
    for to in [0, 3, 6] {
        let mut trio = with_records(&[], 8);
        let leader = trio.leader("t");
        trio.displace(leader, "t", 4, to);
        trio.pass(Duration::from_secs(30));
        assert!(says(&trio, leader, "t-0 is damaged at offset 4"), "{to}: {:?}", trio.notes);
        assert_filled(&trio, leader, 8);
    }
}

#[test]
fn a_batch_whose_epoch_rots_is_found_by_the_scrub_and_goes_into_no_copy() {
    let mut trio = with_records(&[], 8);
    let leader = trio.leader("t");
    trio.misname(leader, "t", 4, 16);
    ask_to_move(&mut trio, leader, "/data-0");
    assert!(says(&trio, leader, "t-0 stays where it is"), "{:?}", trio.notes);
    trio.pass(Duration::from_secs(30));
    assert!(says(&trio, leader, "t-0 is damaged at offset 4: a batch that says to be of epoch 16"), "{:?}", trio.notes);
    assert_filled(&trio, leader, 8);
}

#[test]
fn a_follower_whose_log_rots_is_filled_anew() {
    let mut trio = with_records(&[], 8);
    let follower = trio.followers("t")[1];
    trio.rot(follower, "t", 0, false);
    trio.pass(Duration::from_secs(20));
    assert!(says(&trio, follower, "filled anew from its leader"), "{:?}", trio.notes);
    assert_filled(&trio, follower, 8);
}

#[test]
fn a_log_that_is_found_damaged_at_the_start_is_filled_anew() {
    let mut trio = with_records(&[], 8);
    let follower = trio.followers("t")[0];
    trio.kill(follower);
    trio.rot(follower, "t", 2, true);
    trio.start(follower);
    trio.pass(Duration::from_secs(20));
    assert!(says(&trio, follower, "damaged at offset 2"), "{:?}", trio.notes);
    assert_filled(&trio, follower, 8);
}

#[test]
fn a_replica_that_moved_away_while_its_broker_was_down_is_deleted_at_the_start_and_may_come_back() {
    let mut trio = with_records(&[], 8);
    let follower = trio.followers("t")[0];
    let others: Vec<i32> = [1, 2, 3].into_iter().filter(|node| *node != follower).collect();
    trio.kill(follower);
    trio.pass(Duration::from_secs(40));
    let leader = trio.leader("t");
    trio.ask(leader, 1, reassigned(&others));
    trio.pass(Duration::from_secs(20));
    trio.start(follower);
    trio.pass(Duration::from_secs(20));
    assert_eq!(trio.copies(follower, "t"), 0);
    let leader = trio.leader("t");
    trio.ask(leader, 1, reassigned(&[1, 2, 3]));
    trio.pass(Duration::from_secs(20));
    assert_eq!(trio.copies(follower, "t"), 1);
    assert_filled(&trio, follower, 8);
}

/// Seeds 329 and 662: it was told that there is no such partition, though its records were in the log that others went on with.
#[test]
fn who_waits_for_a_leader_whose_replica_moves_away_is_told_that_it_leads_no_more() {
    for (is_deleted, code) in [(false, E::NOT_LEADER_OR_FOLLOWER), (true, E::UNKNOWN_TOPIC_OR_PARTITION)] {
        let mut trio = with_records(&[], 4);
        let leader = trio.leader("t");
        let controller = controller(&trio);
        let slow = others(leader).into_iter().find(|node| *node != controller).expect("one of two");
        trio.freeze(slow);
        let asked = trio.begin_produce(leader, "t", 1, -1);
        assert_eq!(trio.answer(asked), None, "it waits for {slow}");
        // What comes on the leader's connection waits behind it.
        let other = others(leader).into_iter().find(|node| *node != slow).expect("one of two");
        if is_deleted {
            trio.send(other, 5, removal(), Vec::new());
        } else {
            trio.send(other, 1, reassigned(&others(leader)), Vec::new());
        }
        trio.pass(Duration::from_secs(2));
        let answered = answer!(Produce, trio.answer(asked).expect("the replica is gone"));
        let answer = &answered.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, code);
        assert_eq!(others(leader).contains(&answer.current_leader.leader_id.0), !is_deleted, "{answer:?}");
    }
}

/// KIP-951: it can go on there at once, without a question for metadata.
#[test]
fn who_asks_a_broker_that_does_not_lead_is_told_who_does_and_where() {
    let mut trio = with_records(&[], 4);
    let (leader, follower) = (trio.leader("t"), trio.followers("t")[0]);
    let expected = (BrokerId(leader), format!("n{leader}"), 9092, Some(format!("r{leader}")));
    let asked = trio.begin_produce(follower, "t", 1, -1);
    let produced = answer!(Produce, trio.answer(asked).expect("it is refused at once"));
    let answer = &produced.responses[0].partition_responses[0];
    assert_eq!((answer.error_code, answer.current_leader.leader_id), (E::NOT_LEADER_OR_FOLLOWER, BrokerId(leader)));
    let told: Vec<_> = produced.node_endpoints.iter().map(|node| (node.node_id, node.host.clone(), node.port, node.rack.clone())).collect();
    assert_eq!(told, std::slice::from_ref(&expected));
    // Who reads by epochs may read from a follower.
    let fetched = answer!(Fetch, trio.ask(follower, 10, reading(0, "", 0)));
    let data = &fetched.responses[0].partitions[0];
    assert_eq!((data.error_code, data.current_leader.leader_id), (E::NOT_LEADER_OR_FOLLOWER, BrokerId(leader)));
    let told: Vec<_> = fetched.node_endpoints.iter().map(|node| (node.node_id, node.host.clone(), node.port, node.rack.clone())).collect();
    assert_eq!(told, [expected]);
}

/// A replica whose disk is full is offline, and says so once; it comes back when there is room, and has all that the others have.
fn assert_comes_back(trio: &mut Trio, node: i32, ends: [i64; 4]) {
    trio.pass(Duration::from_secs(30));
    assert!(trio.state(node, "t").starts_with("offline: the disk is full"), "{}", trio.state(node, "t"));
    let told = trio.notes.iter().filter(|(who, text)| *who == node && text.contains("t-0 is offline")).count();
    assert_eq!(told, 1, "it is said once, not at each attempt: {:?}", trio.notes);
    let asked = trio.begin_produce(node, "t", 1, -1);
    trio.pass(Duration::from_millis(20));
    let answered = answer!(Produce, trio.answer(asked).expect("at once"));
    assert_eq!(answered.responses[0].partition_responses[0].error_code, E::KAFKA_STORAGE_ERROR);
    trio.make_room(node);
    trio.pass(Duration::from_secs(10));
    assert!(says(trio, node, "t-0 is online"), "{:?}", trio.notes);
    assert_eq!(trio.ends(node, "t"), ends);
    let leader = trio.leader("t");
    let state = trio.state(leader, "t");
    assert!(state.contains(&format!("BrokerId({node})")), "it is in sync: {state}");
    assert_eq!(trio.produce("t", 1, -1), E::NONE);
}

/// The controller would have it lead where it takes its place for one that can be read, and whoever has everything would wait for it.
#[test]
fn a_replica_in_a_directory_that_is_missing_at_the_start_leads_nothing_whatever_was_told_of_its_place() {
    for (is_told, has_moved) in [(true, false), (false, false), (false, true)] {
        let mut trio = Trio::new(&[]);
        if !is_told && !has_moved {
            (1..=3).for_each(|node| trio.lose(node, ApiKey::AssignReplicasToDirs));
        }
        let controller = controller(&trio);
        trio.create("t", 2, &[]);
        trio.ask(controller, 0, reassigned(&others(controller)));
        trio.pass(Duration::from_secs(5));
        assert_eq!(trio.produce("t", 8, -1), E::NONE);
        let leader = trio.leader("t");
        let follower = others(controller).into_iter().find(|node| *node != leader).expect("one of two");
        if has_moved {
            move_to(&mut trio, follower, "/data-0");
            trio.lose(follower, ApiKey::AssignReplicasToDirs);
            move_to(&mut trio, follower, "/data-1");
        }
        trio.kill(follower);
        trio.pass(Duration::from_secs(40));
        trio.lose_nothing();
        trio.start_without_topics(follower);
        trio.pass(Duration::from_secs(20));
        trio.kill(leader);
        trio.pass(Duration::from_secs(40));
        trio.start(leader);
        trio.pass(Duration::from_secs(20));
        let states = [leader, follower].map(|node| trio.state(node, "t"));
        assert!(states[0].starts_with("leads"), "told {is_told}, moved {has_moved}: {states:?}");
        assert_eq!(trio.produce("t", 1, 1), E::NONE);
        trio.kill(follower);
        trio.start(follower);
        trio.pass(Duration::from_secs(20));
        assert_filled(&trio, follower, 9);
    }
}

#[test]
fn a_log_that_there_was_no_room_to_make_is_made_when_there_is() {
    for node in [1, 2, 3] {
        let mut trio = Trio::new(&[]);
        trio.fill_disk(node);
        trio.create("t", 3, &[]);
        assert_comes_back(&mut trio, node, [0, 0, 0, 0]);
        // It is the log that the next start finds.
        assert_eq!(trio.copies(node, "t"), 1);
        trio.kill(node);
        trio.start(node);
        trio.pass(Duration::from_secs(20));
        assert_eq!(trio.ends(node, "t"), [0, 1, 1, 1]);
    }
}

#[test]
fn a_log_that_there_was_no_room_to_cut_is_cut_when_there_is() {
    let mut trio = with_records(&[], 8);
    let (former, followers) = (trio.leader("t"), trio.followers("t"));
    followers.iter().for_each(|node| trio.freeze(*node));
    assert_eq!(trio.produce("t", 2, 1), E::NONE);
    trio.kill(former);
    followers.iter().for_each(|node| trio.thaw(*node));
    trio.pass(Duration::from_secs(40));
    assert_eq!(trio.produce("t", 1, -1), E::NONE);
    trio.fill_disk(former);
    trio.start(former);
    // Of the two that only the former leader had taken, the others were about to take the first.
    assert_comes_back(&mut trio, former, [0, 10, 10, 10]);
}

#[test]
fn a_log_that_there_was_no_room_to_begin_anew_begins_anew_when_there_is() {
    let mut trio = with_records(&[], 4);
    let late = trio.followers("t")[0];
    trio.kill(late);
    trio.pass(Duration::from_secs(40));
    assert_eq!(trio.produce("t", 8, -1), E::NONE);
    let leader = trio.leader("t");
    answer!(DeleteRecords, trio.ask(leader, 2, deletion(9, 10_000)));
    trio.fill_disk(late);
    trio.start(late);
    assert_comes_back(&mut trio, late, [9, 12, 12, 12]);
}

#[test]
fn a_log_that_rots_stays_in_use_until_another_one_that_has_everything_is_back() {
    let mut trio = Trio::new(&[]);
    trio.create("t", 2, &[]);
    assert_eq!(trio.produce("t", 8, -1), E::NONE);
    let leader = trio.leader("t");
    let follower = *trio.followers("t").iter().find(|node| trio.copies(**node, "t") == 1).expect("two replicas");
    trio.kill(follower);
    trio.pass(Duration::from_secs(40));
    trio.rot(leader, "t", 3, false);
    trio.pass(Duration::from_secs(20));
    assert!(says(&trio, leader, "it stays in use"), "{:?}", trio.notes);
    assert_eq!(trio.leader("t"), leader);
    trio.start(follower);
    trio.pass(Duration::from_secs(40));
    assert!(says(&trio, leader, "filled anew from its leader"), "{:?}", trio.notes);
    assert_filled(&trio, leader, 8);
}

#[test]
fn a_bad_copy_stays_in_use_where_the_good_one_is_gone_before_the_controller_hears_of_it() {
    let mut trio = Trio::new(&[("min.insync.replicas", "1")]);
    trio.create("t", 2, &[]);
    let controller = controller(&trio);
    trio.ask(controller, 0, reassigned(&others(controller)));
    trio.pass(Duration::from_secs(5));
    assert_eq!(trio.produce("t", 8, -1), E::NONE);
    trio.pass(Duration::from_secs(2));
    let leader = trio.leader("t");
    let follower = others(controller).into_iter().find(|node| *node != leader).expect("one of two");
    trio.lose(leader, ApiKey::AssignReplicasToDirs);
    trio.rot(leader, "t", 3, false);
    trio.pass(Duration::from_secs(20));
    assert!(says(&trio, leader, "It is to be filled anew"), "{:?}", trio.notes);
    assert_eq!((trio.leader("t"), trio.produce("t", 1, -1)), (leader, E::NONE));
    trio.kill(follower);
    trio.pass(Duration::from_secs(40));
    trio.lose_nothing();
    trio.pass(Duration::from_secs(20));
    assert!(says(&trio, leader, "it stays in use"), "{:?}", trio.notes);
    assert_eq!((trio.leader("t"), trio.produce("t", 1, -1)), (leader, E::NONE));
    let answered = answer!(DeleteRecords, trio.ask(leader, 2, deletion(4, 10_000)));
    assert_eq!(answered.topics[0].partitions[0].error_code, E::NONE);
    trio.start(follower);
    trio.pass(Duration::from_secs(40));
    assert_eq!(trio.ends(follower, "t"), [4, 10, 10, 10]);
    // What was bad in it is deleted.
    assert!(!says(&trio, leader, "filled anew from its leader"), "{:?}", trio.notes);
}

#[test]
fn the_last_copy_stays_in_use() {
    let mut trio = Trio::new(&[("min.insync.replicas", "1")]);
    trio.create("t", 1, &[]);
    assert_eq!(trio.produce("t", 8, -1), E::NONE);
    let leader = trio.leader("t");
    trio.rot(leader, "t", 3, false);
    trio.pass(Duration::from_secs(20));
    let told: Vec<_> = trio.notes.iter().filter(|(_, text)| text.contains("No other live replica has all of it")).collect();
    assert_eq!(told.len(), 1, "it is said once, not at each look: {:?}", trio.notes);
    assert_eq!(trio.leader("t"), leader);
    assert_eq!(trio.produce("t", 1, -1), E::NONE);
    assert_eq!(trio.bases(leader, "t").len(), 9);
}

#[test]
fn whoever_holds_all_that_is_committed_is_enough_to_give_up_a_bad_copy() {
    let mut trio = with_records(&[], 8);
    let (leader, followers) = (trio.leader("t"), trio.followers("t"));
    trio.kill(followers[0]);
    trio.pass(Duration::from_secs(40));
    // Two are left. When one of them rots, the other leads alone, and fills it.
    trio.rot(leader, "t", 3, false);
    trio.pass(Duration::from_secs(20));
    assert_eq!(trio.leader("t"), followers[1]);
    assert_filled(&trio, leader, 8);
    assert_eq!(trio.produce("t", 1, -1), E::NONE);
}

const RACKS: (&str, &str) = ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector");

fn reading(offset: i64, rack: &str, max_wait_ms: i32) -> FetchRequest {
    let partition =
        FetchPartition { partition: PartitionIndex(0), fetch_offset: Offset(offset), partition_max_bytes: 1 << 20, ..Default::default() };
    let topics = vec![FetchTopic { topic: "t".to_owned(), partitions: vec![partition], ..Default::default() }];
    FetchRequest { max_wait_ms, min_bytes: 1, session_epoch: -1, rack_id: rack.to_owned(), topics, ..Default::default() }
}

/// What a client in `rack` is answered by a node.
fn read(trio: &mut Trio, node: i32, version: i16, offset: i64, rack: &str) -> PartitionData {
    answer!(Fetch, trio.ask(node, version, reading(offset, rack, 0))).responses.remove(0).partitions.remove(0)
}

fn has_records(data: &PartitionData) -> bool {
    data.records.as_ref().is_some_and(|records| !Records::is_empty(records))
}

#[test]
fn a_client_is_sent_to_the_replica_in_its_rack() {
    let mut trio = with_records(&[RACKS], 8);
    let (leader, follower) = (trio.leader("t"), trio.followers("t")[0]);
    let near = format!("r{follower}");
    let sent = read(&mut trio, leader, 12, 0, &near);
    assert_eq!((sent.error_code, sent.preferred_read_replica, has_records(&sent)), (E::NONE, BrokerId(follower), false));
    assert_eq!(sent.high_watermark, Offset(8));
    for (version, rack) in [(12, "elsewhere"), (12, ""), (12, format!("r{leader}").as_str()), (10, &near)] {
        let kept = read(&mut trio, leader, version, 0, rack);
        assert_eq!((kept.preferred_read_replica, has_records(&kept)), (BrokerId(-1), true), "{rack} in {version}");
    }
}

#[test]
fn a_client_stays_with_the_leader_unless_racks_count_or_the_follower_lacks_what_it_wants() {
    let mut trio = with_records(&[], 8);
    let (leader, follower) = (trio.leader("t"), trio.followers("t")[0]);
    assert!(has_records(&read(&mut trio, leader, 12, 0, &format!("r{follower}"))), "no selector, no other replica");
    let mut trio = with_records(&[RACKS], 8);
    let (leader, follower) = (trio.leader("t"), trio.followers("t")[0]);
    trio.kill(follower);
    trio.pass(Duration::from_secs(40));
    assert!(has_records(&read(&mut trio, leader, 12, 0, &format!("r{follower}"))), "who is not in sync is nobody's choice");
    assert_eq!(read(&mut trio, leader, 12, 99, &format!("r{follower}")).error_code, E::OFFSET_OUT_OF_RANGE);
}

#[test]
fn a_follower_shows_clients_what_is_committed() {
    let mut trio = with_records(&[RACKS], 8);
    let follower = trio.followers("t")[0];
    let shown = read(&mut trio, follower, 12, 3, "");
    assert_eq!((shown.error_code, shown.high_watermark, has_records(&shown)), (E::NONE, Offset(8), true));
    assert_eq!(read(&mut trio, follower, 12, 9, "").error_code, E::OFFSET_OUT_OF_RANGE);
    assert_eq!(
        read(&mut trio, follower, 10, 3, "").error_code,
        E::NOT_LEADER_OR_FOLLOWER,
        "who cannot be told of replicas reads from leaders"
    );
    // A client that waits there is answered when more is committed.
    let waits = trio.send(follower, 12, reading(8, "", 5_000), Vec::new());
    assert_eq!(trio.produce("t", 1, -1), E::NONE);
    // As soon as it is: not when the follower's own fetch has waited for records in vain.
    trio.pass(Duration::from_millis(5));
    let answered = answer!(Fetch, trio.answer(waits).expect("well before its time is over"));
    assert!(has_records(&answered.responses[0].partitions[0]));
}

#[test]
fn a_follower_answers_clients_of_its_own_epoch_only() {
    let mut trio = with_records(&[RACKS], 8);
    let (former, followers) = (trio.leader("t"), trio.followers("t"));
    let named = |trio: &mut Trio, node, epoch| {
        let mut request = reading(3, "", 0);
        request.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(epoch);
        answer!(Fetch, trio.ask(node, 12, request)).responses.remove(0).partitions.remove(0)
    };
    assert!(has_records(&named(&mut trio, followers[0], 0)));
    assert_eq!(named(&mut trio, followers[0], 1).error_code, E::UNKNOWN_LEADER_EPOCH, "it has not heard of that one yet");
    trio.kill(former);
    trio.pass(Duration::from_secs(40));
    let follower = if trio.leader("t") == followers[0] { followers[1] } else { followers[0] };
    let fenced = named(&mut trio, follower, 0);
    assert_eq!((fenced.error_code, has_records(&fenced)), (E::FENCED_LEADER_EPOCH, false), "the client must hear of the new leader first");
}

#[test]
fn a_disk_that_fails_takes_only_its_own_replicas_offline() {
    let mut trio = with_records(&[], 8);
    trio.create("u", 3, &[]);
    assert_eq!(trio.produce("u", 4, -1), E::NONE);
    trio.pass(Duration::from_secs(1));
    let leader = trio.leader("t");
    let of_u = [trio.ends(1, "u"), trio.ends(2, "u"), trio.ends(3, "u")];
    trio.fail_disk(leader, "t");
    trio.pass(Duration::from_secs(5));
    assert!(trio.state(leader, "t").starts_with("offline"), "{}", trio.state(leader, "t"));
    assert_ne!(trio.leader("t"), leader, "another one leads");
    let topics = Some(vec![MetadataRequestTopic { name: Some("t".to_owned()), ..Default::default() }]);
    for node in [1, 2, 3] {
        let told = answer!(Metadata, trio.ask(node, 12, MetadataRequest { topics: topics.clone(), ..Default::default() }));
        assert_eq!(told.topics[0].partitions[0].offline_replicas, [BrokerId(leader)], "every broker knows: {node}");
    }
    assert_eq!([trio.ends(1, "u"), trio.ends(2, "u"), trio.ends(3, "u")], of_u, "what lies on the other disk is served on");
    assert_eq!((trio.produce("t", 2, -1), trio.produce("u", 2, -1)), (E::NONE, E::NONE));
    trio.pass(Duration::from_secs(2));
    assert_eq!(trio.ends(leader, "u"), [0, 6, 6, 6]);
}

/// Who is the active controller, by what it told its operator last.
fn controller(trio: &Trio) -> i32 {
    let told = trio.notes.iter().rev().find(|(_, text)| text.contains("is the active controller, in epoch"));
    told.expect("there is one").0
}

#[test]
fn a_new_controller_hears_of_each_brokers_death_by_its_connection() {
    // Between two heartbeats there is time enough for everything.
    let mut trio = Trio::new(&[("broker.heartbeat.interval.ms", "30000"), ("broker.session.timeout.ms", "100000")]);
    let first = controller(&trio);
    trio.kill(first);
    trio.pass(Duration::from_secs(5));
    trio.start(first);
    trio.pass(Duration::from_secs(3));
    let second = controller(&trio);
    assert_ne!(first, second);
    let third = 6 - first - second;
    trio.kill(third);
    trio.pass(Duration::from_secs(1));
    assert!(is_fenced(&trio, third), "{:?}", trio.notes);
}

/// A process that is being torn down is still connected to: a controller that asked only once waited for the session to end.
#[test]
fn a_broker_whose_door_still_opens_as_it_dies_is_fenced_at_once() {
    let mut trio = with_records(&[], 4);
    let controller = controller(&trio);
    let dead = others(controller)[0];
    trio.kill_ajar(dead, 8);
    trio.pass(Duration::from_secs(1));
    assert!(is_fenced(&trio, dead), "{:?}", trio.notes);
}

fn is_fenced(trio: &Trio, node: i32) -> bool {
    let fenced = format!("broker {node} is fenced: its connection closed");
    trio.notes.iter().any(|(_, text)| text.starts_with(&fenced))
}

/// Seed 11: the controller knew a second connection of the broker, from before the network was cut, and took it for a sign of life.
#[test]
fn a_connection_that_was_given_up_does_not_speak_for_a_broker() {
    let mut trio = with_records(&[], 4);
    let controller = controller(&trio);
    let dead = others(controller)[0];
    trio.beat_half_open(dead, controller);
    trio.pass(Duration::from_secs(5));
    trio.kill_ajar(dead, 8);
    trio.pass(Duration::from_secs(1));
    assert!(is_fenced(&trio, dead), "{:?}", trio.notes);
}

#[test]
fn a_broker_that_stops_need_not_wait_for_the_heartbeats_of_others() {
    let slow = [("broker.heartbeat.interval.ms", "30000"), ("broker.session.timeout.ms", "100000")];
    let mut trio = with_records(&slow, 4);
    let leader = trio.leader("t");
    trio.stop(leader);
    trio.pass(Duration::from_millis(200));
    assert!(says(&trio, leader, "stopped"), "{:?}", trio.notes);
    assert_ne!(trio.leader("t"), leader);
    assert_eq!(trio.produce("t", 1, 1), E::NONE);
}

#[test]
fn a_broker_that_is_told_not_to_hand_over_stops_at_once() {
    for (enabled, stops) in [("true", false), ("false", true)] {
        let mut trio = with_records(&[("controlled.shutdown.enable", enabled)], 4);
        let controller = controller(&trio);
        let stopping = others(controller)[0];
        trio.freeze(controller);
        trio.stop(stopping);
        trio.pass(Duration::from_millis(100));
        assert_eq!(says(&trio, stopping, "stopped"), stops, "{:?}", trio.notes);
    }
}

#[test]
fn a_client_gets_no_more_at_once_than_the_broker_allows() {
    let mut trio = with_records(&[("fetch.max.bytes", "1024")], 40);
    let leader = trio.leader("t");
    let got = read(&mut trio, leader, 12, 0, "").records.map_or(0, |records| Records::len(&records));
    assert!((500..=1024).contains(&got), "{got} bytes");
}

/// A cluster whose active controller is asked to delete a topic while no other voter moves, until it is active no more; the controller, and the token
/// of the request.
fn deletion_in_doubt() -> (Trio, i32, CorrelationId) {
    let mut trio = with_records(&[], 4);
    let leader = controller(&trio);
    others(leader).into_iter().for_each(|node| trio.freeze(node));
    let asked = trio.send(leader, 5, removal(), Vec::new());
    trio.pass(Duration::from_secs(5));
    assert!(says(&trio, leader, "the active controller no more"), "{:?}", trio.notes);
    assert_eq!(trio.answer(asked), None);
    (trio, leader, asked)
}

fn others(node: i32) -> Vec<i32> {
    [1, 2, 3].into_iter().filter(|other| *other != node).collect()
}

fn removal() -> DeleteTopicsRequest {
    DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 1000, ..Default::default() }
}

fn deleted(response: Response) -> E {
    answer!(DeleteTopics, response).responses[0].error_code
}

/// To send the client to the next controller would have it told that there is no such topic.
#[test]
fn what_a_controller_that_lost_its_voters_has_proposed_is_answered_when_the_next_one_commits_it() {
    let (mut trio, leader, asked) = deletion_in_doubt();
    others(leader).into_iter().for_each(|node| trio.thaw(node));
    trio.pass(Duration::from_secs(10));
    assert_eq!(trio.answer(asked).map(deleted), Some(E::NONE), "{:?}", trio.notes);
}

#[test]
fn who_waits_for_what_the_next_controller_does_not_have_asks_again() {
    let (mut trio, leader, asked) = deletion_in_doubt();
    trio.freeze(leader);
    // What had come for them is gone with their processes.
    others(leader).into_iter().for_each(|node| trio.kill(node));
    others(leader).into_iter().for_each(|node| trio.start(node));
    trio.pass(Duration::from_secs(10));
    trio.thaw(leader);
    trio.pass(Duration::from_secs(10));
    assert_eq!(trio.answer(asked), None);
    assert!(says(&trio, leader, "closed: the controller that was deciding a request is active no more"), "{:?}", trio.notes);
    assert_eq!(deleted(trio.ask(others(leader)[0], 5, removal())), E::NONE);
}

/// A topic that the active controller leads, and the request of a client that asks who does.
fn led_by_the_controller() -> (Trio, i32, MetadataRequest) {
    let mut trio = with_records(&[], 4);
    let leader = controller(&trio);
    if trio.leader("t") != leader {
        let others = [1, 2, 3].into_iter().filter(|node| *node != leader);
        let replicas: Vec<i32> = [leader].into_iter().chain(others).collect();
        trio.ask(leader, 0, reassigned(&replicas));
        trio.pass(Duration::from_secs(400));
    }
    assert_eq!((trio.leader("t"), controller(&trio)), (leader, leader));
    let topic = MetadataRequestTopic { name: Some("t".to_owned()), ..Default::default() };
    (trio, leader, MetadataRequest { topics: Some(vec![topic]), ..Default::default() })
}

fn leader_told(response: Response) -> (E, BrokerId) {
    let partition = &answer!(Metadata, response).topics[0].partitions[0];
    (partition.error_code, partition.leader_id)
}

#[test]
fn who_asks_for_a_leader_that_has_just_died_is_told_the_next() {
    let (mut trio, dead, request) = led_by_the_controller();
    trio.kill(dead);
    let asked = [1, 2, 3].into_iter().filter(|node| *node != dead).map(|node| (node, trio.send(node, 12, request.clone(), Vec::new())));
    let asked: Vec<_> = asked.collect();
    for (_, token) in &asked {
        assert_eq!(trio.answer(*token), None);
    }
    trio.pass(Duration::from_millis(499));
    let next = trio.leader("t");
    assert_ne!(next, dead);
    for (node, token) in asked {
        let told = trio.answer(token).map(leader_told);
        assert_eq!(told, Some((E::NONE, BrokerId(next))), "node {node}; {:?}", trio.notes);
    }
}

#[test]
fn who_asks_for_a_leader_that_nobody_can_replace_is_told_so_soon() {
    let (mut trio, dead, request) = led_by_the_controller();
    let others: Vec<i32> = trio.followers("t");
    trio.kill(others[0]);
    trio.kill(dead);
    let asked = trio.send(others[1], 12, request, Vec::new());
    trio.pass(Duration::from_millis(499));
    assert_eq!(trio.answer(asked), None);
    trio.pass(Duration::from_millis(1));
    assert_eq!(trio.answer(asked).map(leader_told), Some((E::LEADER_NOT_AVAILABLE, BrokerId(-1))));
}

/// Seed 5: the leader forgot what it had asked the controller for as its replica moved to another directory, and no longer waited for who had been
/// granted to join meanwhile.
#[test]
fn a_leader_that_moves_to_another_directory_remembers_what_it_asked_of_the_controller() {
    let mut trio = with_records(&[("replica.lag.time.max.ms", "3000")], 4);
    let leader = trio.leader("t");
    others(leader).into_iter().for_each(|node| trio.freeze(node));
    assert_eq!(trio.produce("t", 1, 1), E::NONE, "so that they lag");
    trio.pass(Duration::from_secs(6));
    let asked = format!("Some(({{BrokerId(1), BrokerId(2), BrokerId(3)}}, Some({{BrokerId({leader})}})))");
    assert!(trio.state(leader, "t").contains(&asked), "{}", trio.state(leader, "t"));
    move_to(&mut trio, leader, "/data-0");
    assert!(trio.state(leader, "t").contains(&asked), "{}", trio.state(leader, "t"));
    others(leader).into_iter().for_each(|node| trio.thaw(node));
    trio.pass(Duration::from_secs(20));
    assert_eq!((trio.produce("t", 1, -1), [1, 2, 3].map(|node| trio.ends(node, "t")[3])), (E::NONE, [6; 3]));
}

#[test]
fn who_asks_for_a_change_while_there_is_no_controller_is_refused_in_time() {
    let mut trio = with_records(&[], 1);
    others(1).into_iter().for_each(|node| trio.kill(node));
    trio.pass(Duration::from_secs(5));
    let resource = AlterConfigsResource { resource_type: 2, resource_name: "t".to_owned(), configs: Vec::new() };
    let deletion = trio.send(1, 5, removal(), Vec::new());
    let change = trio.send(1, 1, IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }, Vec::new());
    let quorum = trio.send(1, 2, DescribeQuorumRequest::default(), Vec::new());
    trio.pass(Duration::from_secs(91));
    assert_eq!(trio.answer(deletion).map(deleted), Some(E::REQUEST_TIMED_OUT));
    let changed = answer!(IncrementalAlterConfigs, trio.answer(change).expect("in time"));
    assert_eq!((changed.responses[0].error_code, changed.responses[0].resource_name.as_str()), (E::REQUEST_TIMED_OUT, "t"));
    assert_eq!(answer!(DescribeQuorum, trio.answer(quorum).expect("in time")).error_code, E::REQUEST_TIMED_OUT);
}

fn with_minimum(value: &str) -> IncrementalAlterConfigsRequest {
    let config = AlterableConfig { name: "min.insync.replicas".to_owned(), config_operation: 0, value: Some(value.to_owned()) };
    let resource = AlterConfigsResource { resource_type: 2, resource_name: "t".to_owned(), configs: vec![config] };
    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
}

/// What clears the ELR moves the epochs of partitions: a leader that is not told asks from an epoch that is out of date, and nobody ever joins again.
#[test]
fn a_replica_joins_again_after_the_minimum_in_sync_was_lowered() {
    let mut trio = Trio::new(&[]);
    trio.create("t", 2, &[]);
    assert_eq!(trio.produce("t", 4, -1), E::NONE);
    let (leader, follower) = (trio.leader("t"), trio.followers("t")[0]);
    trio.kill(follower);
    trio.pass(Duration::from_secs(12));
    assert_eq!(answer!(IncrementalAlterConfigs, trio.ask(leader, 1, with_minimum("1"))).responses[0].error_code, E::NONE);
    assert_eq!(trio.produce("t", 1, -1), E::NONE, "one is enough now");
    trio.start(follower);
    trio.pass(Duration::from_secs(5));
    let both = format!("leads in 0 Some(({{BrokerId({}), BrokerId({})}}, None))", leader.min(follower), leader.max(follower));
    assert!(trio.state(leader, "t").starts_with(&both), "{}", trio.state(leader, "t"));
}

/// A leader that was away hears at once of one ISR, a higher minimum, and another ISR, whose former member is eligible by that minimum.
#[test]
fn a_leader_goes_by_members_and_minimum_of_the_same_moment() {
    let mut trio = Trio::new(&[]);
    trio.create("t", 3, &[("min.insync.replicas", "1")]);
    let boss = controller(&trio);
    let (leader, follower) = (others(boss)[0], others(boss)[1]);
    trio.ask(boss, 0, reassigned(&[leader, follower]));
    trio.pass(Duration::from_secs(400));
    assert_eq!((controller(&trio), trio.leader("t"), trio.produce("t", 4, -1)), (boss, leader, E::NONE));
    trio.freeze(follower);
    assert_eq!(trio.produce("t", 1, 1), E::NONE, "what the other one has not got");
    trio.freeze(leader);
    // What is proposed first comes alone.
    let other = CreatableTopic { name: "other".to_owned(), num_partitions: 1, replication_factor: 1, ..Default::default() };
    trio.send_by(1, boss, 7, CreateTopicsRequest { topics: vec![other], timeout_ms: 1000, ..Default::default() }, Vec::new());
    trio.send_by(2, boss, 0, reassigned(&[leader, follower, boss]), Vec::new());
    trio.send_by(3, boss, 1, with_minimum("2"), Vec::new());
    trio.kill(follower);
    trio.pass(Duration::from_millis(100));
    trio.thaw(leader);
    let state = trio.state(leader, "t");
    assert!(state.starts_with(&format!("leads in 1 Some(({{BrokerId({leader})}}, ")), "{state}");
    assert_eq!(trio.ends(leader, "t")[1..], [4, 5, 5], "{state}");
}

/// A client that is told of no controller does not administer anything.
#[test]
fn a_broker_that_is_fenced_names_a_live_one_as_the_controller() {
    let mut trio = Trio::new(&[]);
    let asked = |trio: &mut Trio, node: i32| {
        let told = answer!(Metadata, trio.ask(node, 12, MetadataRequest::default())).controller_id;
        (told, answer!(DescribeCluster, trio.ask(node, 1, DescribeClusterRequest { endpoint_type: 1, ..Default::default() })).controller_id)
    };
    let node = others(controller(&trio))[0];
    assert_eq!(asked(&mut trio, node), (BrokerId(node), BrokerId(node)));
    trio.lose(node, ApiKey::BrokerHeartbeat);
    trio.pass(Duration::from_secs(30));
    let (one, other) = asked(&mut trio, node);
    for told in [one, other] {
        assert!(others(node).contains(&told.0), "{told}");
    }
}
