//! The store's contract as a suite, for any `Fs`: the node runs it on the real disk, the simulator on its faulty one.
//!
//! Each case gets a disk of its own. A store that is dropped without `close` is what kill -9 leaves.

mod clean;

use super::{Identity, MetaProperties, Opened, Options, Outcome, Store, format, open};
use crate::fs::{File, Fs, Open};
use bytes::Bytes;
use klamm_core::id::{BrokerId, DirId, LeaderEpoch, LogId, Offset, ProducerId, Ticket, Uuid};
use klamm_core::log::checkpoint::{self, STARTS_FILE};
use klamm_core::log::producers::Producers;
use klamm_core::log::segments::Segment;
use klamm_core::log::{FoundDir, Recovered};
use klamm_core::store::{FoundTime, Located, StoreFault, StoreOp, Stored};
use klamm_core::time::Timestamp;
use klamm_core::wire::batch::{Batch, Compression};
use klamm_core::wire::record::{BatchBuilder, Identity as Producer, Payload};
use std::collections::BTreeMap;

const DIR: DirId = DirId(0);
const LOG: LogId = LogId(77);
const TOPIC: Uuid = Uuid(*b"a topic's own id");
const ALL: Offset = Offset(i64::MAX);

/// A batch of `records` records, the first at `base`, with times that count up from `time`.
#[must_use]
pub fn batch(base: i64, epoch: i32, records: i32, time: i64, value_bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, None);
    for record in 0..records {
        let value = Bytes::from(vec![u8::try_from(base % 251).expect("below 251"); value_bytes]);
        builder.push(Timestamp(time + i64::from(record)), &Payload { key: None, value: Some(value), headers: Vec::new() });
    }
    builder.finish(Producer::NONE).stamp(Offset(base), LeaderEpoch(epoch))
}

fn owner(node: i32) -> Identity {
    Identity { cluster: "cluster".to_owned(), node: BrokerId(node) }
}

/// A store under test, with the answers it owes.
struct Subject<F: Fs> {
    store: Store<F>,
    tickets: u64,
}

/// A short segment's worth of index entries, so that small tests have some.
const OPTIONS: Options = Options { index_interval_bytes: 200, index_run: 64, open_files: 512, recoveries: 2 };

impl<F: Fs + Clone> Subject<F> {
    async fn first(fs: &F) -> Self {
        Self::first_with(fs, OPTIONS).await
    }

    async fn first_with(fs: &F, options: Options) -> Self {
        let properties = MetaProperties { owner: owner(1), directory: Uuid([7; 16]) };
        format(fs, &properties).await.expect("a fresh disk");
        let (mut subject, found) = Self::with(fs, options).await;
        assert_eq!(found.id, Uuid([7; 16]));
        assert!(found.logs.is_empty());
        subject.done(StoreOp::Create { log: LOG, dir: DIR, name: "t-0".into(), topic: TOPIC }).await;
        subject
    }

    async fn again(fs: &F) -> (Self, FoundDir) {
        Self::with(fs, OPTIONS).await
    }

    async fn with(fs: &F, options: Options) -> (Self, FoundDir) {
        let Opened { store, mut dirs } = open(vec![(DIR, fs.clone())], &owner(1), options).await;
        (Self { store, tickets: 0 }, dirs.remove(0).1.expect("the directory opens"))
    }

    fn issue(&mut self, op: StoreOp) -> Ticket {
        self.tickets += 1;
        self.store.submit(Ticket(self.tickets), op);
        Ticket(self.tickets)
    }

    /// Issues one operation when nothing else is outstanding, and waits for it.
    async fn ask(&mut self, op: StoreOp) -> Outcome {
        let ticket = self.issue(op);
        let (answered, outcome) = self.store.done().await;
        assert_eq!(answered, ticket);
        outcome
    }

    async fn done(&mut self, op: StoreOp) {
        assert_eq!(self.ask(op).await, Ok(Stored::Done));
    }

    /// Appends batches of `records` records each, as far as `end`; each epoch and time as the offset says.
    async fn fill(&mut self, log: LogId, from: i64, to: i64, records: i32) {
        let batches: Vec<Batch> =
            (from..to).step_by(usize::try_from(records).expect("positive")).map(|at| at_offset(at, records)).collect();
        let end = Ok(Stored::Appended { end: Offset(to) });
        assert_eq!(self.ask(StoreOp::Append { log, at: Offset(from), batches }).await, end);
    }

    async fn sync(&mut self, log: LogId) -> Offset {
        match self.ask(StoreOp::Sync { log }).await {
            Ok(Stored::Synced { end }) => end,
            other => panic!("{other:?}"),
        }
    }

    async fn locate(&mut self, log: LogId, from: i64, until: Offset, max_bytes: u32) -> Option<Located> {
        match self.ask(StoreOp::Locate { log, from: Offset(from), until, max_bytes }).await {
            Ok(Stored::Located(located)) => located,
            other => panic!("{other:?}"),
        }
    }

    /// The base offsets of the batches that a region holds, as who sends it would read them.
    async fn bases(&mut self, located: &Located) -> Vec<i64> {
        let file = self.store.files().resolve(&located.region).await.expect("the segment is there");
        let bytes = file.read_at(located.region.position, located.region.len as usize).await.expect("readable");
        assert_eq!(bytes.len(), located.region.len as usize);
        let batches = Batch::all(&bytes).expect("whole batches");
        assert_eq!(batches.iter().map(|batch| batch.header().bytes).sum::<u32>(), located.region.len);
        assert_eq!(batches[0].header().base_offset, located.first);
        batches.iter().map(|batch| batch.header().base_offset.0).collect()
    }

