//! The store on the real disk keeps its contract.

use super::disk::{TempDir, block_on};
use bytes::Bytes;
use klamm::fs::Disk;
use klamm::store::{Identity, MetaProperties, Opened, Options, contract, format, open};
use klamm_core::id::{BrokerId, DirId, LogId, Offset, Ticket, Uuid};
use klamm_core::store::{StoreOp, Stored};

fn owner() -> Identity {
    Identity { cluster: "a-cluster".to_owned(), node: BrokerId(1) }
}

/// A store that is dropped leaves the operations behind that it has begun on other threads, where a killed process would not. One thread for all of
/// them ends those before the next store's first.
#[test]
fn the_contract_holds_on_the_real_disk() {
    let dir = TempDir::new("contract");
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(contract::suite(|name| Disk::new(dir.0.join(name)).unwrap()));
}

/// A runtime gives each poll a budget; the store, which does all its work in one, must not wait for more of it.
#[test]
fn many_operations_end_in_one_poll_of_a_runtime() {
    let dir = TempDir::new("budget");
    block_on(async {
        let disk = Disk::new(&dir.0).unwrap();
        let properties = MetaProperties { owner: owner(), directory: Uuid([1; 16]) };
        format(&disk, &properties).await.unwrap();
        let Opened { mut store, .. } = open(vec![(DirId(0), disk)], &owner(), Options::default()).await;
        for n in 0..300 {
            let op = StoreOp::Create { log: LogId(n), dir: DirId(0), name: format!("t-{n}"), topic: Uuid::ZERO };
            store.submit(Ticket(n), op);
        }
        for _ in 0..300 {
            assert_eq!(store.done().await.1, Ok(Stored::Done));
        }
        for n in 0..300 {
            let batches = vec![contract::batch(0, 0, 1, 0, 10)];
            store.submit(Ticket(1000 + n), StoreOp::Append { log: LogId(n), at: Offset(0), batches });
            store.submit(Ticket(2000 + n), StoreOp::Sync { log: LogId(n) });
        }
        for _ in 0..600 {
            store.done().await.1.unwrap();
        }
        assert_eq!(store.close(Bytes::new()).await, [(DirId(0), Ok(()))]);
    });
}

/// A snapshot of the metadata is read whole by whoever starts from it, however large the cluster is.
#[test]
fn snapshots_of_any_size_and_the_quorums_state_are_handed_over_and_left_alone() {
    const FOLDER: &str = "__cluster_metadata-0";
    let dir = TempDir::new("snapshots");
    let large = vec![7; 20 << 20];
    let files = [
        ("00000000000000000000-0000000000.checkpoint", &b"first"[..]),
        ("00000000000000000900-0000000003.checkpoint", &large),
        ("00000000000000000950-0000000003.checkpoint.part", b"half"),
        ("quorum-state", b"{}"),
    ];
    block_on(async {
        let disk = Disk::new(&dir.0).unwrap();
        let properties = MetaProperties { owner: Identity { cluster: "c".into(), node: BrokerId(1) }, directory: Uuid([1; 16]) };
        format(&disk, &properties).await.unwrap();
        std::fs::create_dir(dir.0.join(FOLDER)).unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(dir.0.join(FOLDER).join(name), bytes).unwrap());
        for _ in 0..2 {
            let disk = Disk::new(&dir.0).unwrap();
            let identity = Identity { cluster: "c".into(), node: BrokerId(1) };
            let Opened { store, dirs } = open(vec![(DirId(0), disk)], &identity, Options::default()).await;
            let found = dirs[0].1.as_ref().unwrap();
            assert_eq!(found.logs[0].name, FOLDER);
            let saved: Vec<(&str, usize)> =
                found.saved.iter().map(|(name, bytes)| (name.rsplit('/').next().unwrap(), bytes.len())).collect();
            assert_eq!(saved, [(files[0].0, 5), (files[1].0, large.len()), (files[3].0, 2)]);
            assert_eq!(store.close(Bytes::new()).await, [(DirId(0), Ok(()))]);
        }
    });
    assert!(files.iter().all(|(name, _)| dir.0.join(FOLDER).join(name).exists()));
}
