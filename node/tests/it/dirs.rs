//! Several log directories, of which one fails: what lies in it is offline, everything else goes on.

use crate::node::{Folder, ask, start_in, stop};
use klamm_core::error::ErrorCode as E;
use klamm_core::id::{LeaderEpoch, PartitionIndex};
use klamm_core::time::Timestamp;
use klamm_core::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use klamm_core::wire::api::describe_log_dirs::DescribeLogDirsRequest;
use klamm_core::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use klamm_core::wire::{Request, Response};
use std::path::{Path, PathBuf};

const PARTITIONS: i32 = 4;

async fn create(address: &str, name: &str) {
    let topic = CreatableTopic { name: name.to_owned(), num_partitions: PARTITIONS, replication_factor: 1, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    let Response::CreateTopics(made) = ask(address, 5, Request::from(request)).await else { panic!("another answer") };
    assert_eq!(made.topics[0].error_code, E::NONE);
}

/// What each partition says when it is asked for its end.
async fn codes(address: &str, name: &str) -> Vec<E> {
    let of = |index| ListOffsetsPartition {
        partition_index: PartitionIndex(index),
        current_leader_epoch: LeaderEpoch(-1),
        timestamp: Timestamp(-1),
        ..Default::default()
    };
    let topic = ListOffsetsTopic { name: name.to_owned(), partitions: (0..PARTITIONS).map(of).collect() };
    let request = ListOffsetsRequest { replica_id: klamm_core::id::BrokerId(-1), topics: vec![topic], ..Default::default() };
    let Response::ListOffsets(found) = ask(address, 4, Request::from(request)).await else { panic!("another answer") };
    found.topics[0].partitions.iter().map(|p| p.error_code).collect()
}

async fn dir_codes(address: &str) -> Vec<E> {
    let Response::DescribeLogDirs(found) = ask(address, 4, Request::from(DescribeLogDirsRequest::default())).await else {
        panic!("another answer")
    };
    found.results.iter().map(|dir| dir.error_code).collect()
}

/// Puts something into a folder's place that is no folder.
fn break_disk(folder: &Path) -> PathBuf {
    let away = folder.with_extension("away");
    std::fs::rename(folder, &away).expect("ours");
    std::fs::write(folder, "no folder").expect("ours");
    away
}

fn mend_disk(folder: &Path, away: &Path) {
    std::fs::remove_file(folder).expect("ours");
    std::fs::rename(away, folder).expect("ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_directory_takes_its_own_partitions_offline_and_no_others() {
    let folder = Folder::new("dirs");
    let dirs = [folder.path().join("a"), folder.path().join("b")];
    let (node, address) = start_in(&dirs, &[]).await.expect("two good folders");
    create(&address, "t").await;
    assert_eq!(codes(&address, "t").await, [E::NONE; PARTITIONS as usize]);
    stop(node).await;

    let away = break_disk(&dirs[1]);
    let (node, address) = start_in(&dirs, &[]).await.expect("one good folder");
    let found = codes(&address, "t").await;
    assert!(found.contains(&E::NONE) && found.contains(&E::KAFKA_STORAGE_ERROR), "{found:?}");
    assert_eq!(dir_codes(&address).await, [E::NONE, E::KAFKA_STORAGE_ERROR]);
    create(&address, "u").await;
    assert_eq!(codes(&address, "u").await, [E::NONE; PARTITIONS as usize], "new topics go where there is room");
    stop(node).await;

    mend_disk(&dirs[1], &away);
    let (node, address) = start_in(&dirs, &[]).await.expect("two good folders again");
    assert_eq!(codes(&address, "t").await, [E::NONE; PARTITIONS as usize]);
    assert_eq!(codes(&address, "u").await, [E::NONE; PARTITIONS as usize]);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_metadata_log_there_is_no_start() {
    let folder = Folder::new("dirs-first");
    let dirs = [folder.path().join("a"), folder.path().join("b")];
    let (node, _) = start_in(&dirs, &[]).await.expect("two good folders");
    stop(node).await;
    break_disk(&dirs[0]);
    let why = start_in(&dirs, &[]).await.expect_err("the first folder is broken");
    assert!(why.contains("metadata log"), "{why}");
}