    async fn reopened(&mut self, op: StoreOp) -> Recovered {
        match self.ask(op).await {
            Ok(Stored::Reopened(recovered)) => *recovered,
            other => panic!("{other:?}"),
        }
    }

    async fn end_by_load(&mut self, log: LogId) -> i64 {
        let mut at = self.start_of(log).await;
        loop {
            match self.ask(StoreOp::Load { log, from: Offset(at), until: ALL, max_bytes: 700 }).await {
                Ok(Stored::Loaded(batches)) => match batches.last() {
                    Some(last) => at = last.header().next_offset().0,
                    None => return at,
                },
                other => panic!("{other:?}"),
            }
        }
    }

    async fn start_of(&mut self, log: LogId) -> i64 {
        for at in 0.. {
            match self.ask(StoreOp::Locate { log, from: Offset(at), until: ALL, max_bytes: 1 }).await {
                Err(StoreFault::Gone) => {}
                _ => return at,
            }
        }
        unreachable!("a log starts somewhere")
    }
}

/// Offset 10 has epoch 1, time 1010, and so on.
fn at_offset(at: i64, records: i32) -> Batch {
    batch(at, i32::try_from(at / 10).expect("small"), records, 1000 + at, 20)
}

/// All cases, each on a disk that `fresh` makes.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn suite<F: Fs + Clone>(mut fresh: impl FnMut(&str) -> F) {
    appends_are_readable_when_done(&fresh("appends")).await;
    operations_may_be_issued_at_once(&fresh("at-once")).await;
    a_region_is_bounded(&fresh("bounds")).await;
    an_append_must_begin_at_the_end(&fresh("end")).await;
    segments_roll(&fresh("roll")).await;
    a_search_by_time_is_exact(&fresh("time")).await;
    small_files_are_replaced(&fresh("small")).await;
    deleted_logs_free_their_name(&fresh("delete")).await;
    discarded_segments_stay_readable_for_a_while(&fresh("discard")).await;
    a_segment_may_go_before_its_sync(&fresh("early")).await;
    segments_below_the_start_stay_until_they_are_discarded(&fresh("below")).await;
    a_batch_astray_is_not_taken_for_the_next(&fresh("astray")).await;
    a_batch_that_does_not_fit_is_damage(&fresh("misfit")).await;
    truncation_cuts_to_a_batch(&fresh("truncate")).await;
    a_restart_drops_everything(&fresh("restart")).await;
    a_clean_end_needs_no_scan(&fresh("clean")).await;
    a_kill_keeps_what_was_written(&fresh("kill")).await;
    a_torn_tail_is_cut(&fresh("torn")).await;
    damage_below_the_recovery_point_is_not_cut(&fresh("damage")).await;
    derived_state_is_rebuilt(&fresh("derived")).await;
    indexes_are_rebuilt(&fresh("indexes")).await;
    leftovers_are_removed(&fresh("leftovers")).await;
    a_directory_is_checked(&fresh("checked")).await;
    clean::the_newest_of_each_key_stays(&fresh("cleaned")).await;
    clean::a_cut_goes_into_what_was_cleaned(&fresh("cleaned-cut")).await;
    clean::whoever_cuts_or_deletes_waits_for_no_cleaning(&fresh("cleaning-ends")).await;
    clean::gaps_are_damage_unless_they_were_noted(&fresh("gaps")).await;
}

async fn appends_are_readable_when_done<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    assert_eq!(s.locate(LOG, 0, ALL, 100).await, None);
    s.fill(LOG, 0, 30, 3).await;
    assert_eq!(s.sync(LOG).await, Offset(30));
    assert_eq!(s.sync(LOG).await, Offset(30), "nothing to do is done");
    let located = s.locate(LOG, 7, ALL, u32::MAX).await.expect("offset 7 is there");
    assert_eq!(located.next, Offset(30));
    assert_eq!(s.bases(&located).await, (6..30).step_by(3).collect::<Vec<_>>());
    assert_eq!(s.locate(LOG, 30, ALL, 100).await, None, "the end is no fault");
    assert_eq!(s.ask(StoreOp::Locate { log: LOG, from: Offset(31), until: ALL, max_bytes: 1 }).await, Err(StoreFault::Gone));
    assert_eq!(s.ask(StoreOp::Sync { log: LogId(5) }).await, Err(StoreFault::Gone));
    assert_eq!(s.store.outstanding(), super::Outstanding::default());
}

