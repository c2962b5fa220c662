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

#[test]
fn the_contract_holds_on_the_real_disk() {
    let dir = TempDir::new("contract");
    block_on(contract::suite(|name| Disk::new(dir.0.join(name)).unwrap()));
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
