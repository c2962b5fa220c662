//! What a full disk refuses to do with a whole log is done when there is room, and survives a crash then as if nothing had been.

use super::pace::Slow;
use klamm::store::{Identity, MetaProperties, Opened, Options, Store, contract, format, open};
use klamm_core::id::{BrokerId, DirId, LogId, Offset, Ticket, Uuid};
use klamm_core::log::FoundLog;
use klamm_core::store::{StoreFault, StoreOp, Stored};
use klamm_sim::chance::Chance;
use klamm_sim::disk::Disk;

const DIR: DirId = DirId(0);
const LOG: LogId = LogId(1);
const END: i64 = 60;

pub(crate) fn create(log: LogId) -> StoreOp {
    StoreOp::Create { log, dir: DIR, name: "t-0".to_owned(), topic: Uuid([2; 16]) }
}

pub(crate) struct Full {
    slow: Slow,
    disk: Disk,
    store: Store<Disk>,
    next: u64,
}

fn identity() -> Identity {
    Identity { cluster: "cluster".to_owned(), node: BrokerId(1) }
}

impl Full {
    pub(crate) fn new(seed: u64) -> Self {
        let slow = Slow::new(seed);
        let disk = Disk::new(Chance::of_seed(seed), 1, 0, slow.pace());
        slow.block_on(format(&disk, &MetaProperties { owner: identity(), directory: Uuid([1; 16]) })).expect("a fresh disk");
        let Opened { store, .. } = slow.block_on(open(vec![(DIR, disk.clone())], &identity(), Options::default()));
        Self { slow, disk, store, next: 0 }
    }

    /// Makes a log of three segments. Where the last begins is its recovery point, which the disk knows.
    pub(crate) fn fill(&mut self) {
        self.done(create(LOG));
        for base in (0..END).step_by(10) {
            let batches = vec![contract::batch(base, 7, 10, 1000 + base, 20)];
            self.done(StoreOp::Append { log: LOG, at: Offset(base), batches });
            self.done(StoreOp::Sync { log: LOG });
            if base == 20 || base == 40 {
                self.done(StoreOp::Roll { log: LOG, at: Offset(base + 10) });
            }
        }
    }

    pub(crate) fn ask(&mut self, op: StoreOp) -> Result<Stored, StoreFault> {
        self.next += 1;
        self.store.submit(Ticket(self.next), op);
        self.slow.block_on(self.store.done()).1
    }

    pub(crate) fn done(&mut self, op: StoreOp) {
        self.ask(op).expect("there is room");
    }

    /// While the disk is full.
    pub(crate) fn ask_full(&mut self, op: StoreOp) -> Result<Stored, StoreFault> {
        self.disk.faults(|faults| faults.capacity = Some(0));
        let outcome = self.ask(op);
        self.disk.faults(|faults| faults.capacity = None);
        outcome
    }

    /// The disk is full, and refuses that.
    pub(crate) fn refuses(&mut self, op: StoreOp) {
        assert_eq!(self.ask_full(op.clone()), Err(StoreFault::Full), "{op:?}");
    }

    /// The log as the next start finds it after a crash.
    pub(crate) fn found(self, power: bool) -> FoundLog {
        drop(self.store);
        let disk = self.disk.crash(power);
        let Opened { mut dirs, .. } = self.slow.block_on(open(vec![(DIR, disk)], &identity(), Options::default()));
        let mut logs = dirs.remove(0).1.expect("the directory opens").logs;
        assert_eq!(logs.len(), 1, "{logs:?}");
        logs.remove(0)
    }
}