async fn operations_may_be_issued_at_once<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    let other = LogId(78);
    let mut expected = Vec::new();
    for op in [
        StoreOp::Create { log: other, dir: DIR, name: "t-1".into(), topic: TOPIC },
        StoreOp::Save { dir: DIR, name: "t-1/small".into(), bytes: Bytes::from_static(b"s") },
        StoreOp::Append { log: other, at: Offset(0), batches: vec![at_offset(0, 2)] },
        StoreOp::Append { log: other, at: Offset(2), batches: vec![at_offset(2, 2)] },
        StoreOp::Sync { log: other },
        StoreOp::Append { log: other, at: Offset(4), batches: vec![at_offset(4, 2)] },
        StoreOp::Roll { log: other, at: Offset(6) },
        StoreOp::Append { log: other, at: Offset(6), batches: vec![at_offset(6, 2)] },
        StoreOp::Sync { log: other },
        StoreOp::Space { dir: DIR },
    ] {
        expected.push(s.issue(op));
    }
    assert_eq!(s.store.outstanding().ops, expected.len());
    assert!(s.store.outstanding().bytes > 0);
    let mut got = Vec::new();
    for _ in &expected {
        got.push(s.store.done().await);
    }
    let outcome = |at: usize| got.iter().find(|(ticket, _)| *ticket == expected[at]).map(|(_, outcome)| outcome.clone()).expect("answered");
    assert_eq!(outcome(0), Ok(Stored::Done));
    assert_eq!(outcome(1), Ok(Stored::Done));
    assert_eq!([outcome(2), outcome(3), outcome(5), outcome(7)], [2, 4, 6, 8].map(|end| Ok(Stored::Appended { end: Offset(end) })));
    assert!(matches!(outcome(4), Ok(Stored::Synced { end }) if end >= Offset(4)), "{:?}", outcome(4));
    assert_eq!(outcome(8), Ok(Stored::Synced { end: Offset(8) }));
    assert!(matches!(outcome(9), Ok(Stored::Space { total, free }) if 0 < free && free <= total));
    let place = |at: usize| got.iter().position(|(ticket, _)| *ticket == expected[at]).expect("answered");
    assert!([0, 2, 3, 5, 6, 7].is_sorted_by_key(|at| place(*at)), "writes end in the order of their issue");
    assert!(place(4) < place(8), "so do syncs");
}

async fn a_region_is_bounded<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 400, 2).await;
    let size = at_offset(0, 2).header().bytes;
    for from in [0, 1, 2, 77, 200, 398, 399] {
        let base = from / 2 * 2;
        for max in [0, 1, size - 1, size, size + 1, 5 * size, 17 * size + 3, 100 * size] {
            for until in [from + 1, base + 2, base + 3, base + 9, base + 60, 400] {
                let whole = i64::from((max / size).max(1)).min((until.min(400) - base) / 2);
                let located = s.locate(LOG, from, Offset(until), max).await;
                let Some(located) = located else {
                    assert_eq!(whole, 0, "from {from} until {until} max {max}");
                    continue;
                };
                let expected: Vec<i64> = (base..base + 2 * whole).step_by(2).collect();
                assert_eq!(s.bases(&located).await, expected, "from {from} until {until} max {max}");
                assert_eq!(located.next, Offset(base + 2 * whole));
            }
        }
    }
    assert_eq!(s.locate(LOG, 5, Offset(5), 100).await, None);
    let loaded = s.ask(StoreOp::Load { log: LOG, from: Offset(3), until: Offset(9), max_bytes: 10 * size }).await;
    let Ok(Stored::Loaded(batches)) = loaded else { panic!("{loaded:?}") };
    assert_eq!(batches.iter().map(|batch| batch.header().base_offset.0).collect::<Vec<_>>(), [2, 4, 6]);
}

async fn an_append_must_begin_at_the_end<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 4, 2).await;
    for (at, batches) in [(6, vec![at_offset(6, 2)]), (4, vec![at_offset(4, 2), at_offset(5, 2)])] {
        assert_eq!(s.ask(StoreOp::Append { log: LOG, at: Offset(at), batches }).await, Err(StoreFault::Gone));
        let recovered = s.reopened(StoreOp::Reopen { log: LOG }).await;
        assert_eq!(recovered.end, Offset(4));
    }
    s.fill(LOG, 4, 6, 2).await;
}

async fn segments_roll<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    for segment in 0..4 {
        s.fill(LOG, segment * 50, segment * 50 + 50, 5).await;
        s.done(StoreOp::Roll { log: LOG, at: Offset(segment * 50 + 50) }).await;
    }
    s.done(StoreOp::Roll { log: LOG, at: Offset(200) }).await;
    s.fill(LOG, 200, 230, 5).await;
    assert_eq!(s.ask(StoreOp::Roll { log: LOG, at: Offset(7) }).await, Err(StoreFault::Gone));
    let recovered = s.reopened(StoreOp::Reopen { log: LOG }).await;
    assert_eq!(recovered.segments.iter().map(|segment| segment.base.0).collect::<Vec<_>>(), [0, 50, 100, 150, 200]);
    for from in [0, 49, 50, 51, 149, 150, 199, 200, 229] {
        let located = s.locate(LOG, from, ALL, u32::MAX).await.expect("all offsets are there");
        assert_eq!(located.region.segment, Offset(from / 50 * 50));
        assert_eq!(located.first, Offset(from / 5 * 5));
        assert_eq!(located.next, Offset((from / 50 * 50 + 50).min(230)));
    }
    let names: Vec<String> = fs.list("t-0").await.expect("its folder").into_iter().map(|entry| entry.name).collect();
    for name in ["00000000000000000050.index", "00000000000000000050.timeindex", "00000000000000000050.log", "partition.metadata"] {
        assert!(names.contains(&name.to_owned()), "{name} is missing in {names:?}");
    }
}

