//! A restart that a crash cuts short, at each disk completion: what is left is a beginning of the old log, or nothing, and never damage.

use super::pace::Slow;
use klamm::store::{Identity, MetaProperties, Opened, Options, format, open};
use klamm_core::id::{BrokerId, DirId, LogId, Offset, Ticket, Uuid};
use klamm_core::store::{StoreOp, Stored};
use klamm_sim::chance::Chance;
use klamm_sim::disk::Disk;

const DIR: DirId = DirId(0);
const LOG: LogId = LogId(1);
const OLD_END: i64 = 60;
const NEW: i64 = 1000;

/// How a crash during a restart ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// All of the old log.
    Old,
    /// Some of it, from its beginning.
    Part,
    /// No records.
    Nothing,
    /// The new log: the restart may have been acknowledged.
    New,
}

/// Crashes after so many completions of the disk; `None` where the restart was acknowledged before.
pub(crate) fn run(seed: u64, completions: u64, power: bool) -> (Left, bool) {
    let slow = Slow::new(seed);
    let disk = Disk::new(Chance::of_seed(seed), 1, 0, slow.pace());
    let identity = Identity { cluster: "cluster".to_owned(), node: BrokerId(1) };
    slow.block_on(format(&disk, &MetaProperties { owner: identity.clone(), directory: Uuid([1; 16]) })).expect("a fresh disk");
    let Opened { mut store, .. } = slow.block_on(open(vec![(DIR, disk.clone())], &identity, Options::default()));
    let mut ops = vec![StoreOp::Create { log: LOG, dir: DIR, name: "t-0".to_owned(), topic: Uuid([2; 16]) }];
    for base in (0..OLD_END).step_by(10) {
        let batches = vec![klamm::store::contract::batch(base, i32::try_from(base).expect("small"), 10, 1000 + base, 20)];
        ops.push(StoreOp::Append { log: LOG, at: Offset(base), batches });
        ops.push(StoreOp::Sync { log: LOG });
        if base == 20 || base == 40 {
            ops.push(StoreOp::Roll { log: LOG, at: Offset(base + 10) });
        }
    }
    for (ticket, op) in (1..).zip(ops) {
        store.submit(Ticket(ticket), op);
        slow.block_on(store.done()).1.expect("a healthy disk");
    }
    store.submit(Ticket(99), StoreOp::Restart { log: LOG, at: Offset(NEW) });
    let acknowledged = slow.run(store.done(), completions).is_some_and(|(_, outcome)| matches!(outcome, Ok(Stored::Reopened(_))));
    drop(store);
    let disk = disk.crash(power);
    let Opened { mut dirs, .. } = slow.block_on(open(vec![(DIR, disk)], &identity, Options::default()));
    let found = dirs.remove(0).1.expect("the directory opens");
    let log = found.logs[0].state.as_ref().unwrap_or_else(|fault| panic!("after {completions} completions: {fault:?}"));
    let left = match (log.start.0, log.end.0) {
        (NEW, NEW) => Left::New,
        (0, 0) => Left::Nothing,
        (0, OLD_END) => Left::Old,
        (0, end) if end < OLD_END => Left::Part,
        other => panic!("after {completions} completions the log is {other:?}"),
    };
    assert!(log.epochs.entries().iter().all(|(_, start)| *start < log.end), "epochs of records that are gone: {:?}", log.epochs);
    (left, acknowledged)
}
