//! What the store promises of cleaning and of gaps.

use super::{ALL, DIR, LOG, Subject};
use crate::fs::{File, Fs, Open};
use bytes::Bytes;
use klamm_core::id::{LeaderEpoch, Offset};
use klamm_core::log::clean::Terms;
use klamm_core::store::{Cleaned, Located, StoreFault, StoreOp, Stored};
use klamm_core::time::Timestamp;
use klamm_core::wire::batch::{Batch, Compression};
use klamm_core::wire::record::{BatchBuilder, Identity as Producer, Payload, Records};
use std::collections::BTreeSet;

/// Two records, whose keys are the last digits of their offsets, halved.
fn keyed(base: i64) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, None);
    for at in [base, base + 1] {
        let key = Some(Bytes::from(format!("{}", at % 10 / 2)));
        builder.push(Timestamp(1000 + at), &Payload { key, value: Some(Bytes::from(vec![0; 30])), headers: Vec::new() });
    }
    builder.finish(Producer::NONE).stamp(Offset(base), LeaderEpoch(0))
}

fn clean(dirty: i64, until: i64, segment_bytes: u32) -> StoreOp {
    let terms = Terms { wall: Timestamp(0), delete_retention_ms: 0, producers: BTreeSet::new(), segment_bytes, key_bytes: 1 << 20 };
    StoreOp::Clean { log: LOG, dirty: Offset(dirty), until: Offset(until), terms: Box::new(terms) }
}

impl<F: Fs + Clone> Subject<F> {
    /// Three sealed segments of ten records each, and one of four that is active; all of it durable.
    async fn compactable(fs: &F) -> Self {
        let mut s = Self::first(fs).await;
        for base in (0..34).step_by(2) {
            if base > 0 && base % 10 == 0 {
                s.done(StoreOp::Roll { log: LOG, at: Offset(base) }).await;
            }
            s.ask(StoreOp::Append { log: LOG, at: Offset(base), batches: vec![keyed(base)] }).await.expect("there is room");
        }
        s.sync(LOG).await;
        s
    }

    async fn cleaned(&mut self, op: StoreOp) -> Cleaned {
        match self.ask(op).await {
            Ok(Stored::Cleaned(cleaned)) => *cleaned,
            other => panic!("{other:?}"),
        }
    }

    async fn offsets(&mut self, log: klamm_core::id::LogId) -> Vec<i64> {
        let (mut from, mut offsets) = (Offset::ZERO, Vec::new());
        loop {
            let Ok(Stored::Loaded(batches)) = self.ask(StoreOp::Load { log, from, until: ALL, max_bytes: 200 }).await else {
                panic!("damage")
            };
            let Some(last) = batches.last() else { return offsets };
            from = last.header().next_offset();
            for batch in &batches {
                offsets.extend(Records::of(batch, 1 << 20).expect("readable").map(|record| record.expect("readable").offset.0));
            }
        }
    }
}

async fn bytes_of<F: Fs + Clone>(s: &Subject<F>, located: &Located) -> Bytes {
    let file = s.store.files().resolve(&located.region).await.expect("it is there");
    file.read_at(located.region.position, located.region.len as usize).await.expect("readable")
}

/// What is left: of the sealed segments the last record of each key.
const LEFT: [i64; 9] = [21, 23, 25, 27, 29, 30, 31, 32, 33];

pub(super) async fn the_newest_of_each_key_stays<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::compactable(fs).await;
    let located = s.locate(LOG, 12, ALL, u32::MAX).await.expect("there");
    let before = bytes_of(&s, &located).await;
    let cleaned = s.cleaned(clean(0, 30, 1 << 20)).await;
    assert_eq!((cleaned.dirty, cleaned.until, cleaned.has_gaps, &cleaned.fault), (Offset(30), Offset(30), true, &None));
    assert_eq!(cleaned.segments.iter().map(|segment| segment.base.0).collect::<Vec<_>>(), [0]);
    assert_eq!(bytes_of(&s, &located).await, before, "who fetches what it was told of gets it");
    assert_eq!(s.offsets(LOG).await, LEFT);
    let again = s.locate(LOG, 3, ALL, u32::MAX).await.expect("what follows");
    assert_eq!((again.first, again.next), (Offset(20), Offset(30)));
    assert_eq!(s.bases(&again).await, [20, 22, 24, 26, 28]);
    let found = s.ask(StoreOp::FindTime { log: LOG, time: Timestamp(1022), from: Offset::ZERO, until: ALL }).await;
    assert!(matches!(&found, Ok(Stored::Found(Some(found))) if found.offset == Offset(23)), "{found:?}");
    let same = s.cleaned(clean(30, 30, 1 << 20)).await;
    assert_eq!(same.segments, cleaned.segments, "nothing is dirty");
    drop(s);
    let (mut s, found) = Subject::again(fs).await;
    let (log, state) = (found.logs[0].log, found.logs[0].state.as_ref().expect("whole"));
    assert_eq!((state.end, state.cleaned, state.has_gaps), (Offset(34), Offset(30), true));
    assert_eq!(state.segments[0], cleaned.segments[0]);
    assert!(found.saved.is_empty(), "{:?}", found.saved);
    assert_eq!(s.offsets(log).await, LEFT);
}