async fn a_search_by_time_is_exact<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 200, 4).await;
    s.done(StoreOp::Roll { log: LOG, at: Offset(200) }).await;
    s.fill(LOG, 200, 300, 4).await;
    // A batch from the past does not hide what came before it.
    let late = batch(300, 30, 2, 500, 5);
    s.ask(StoreOp::Append { log: LOG, at: Offset(300), batches: vec![late] }).await.expect("appended");
    for (time, from, until, expected) in [
        (0, 0, 302, Some((0, 1000))),
        (1000, 0, 302, Some((0, 1000))),
        (1001, 0, 302, Some((1, 1001))),
        (1137, 0, 302, Some((137, 1137))),
        (1137, 150, 302, Some((150, 1150))),
        (1137, 0, 137, None),
        (1199, 0, 302, Some((199, 1199))),
        (1200, 0, 302, Some((200, 1200))),
        (1299, 0, 302, Some((299, 1299))),
        (1300, 0, 302, None),
        (400, 300, 302, Some((300, 500))),
    ] {
        let found = s.ask(StoreOp::FindTime { log: LOG, time: Timestamp(time), from: Offset(from), until: Offset(until) }).await;
        let expected = expected.map(|(offset, time): (i64, i64)| {
            let epoch = LeaderEpoch(i32::try_from(offset / 4 * 4 / 10).expect("small"));
            FoundTime { offset: Offset(offset), time: Timestamp(time), epoch }
        });
        assert_eq!(found, Ok(Stored::Found(expected)), "time {time} from {from} until {until}");
    }
}

async fn small_files_are_replaced<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    for bytes in ["one", "a longer one", ""] {
        for name in ["t-0/quorum-state", "top"] {
            s.done(StoreOp::Save { dir: DIR, name: name.into(), bytes: bytes.into() }).await;
        }
        let Subject { store, .. } = s;
        drop(store);
        let (next, found) = Subject::again(fs).await;
        s = next;
        assert_eq!(
            found.saved.iter().map(|(name, bytes)| (&**name, &**bytes)).collect::<Vec<_>>(),
            [("t-0/quorum-state", bytes.as_bytes()), ("top", bytes.as_bytes())]
        );
    }
    s.done(StoreOp::Save { dir: DIR, name: "t-0/parts".into(), bytes: "0123456789".into() }).await;
    for (from, max_bytes, expected) in [(0, 4, "0123"), (8, 4, "89"), (10, 4, ""), (99, 4, ""), (3, 0, "")] {
        let read = s.ask(StoreOp::Read { dir: DIR, name: "t-0/parts".into(), from, max_bytes }).await;
        assert_eq!(read, Ok(Stored::Read { size: 10, bytes: expected.into() }), "from {from}");
    }
    let nothing = StoreOp::Read { dir: DIR, name: "t-0/nothing".into(), from: 0, max_bytes: 1 };
    assert_eq!(s.ask(nothing).await, Err(StoreFault::Gone));
    s.done(StoreOp::Remove { dir: DIR, name: "top".into() }).await;
    s.done(StoreOp::Remove { dir: DIR, name: "top".into() }).await;
    let gone = s.ask(StoreOp::Save { dir: DIR, name: "nowhere-0/x".into(), bytes: Bytes::new() }).await;
    assert_eq!(gone, Err(StoreFault::Gone));
    let elsewhere = s.ask(StoreOp::Space { dir: DirId(9) }).await;
    assert!(matches!(elsewhere, Err(StoreFault::Offline { dir: DirId(9), .. })));
}

async fn deleted_logs_free_their_name<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 20, 2).await;
    let located = s.locate(LOG, 0, ALL, 100).await.expect("there");
    let again = LogId(79);
    let ops = [
        StoreOp::Save { dir: DIR, name: "t-0/x".into(), bytes: Bytes::from_static(b"old") },
        StoreOp::Delete { log: LOG },
        StoreOp::Append { log: LOG, at: Offset(20), batches: vec![at_offset(20, 2)] },
        StoreOp::Create { log: again, dir: DIR, name: "t-0".into(), topic: Uuid([1; 16]) },
        StoreOp::Append { log: again, at: Offset(0), batches: vec![at_offset(0, 7)] },
        StoreOp::Sync { log: again },
    ];
    let tickets: Vec<Ticket> = ops.into_iter().map(|op| s.issue(op)).collect();
    for _ in &tickets {
        let (ticket, outcome) = s.store.done().await;
        assert_eq!(outcome.is_ok(), ticket != tickets[2], "{ticket}: {outcome:?}");
    }
    assert!(!s.bases(&located).await.is_empty(), "what was located stays readable for a while");
    assert_eq!(s.ask(StoreOp::Delete { log: LOG }).await, Err(StoreFault::Gone));
    drop(s);
    let (_, found) = Subject::again(fs).await;
    assert_eq!(found.logs.len(), 1);
    assert_eq!(found.logs[0].topic, Uuid([1; 16]));
    assert_eq!(found.logs[0].state.as_ref().expect("whole").end, Offset(7));
    assert!(found.saved.is_empty(), "{:?}", found.saved);
}

