//! Many folders made and unmade at once share the syncs of their names: whatever a crash leaves, what was acknowledged stays.

use super::pace::Slow;
use klamm::store::{Identity, MetaProperties, Opened, Options, format, open};
use klamm_core::id::{BrokerId, DirId, LogId, Ticket, Uuid};
use klamm_core::store::StoreOp;
use klamm_sim::chance::Chance;
use klamm_sim::disk::Disk;
use std::cell::RefCell;
use std::collections::BTreeSet;

const DIR: DirId = DirId(0);
const LOGS: u64 = 24;

/// Loses power after so many completions of the disk. How many creations and deletions were acknowledged before, and whether that was all of them.
pub(crate) fn run(seed: u64, completions: u64) -> (usize, bool) {
    let slow = Slow::new(seed);
    let disk = Disk::new(Chance::of_seed(seed), 1, 0, slow.pace());
    let identity = Identity { cluster: "cluster".to_owned(), node: BrokerId(1) };
    slow.block_on(format(&disk, &MetaProperties { owner: identity.clone(), directory: Uuid([1; 16]) })).expect("a fresh disk");
    let Opened { mut store, .. } = slow.block_on(open(vec![(DIR, disk.clone())], &identity, Options::default()));
    let create = |at: u64| StoreOp::Create { log: LogId(at), dir: DIR, name: format!("t-{at}"), topic: Uuid([2; 16]) };
    for at in 0..LOGS / 2 {
        store.submit(Ticket(at), create(at));
        slow.block_on(store.done()).1.expect("a healthy disk");
    }
    // The second half is made while a part of the first is deleted.
    for at in 0..LOGS / 2 {
        store.submit(Ticket(100 + at), create(LOGS / 2 + at));
        if at % 2 == 0 {
            store.submit(Ticket(200 + at), StoreOp::Delete { log: LogId(at) });
        }
    }
    let acknowledged = RefCell::new(BTreeSet::new());
    let all = usize::try_from(LOGS / 2 + LOGS / 4).expect("few");
    let work = async {
        for _ in 0..all {
            let (Ticket(ticket), outcome) = store.done().await;
            outcome.expect("a healthy disk");
            acknowledged.borrow_mut().insert(ticket);
        }
    };
    let is_done = slow.run(work, completions).is_some();
    drop(store);
    let Opened { mut dirs, .. } = slow.block_on(open(vec![(DIR, disk.crash(true))], &identity, Options::default()));
    let found: BTreeSet<String> = dirs.remove(0).1.expect("the directory opens").logs.into_iter().map(|log| log.name.clone()).collect();
    let acknowledged = acknowledged.into_inner();
    for at in 0..LOGS {
        let name = format!("t-{at}");
        let (was_made, was_deleted) = (at < LOGS / 2 || acknowledged.contains(&(100 + at - LOGS / 2)), acknowledged.contains(&(200 + at)));
        let may_be_going = at < LOGS / 2 && at % 2 == 0;
        assert!(found.contains(&name) || !was_made || may_be_going, "seed {seed}, {completions} completions: {name} was made and is gone");
        assert!(!found.contains(&name) || !was_deleted, "seed {seed}, {completions} completions: {name} was deleted and is back");
    }
    (acknowledged.len(), is_done)
}