pub(super) async fn a_cut_goes_into_what_was_cleaned<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::compactable(fs).await;
    s.cleaned(clean(0, 30, 1)).await;
    assert_eq!(s.offsets(LOG).await, LEFT);
    let cut = s.reopened(StoreOp::Truncate { log: LOG, to: Offset(27) }).await;
    assert_eq!((cut.end, cut.cleaned), (Offset(26), Offset(20)), "what is appended now was not cleaned");
    s.ask(StoreOp::Append { log: LOG, at: Offset(26), batches: vec![keyed(26)] }).await.expect("there is room");
    s.done(StoreOp::Roll { log: LOG, at: Offset(28) }).await;
    s.ask(StoreOp::Append { log: LOG, at: Offset(28), batches: vec![keyed(28)] }).await.expect("there is room");
    drop(s);
    let (mut s, found) = Subject::again(fs).await;
    let (log, state) = (found.logs[0].log, found.logs[0].state.as_ref().expect("whole"));
    assert_eq!(state.segments.iter().map(|segment| segment.base.0).collect::<Vec<_>>(), [0, 10, 20, 28]);
    assert_eq!(s.offsets(log).await, [21, 23, 25, 26, 27, 28, 29]);
    assert_eq!(s.reopened(StoreOp::Truncate { log, to: Offset(15) }).await.end, Offset(10), "nothing is left there");
    assert_eq!(s.reopened(StoreOp::Restart { log, at: Offset(7) }).await.cleaned, Offset::ZERO);
}

pub(super) async fn whoever_cuts_or_deletes_waits_for_no_cleaning<F: Fs + Clone>(fs: &F) {
    for delete in [false, true] {
        let mut s = if delete { Subject::again(fs).await.0 } else { Subject::compactable(fs).await };
        let log = if delete { klamm_core::id::LogId(0) } else { LOG };
        let StoreOp::Clean { terms, .. } = clean(0, 30, 1) else { unreachable!("just made") };
        let cleaning = s.issue(StoreOp::Clean { log, dirty: Offset(0), until: Offset(30), terms });
        let other = s.issue(if delete { StoreOp::Delete { log } } else { StoreOp::Truncate { log, to: Offset(32) } });
        for _ in 0..2 {
            match s.store.done().await {
                (ticket, Ok(Stored::Cleaned(cleaned))) if ticket == cleaning => assert!(cleaned.dirty <= Offset(30)),
                (ticket, Err(StoreFault::Gone)) if ticket == cleaning => {}
                (ticket, Ok(Stored::Reopened(found))) if ticket == other => assert_eq!(found.end, Offset(32)),
                (ticket, Ok(Stored::Done)) if ticket == other => assert!(delete),
                wrong => panic!("{wrong:?}"),
            }
        }
        if !delete {
            assert_eq!(s.offsets(LOG).await.last(), Some(&31));
        }
    }
}

pub(super) async fn gaps_are_damage_unless_they_were_noted<F: Fs + Clone>(fs: &F) {
    let mut s = Subject::first(fs).await;
    s.fill(LOG, 0, 10, 5).await;
    let behind = StoreOp::Append { log: LOG, at: Offset(10), batches: vec![keyed(20), keyed(40)] };
    assert_eq!(s.ask(behind).await, Ok(Stored::Appended { end: Offset(42) }));
    assert_eq!(s.locate(LOG, 10, ALL, 1).await.map(|located| located.first), Some(Offset(20)));
    s.sync(LOG).await;
    drop(s);
    let (s, found) = Subject::again(fs).await;
    let state = found.logs[0].state.as_ref().expect("whole");
    assert_eq!((state.end, state.has_gaps, state.cleaned), (Offset(42), true, Offset::ZERO));
    drop(s);
    let note = fs.open("t-0/compaction-checkpoint", Open::Existing).await.expect("it was made");
    note.write_at(0, &[Bytes::from_static(b"x")]).await.expect("written");
    drop(note);
    let (mut s, found) = Subject::again(fs).await;
    assert!(matches!(&found.logs[0].state, Err(StoreFault::Damaged { .. })), "{found:?}");
    let log = found.logs[0].log;
    assert_eq!(s.reopened(StoreOp::Restart { log, at: Offset(3) }).await.end, Offset(3));
    drop(s);
    fs.remove_file("t-0/compaction-checkpoint").await.expect("it was made");
    let (mut s, found) = Subject::again(fs).await;
    let state = found.logs[0].state.as_ref().expect("it has none");
    assert!(!state.has_gaps);
    assert_eq!(s.ask(StoreOp::Remove { dir: DIR, name: "t-0/x".into() }).await, Ok(Stored::Done));
}