async fn discarded_segments_stay_readable_for_a_while<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    for segment in 0..3 {
        s.fill(LOG, segment * 10, segment * 10 + 10, 2).await;
        s.done(StoreOp::Roll { log: LOG, at: Offset(segment * 10 + 10) }).await;
    }
    let located = s.locate(LOG, 0, ALL, u32::MAX).await.expect("there");
    s.done(StoreOp::Discard { log: LOG, start: Offset(9), below: Offset(9) }).await;
    assert_eq!(s.start_of(LOG).await, 0, "a segment goes when all of it lies below");
    s.done(StoreOp::Discard { log: LOG, start: Offset(25), below: Offset(25) }).await;
    assert_eq!(s.bases(&located).await, [0, 2, 4, 6, 8]);
    assert_eq!(s.start_of(LOG).await, 20);
    s.done(StoreOp::Discard { log: LOG, start: Offset(30), below: Offset(30) }).await;
    assert_eq!(s.locate(LOG, 30, ALL, 1).await, None, "the active segment stays");
    s.fill(LOG, 30, 32, 2).await;
    assert_eq!(s.end_by_load(LOG).await, 32);
}

/// Only the core knows whether the producers of what lies below a log's start are saved.
async fn segments_below_the_start_stay_until_they_are_discarded<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 10, 5).await;
    s.done(StoreOp::Roll { log: LOG, at: Offset(10) }).await;
    s.fill(LOG, 10, 20, 5).await;
    s.sync(LOG).await;
    for at in [5, 10, 20] {
        let name = format!("t-0/{at:020}.snapshot");
        s.done(StoreOp::Save { dir: DIR, name, bytes: Producers::default().encode() }).await;
    }
    let starts = checkpoint::encode(&BTreeMap::from([("t-0".to_owned(), Offset(15))]));
    s.done(StoreOp::Save { dir: DIR, name: STARTS_FILE.to_owned(), bytes: starts.into() }).await;
    drop(s);
    let (mut s, found) = Subject::again(fs).await;
    let (log, state) = (found.logs[0].log, found.logs[0].state.as_ref().expect("whole"));
    assert_eq!((state.start, state.end, state.segments.len()), (Offset(15), Offset(20), 2));
    s.done(StoreOp::Discard { log, start: Offset(17), below: Offset(10) }).await;
    assert_eq!(s.reopened(StoreOp::Reopen { log }).await.start, Offset(17));
    let mut names: Vec<String> = fs.list("t-0").await.expect("its folder").into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.starts_with("0"));
    names.sort_unstable();
    let left = ["10.index", "10.log", "10.snapshot", "10.timeindex", "20.snapshot"].map(|end| "0".repeat(18) + end);
    assert_eq!(names, left);
}

/// No checksum covers the base offset of a batch.
async fn a_batch_astray_is_not_taken_for_the_next<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 10, 2).await;
    drop(s);
    let file = fs.open("t-0/00000000000000000000.log", Open::Existing).await.expect("its segment");
    let size = file.size().await.expect("known");
    // A fifth of it each; the offset's third byte from the end.
    file.write_at(size / 5 * 4 + 5, &[Bytes::from_static(&[1])]).await.expect("written");
    let (mut s, found) = Subject::again(fs).await;
    assert_eq!(found.logs[0].state.as_ref().expect("a tail that is cut").end, Offset(8));
    assert_eq!(s.end_by_load(found.logs[0].log).await, 8);
}

/// What names more than there is would else count as not yet there, and what names less would be passed over.
async fn a_batch_that_does_not_fit_is_damage<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 30, 3).await;
    s.done(StoreOp::Roll { log: LOG, at: Offset(30) }).await;
    s.fill(LOG, 30, 60, 3).await;
    let size = u64::from(at_offset(0, 3).header().bytes);
    for (segment, base) in [(0_i64, 12_i64), (30, 42)] {
        let file = fs.open(&format!("t-0/{segment:020}.log"), Open::Existing).await.expect("its segment");
        let position = size * (base - segment).unsigned_abs() / 3;
        // The first offset, to much more and to less; the distance of the last one.
        for (byte, bit) in [(5, 1), (7, 8), (24, 1)] {
            let there = file.read_at(position + byte, 1).await.expect("readable");
            let rotten = Bytes::from(vec![there[0] ^ bit]);
            file.write_at(position + byte, &[rotten]).await.expect("written");
            for op in [
                StoreOp::Locate { log: LOG, from: Offset(base + 1), until: ALL, max_bytes: 1 },
                StoreOp::Load { log: LOG, from: Offset(base + 1), until: Offset(60), max_bytes: 1 },
            ] {
                let found = s.ask(op).await;
                assert!(matches!(found, Err(StoreFault::Damaged { .. })), "byte {byte} of the batch at {base}: {found:?}");
            }
            file.write_at(position + byte, &[there]).await.expect("written");
        }
    }
    assert_eq!(s.end_by_load(LOG).await, 60);
}

/// Sealed segments are synced beside other work, and no file is kept open here: what is to be synced next may be gone by then.
async fn a_segment_may_go_before_its_sync<F: Fs + Clone>(fs: &F) {
    let mut subject = Subject::first_with(fs, Options { open_files: 0, ..OPTIONS }).await;
    for base in (0..200).step_by(10) {
        subject.fill(LOG, base, base + 10, 5).await;
        subject.done(StoreOp::Roll { log: LOG, at: Offset(base + 10) }).await;
        subject.done(StoreOp::Discard { log: LOG, start: Offset(base + 10), below: Offset(base + 10) }).await;
    }
    assert_eq!(subject.sync(LOG).await, Offset(200));
}

