//! A directory that fails while its logs are recovered is offline, and its logs are nobody's: their numbers are given anew.

use super::pace::Slow;
use klamm::store::{Identity, MetaProperties, Opened, Options, format, open};
use klamm_core::id::{BrokerId, DirId, LogId, Ticket, Uuid};
use klamm_core::store::{StoreOp, Stored};
use klamm_sim::chance::Chance;
use klamm_sim::disk::Disk;

#[test]
fn numbers_of_logs_in_a_directory_that_fails_at_the_start_are_given_anew() {
    let slow = Slow::new(7);
    let disks = [0, 1].map(|disk| Disk::new(Chance::of_seed(7), 1, disk, slow.pace()));
    let identity = Identity { cluster: "cluster".to_owned(), node: BrokerId(1) };
    for disk in &disks {
        slow.block_on(format(disk, &MetaProperties { owner: identity.clone(), directory: Uuid([1; 16]) })).expect("a fresh disk");
    }
    let started = |disks: &[Disk; 2]| {
        let dirs = disks.iter().cloned().zip(0..).map(|(disk, at)| (DirId(at), disk)).collect();
        slow.block_on(open(dirs, &identity, Options::default()))
    };
    let create = |name: &str, dir| StoreOp::Create { log: LogId(0), dir, name: name.to_owned(), topic: Uuid([2; 16]) };
    let Opened { mut store, .. } = started(&disks);
    store.submit(Ticket(1), create("t-0", DirId(1)));
    slow.block_on(store.done()).1.expect("a healthy disk");
    drop(store);
    let disks = disks.map(|disk| disk.crash(false));
    disks[1].faults(|faults| faults.failing_syncs = 1);
    let Opened { mut store, dirs } = started(&disks);
    assert!(dirs[0].1.is_ok() && dirs[1].1.is_err(), "the second one could not be made durable");
    store.submit(Ticket(2), create("u-0", DirId(0)));
    assert_eq!(slow.block_on(store.done()), (Ticket(2), Ok(Stored::Done)));
}