async fn truncation_cuts_to_a_batch<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 100, 4).await;
    s.done(StoreOp::Save { dir: DIR, name: "t-0/00000000000000000100.snapshot".into(), bytes: Producers::default().encode() }).await;
    s.done(StoreOp::Roll { log: LOG, at: Offset(100) }).await;
    s.fill(LOG, 100, 160, 4).await;
    s.sync(LOG).await;
    let same = s.reopened(StoreOp::Truncate { log: LOG, to: Offset(160) }).await;
    assert_eq!(same.end, Offset(160));
    for (to, end, bases) in [(150, 148, vec![0, 100]), (100, 100, vec![0, 100]), (62, 60, vec![0]), (60, 60, vec![0])] {
        let cut = s.reopened(StoreOp::Truncate { log: LOG, to: Offset(to) }).await;
        assert_eq!(cut.end, Offset(end), "to {to}");
        assert_eq!(cut.segments.iter().map(|segment| segment.base.0).collect::<Vec<_>>(), bases, "to {to}");
        assert!(cut.epochs.entries().iter().all(|(_, start)| *start < Offset(end)));
        assert_eq!(s.end_by_load(LOG).await, end);
        let max = cut.segments.iter().map(|segment| segment.max_timestamp).max();
        assert_eq!(max, Some(Timestamp(999 + end)));
        let young = StoreOp::FindTime { log: LOG, time: Timestamp(1000 + end), from: Offset::ZERO, until: ALL };
        assert_eq!(s.ask(young).await, Ok(Stored::Found(None)), "no time of what was cut is found");
    }
    s.fill(LOG, 60, 80, 4).await;
    let young = StoreOp::FindTime { log: LOG, time: Timestamp(1077), from: Offset::ZERO, until: ALL };
    assert!(matches!(s.ask(young).await, Ok(Stored::Found(Some(found))) if found.offset == Offset(77)));
    drop(s);
    let (_, found) = Subject::again(fs).await;
    let state = found.logs[0].state.as_ref().expect("a cut is no damage");
    assert_eq!(state.end, Offset(80));
}

async fn a_restart_drops_everything<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 100, 4).await;
    s.done(StoreOp::Save { dir: DIR, name: "t-0/00000000000000000100.snapshot".into(), bytes: Producers::default().encode() }).await;
    s.done(StoreOp::Save { dir: DIR, name: "t-0/leader-epoch-checkpoint".into(), bytes: "0\n1\n7 0\n".into() }).await;
    s.done(StoreOp::Roll { log: LOG, at: Offset(100) }).await;
    s.fill(LOG, 100, 160, 4).await;
    s.sync(LOG).await;
    let empty = Recovered { start: Offset(500), end: Offset(500), segments: vec![Segment::empty(Offset(500))], ..Recovered::empty() };
    assert_eq!(s.reopened(StoreOp::Restart { log: LOG, at: Offset(500) }).await, empty);
    assert_eq!(s.locate(LOG, 500, ALL, 1).await, None);
    assert_eq!(s.ask(StoreOp::Locate { log: LOG, from: Offset(20), until: ALL, max_bytes: 1 }).await, Err(StoreFault::Gone));
    s.fill(LOG, 500, 520, 4).await;
    s.sync(LOG).await;
    drop(s);
    let (mut s, found) = Subject::again(fs).await;
    let state = found.logs[0].state.as_ref().expect("it is no damage");
    assert_eq!((state.start, state.end), (Offset(500), Offset(520)));
    let log = found.logs[0].log;
    let names: Vec<String> = fs.list("t-0").await.expect("its folder").into_iter().map(|entry| entry.name).collect();
    assert!(!names.iter().any(|name| name.starts_with("000000000000000000") || name.starts_with("00000000000000000100")), "{names:?}");
    // It may also begin where it began, and go on from there.
    assert_eq!(s.reopened(StoreOp::Restart { log, at: Offset(500) }).await, empty);
    s.fill(log, 500, 504, 4).await;
    assert_eq!(s.end_by_load(log).await, 504);
}

async fn a_clean_end_needs_no_scan<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 100, 4).await;
    s.done(StoreOp::Roll { log: LOG, at: Offset(100) }).await;
    s.fill(LOG, 100, 160, 4).await;
    let before = s.reopened(StoreOp::Reopen { log: LOG }).await;
    let closed = s.store.close(Bytes::from_static(b"{\"version\":0}")).await;
    assert_eq!(closed, [(DIR, Ok(()))]);
    // A byte within a record is seen by a scan only.
    let file = fs.open("t-0/00000000000000000100.log", Open::Existing).await.expect("there");
    file.write_at(100, &[Bytes::from_static(b"\xff")]).await.expect("written");
    let (mut s, found) = Subject::again(fs).await;
    assert_eq!(found.clean, Some(Bytes::from_static(b"{\"version\":0}")));
    assert_eq!(found.logs[0].state.as_ref(), Ok(&before), "the same log, clean or scanned");
    let log = found.logs[0].log;
    let read = s.ask(StoreOp::Load { log, from: Offset(100), until: ALL, max_bytes: 1 }).await;
    assert!(matches!(read, Err(StoreFault::Damaged { at: Offset(100), .. })), "{read:?}");
    drop(s);
    let (_, found) = Subject::again(fs).await;
    assert_eq!(found.clean, None, "the mark is good for one start");
    assert!(matches!(found.logs[0].state, Err(StoreFault::Damaged { at: Offset(100), .. })));
}

async fn a_kill_keeps_what_was_written<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 100, 4).await;
    s.done(StoreOp::Roll { log: LOG, at: Offset(100) }).await;
    s.fill(LOG, 100, 160, 4).await;
    s.sync(LOG).await;
    drop(s);
    let (mut s, found) = Subject::again(fs).await;
    assert_eq!(found.clean, None);
    let state = found.logs[0].state.as_ref().expect("whole");
    assert_eq!((state.start, state.end), (Offset(0), Offset(160)));
    assert_eq!(state.segments[1].first_timestamp, Timestamp(1103));
    assert_eq!((state.segments[0].max_timestamp, state.segments[0].max_timestamp_offset), (Timestamp(1099), Offset(99)));
    assert_eq!(found.logs[0].topic, TOPIC);
    let log = found.logs[0].log;
    assert_eq!(s.end_by_load(log).await, 160);
    s.fill(log, 160, 164, 4).await;
    assert_eq!(s.sync(log).await, Offset(164));
}

async fn a_torn_tail_is_cut<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 40, 4).await;
    s.sync(LOG).await;
    let synced = fs.open("t-0/00000000000000000000.log", Open::Existing).await.expect("there").size().await.expect("known");
    s.fill(LOG, 40, 48, 4).await;
    drop(s);
    let whole = fs.open("t-0/00000000000000000000.log", Open::Existing).await.expect("there");
    let end = whole.size().await.expect("known");
    let original = whole.read_at(0, usize::try_from(end).expect("small")).await.expect("readable");
    // Cut within the last batch, with garbage, with zeros; a flipped bit in the batch before the last one.
    let torn: [(u64, Vec<u8>, i64); 4] = [
        (end - 1, vec![], 44),
        (end - 30, vec![0xAA; 500], 44),
        (end, vec![0; 4096], 48),
        (synced + 70, original[usize::try_from(synced).expect("small") + 70..].iter().map(|byte| byte ^ 4).collect(), 40),
    ];
    for (at, bytes, expected) in torn {
        whole.set_len(0).await.expect("cut");
        whole.write_at(0, std::slice::from_ref(&original)).await.expect("written");
        whole.set_len(at).await.expect("cut");
        whole.write_at(at, &[bytes.into()]).await.expect("written");
        // The recovery before this one moved the point up to its own end.
        fs.remove_file("recovery-point-offset-checkpoint").await.ok();
        let (mut s, found) = Subject::again(fs).await;
        assert_eq!(found.logs[0].state.as_ref().expect("a torn tail is no damage").end, Offset(expected));
        let log = found.logs[0].log;
        assert_eq!(s.end_by_load(log).await, expected);
        s.fill(log, expected, expected + 4, 4).await;
        assert_eq!(s.end_by_load(log).await, expected + 4);
    }
}

async fn damage_below_the_recovery_point_is_not_cut<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 40, 4).await;
    s.done(StoreOp::Create { log: LogId(78), dir: DIR, name: "u-0".into(), topic: TOPIC }).await;
    s.fill(LogId(78), 0, 8, 4).await;
    drop(s);
    // This recovery syncs the logs and so moves their recovery points to their ends.
    drop(Subject::again(fs).await);
    let file = fs.open("t-0/00000000000000000000.log", Open::Existing).await.expect("there");
    let size = file.size().await.expect("known");
    let position = u64::from(at_offset(0, 4).header().bytes) * 3 + 80;
    file.write_at(position, &[Bytes::from_static(b"!")]).await.expect("written");
    for _ in 0..2 {
        let (mut s, found) = Subject::again(fs).await;
        assert!(matches!(&found.logs[0].state, Err(StoreFault::Damaged { at: Offset(12), .. })), "{:?}", found.logs[0].state);
        assert_eq!(found.logs[1].state.as_ref().expect("the other log is whole").end, Offset(8));
        assert_eq!(file.size().await.expect("known"), size);
        let refused = s.ask(StoreOp::Append { log: found.logs[0].log, at: Offset(40), batches: vec![at_offset(40, 4)] }).await;
        assert!(matches!(refused, Err(StoreFault::Damaged { .. })));
        let closed = s.store.close(Bytes::new()).await;
        assert!(matches!(closed[..], [(DIR, Err(StoreFault::Damaged { .. }))]), "a damaged log is scanned again: {closed:?}");
    }
    // A log that is too short is damaged as well.
    file.set_len(position - 80).await.expect("cut");
    let (_, found) = Subject::again(fs).await;
    assert!(matches!(found.logs[0].state, Err(StoreFault::Damaged { at: Offset(12), .. })));
}

/// A batch of the idempotent producer 5.
fn idempotent(at: i64, sequence: i32) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, None);
    builder.push(Timestamp(1000 + at), &Payload { key: None, value: Some(Bytes::from_static(b"v")), headers: Vec::new() });
    let identity = Producer { id: ProducerId(5), epoch: klamm_core::id::ProducerEpoch(0), sequence: klamm_core::id::Sequence(sequence) };
    builder.finish(identity).stamp(Offset(at), LeaderEpoch(3))
}

async fn derived_state_is_rebuilt<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    let batches: Vec<Batch> = (0..10).map(|at| idempotent(at, i32::try_from(at).expect("small"))).collect();
    let mut half = Producers::default();
    let mut all = Producers::default();
    for (at, batch) in batches.iter().enumerate() {
        all.replay(batch.header());
        if at < 6 {
            half.replay(batch.header());
        }
    }
    s.ask(StoreOp::Append { log: LOG, at: Offset(0), batches: batches[..6].to_vec() }).await.expect("appended");
    s.done(StoreOp::Save { dir: DIR, name: "t-0/00000000000000000006.snapshot".into(), bytes: half.encode() }).await;
    s.done(StoreOp::Roll { log: LOG, at: Offset(6) }).await;
    s.ask(StoreOp::Append { log: LOG, at: Offset(6), batches: batches[6..].to_vec() }).await.expect("appended");
    s.sync(LOG).await;
    drop(s);
    for harm in ["none", "stale snapshot", "bad snapshot", "no snapshot", "bad epochs"] {
        match harm {
            "stale snapshot" => {
                let file = fs.open("t-0/00000000000000000011.snapshot", Open::Empty).await.expect("made");
                file.write_at(0, &[Producers::default().encode()]).await.expect("written");
            }
            "bad snapshot" => {
                let file = fs.open("t-0/00000000000000000006.snapshot", Open::Existing).await.expect("there");
                file.write_at(8, &[Bytes::from_static(b"?")]).await.expect("written");
            }
            "no snapshot" => assert!(fs.open("t-0/00000000000000000006.snapshot", Open::Existing).await.is_err(), "a bad one is removed"),
            "bad epochs" => {
                let file = fs.open("t-0/leader-epoch-checkpoint", Open::Existing).await.expect("recovery wrote it");
                file.write_at(0, &[Bytes::from_static(b"?")]).await.expect("written");
            }
            _ => {}
        }
        let (s, found) = Subject::again(fs).await;
        let state = found.logs[0].state.as_ref().expect("whole");
        assert_eq!(state.producers, all, "{harm}");
        assert_eq!(state.snapshot, matches!(harm, "none" | "stale snapshot").then_some(Offset(6)), "{harm}");
        assert_eq!(state.epochs.entries(), [(LeaderEpoch(3), Offset(0))], "{harm}");
        assert!(fs.open("t-0/00000000000000000011.snapshot", Open::Existing).await.is_err(), "a snapshot beyond the end is removed");
        s.store.close(Bytes::new()).await;
        let (_, found) = Subject::again(fs).await;
        assert_eq!(found.logs[0].state.as_ref().expect("whole").producers, all, "{harm}, clean");
    }
}

async fn indexes_are_rebuilt<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    for segment in 0..2 {
        s.fill(LOG, segment * 100, segment * 100 + 100, 4).await;
        s.done(StoreOp::Roll { log: LOG, at: Offset(segment * 100 + 100) }).await;
    }
    s.fill(LOG, 200, 300, 4).await;
    let before = s.reopened(StoreOp::Reopen { log: LOG }).await;
    s.store.close(Bytes::new()).await;
    for base in [0, 100, 200] {
        for (suffix, len) in [("index", 7), ("timeindex", 0), ("index", 0), ("timeindex", 13)] {
            let file = fs.open(&format!("t-0/{base:020}.{suffix}"), Open::Existing).await.expect("there");
            file.set_len(len).await.expect("cut");
            let (mut s, found) = Subject::again(fs).await;
            assert!(found.clean.is_some());
            assert_eq!(found.logs[0].state.as_ref(), Ok(&before), "{base} {suffix} {len}");
            let log = found.logs[0].log;
            for from in [base, base + 50, base + 99] {
                let located = s.locate(log, from, ALL, 1).await.expect("there");
                assert_eq!(located.first, Offset(from / 4 * 4));
            }
            s.store.close(Bytes::new()).await;
        }
    }
}

async fn leftovers_are_removed<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 8, 4).await;
    drop(s);
    fs.create_dir("u-0.00-delete").await.expect("made");
    for path in [
        "u-0.00-delete/00000000000000000000.log",
        "t-0/x.tmp",
        "top.tmp",
        "t-0/00000000000000000009.index",
        "t-0/00000000000000000000.log.deleted",
    ] {
        fs.open(path, Open::New).await.expect("made");
    }
    let (_, found) = Subject::again(fs).await;
    assert_eq!(found.logs.len(), 1);
    let root: Vec<String> = fs.list("").await.expect("the root").into_iter().map(|entry| entry.name).collect();
    assert_eq!(root, [".lock", "meta.properties", "recovery-point-offset-checkpoint", "t-0"]);
    let log: Vec<String> = fs.list("t-0").await.expect("its folder").into_iter().map(|entry| entry.name).collect();
    assert!(
        log.iter().all(|name| !name.ends_with(".tmp") && !name.ends_with(".deleted") && !name.starts_with("00000000000000000009")),
        "{log:?}"
    );
}

async fn a_directory_is_checked<F: Fs + Clone>(fs: &F) {
    let identity = owner(1);
    let Opened { dirs, .. } = open(vec![(DIR, fs.clone())], &identity, OPTIONS).await;
    assert_eq!(dirs[0].1, Err(super::OpenError::Unformatted));
    let s = Subject::first(fs).await;
    let Opened { dirs, .. } = open(vec![(DIR, fs.clone())], &identity, OPTIONS).await;
    assert_eq!(dirs[0].1, Err(super::OpenError::Locked));
    drop(s);
    let Opened { mut store, dirs } = open(vec![(DIR, fs.clone())], &owner(2), OPTIONS).await;
    assert!(matches!(dirs[0].1, Err(super::OpenError::Foreign(_))));
    store.submit(Ticket(1), StoreOp::Space { dir: DIR });
    assert!(matches!(store.done().await, (Ticket(1), Err(StoreFault::Offline { .. }))));
}
