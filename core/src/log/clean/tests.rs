use super::*;
use crate::config::Properties;
use crate::config::layers::Layers;
use crate::id::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};
use crate::log::segments::Segment;
use crate::wire::batch::Compression;
use crate::wire::record::{BatchBuilder, Identity, Payload};

const RETENTION: i64 = 1000;

/// A batch at `base`: a key and a value each, at the time that its offset says.
fn batch(base: i64, records: &[(&str, Option<&str>)], producer: Identity) -> Batch {
    let mut builder = BatchBuilder::new(Compression::Lz4, None);
    for (at, (key, value)) in (base..).zip(records) {
        let some = |text: &str| Some(bytes::Bytes::copy_from_slice(text.as_bytes()));
        let key = if key.is_empty() { None } else { some(key) };
        builder.push(Timestamp(at), &Payload { key, value: value.and_then(some), headers: Vec::new() });
    }
    builder.finish(producer).stamp(Offset(base), LeaderEpoch(1))
}

fn plain(base: i64, records: &[(&str, Option<&str>)]) -> Batch {
    batch(base, records, Identity::NONE)
}

fn terms(wall: i64, producers: &[i64]) -> Terms {
    let producers = producers.iter().copied().map(ProducerId).collect();
    Terms { wall: Timestamp(wall), delete_retention_ms: RETENTION, producers, segment_bytes: 1 << 20, key_bytes: 1 << 20 }
}

fn newest(batches: &[Batch]) -> Newest {
    let mut newest = Newest::new(1 << 20);
    batches.iter().for_each(|batch| newest.take_in(batch));
    newest
}

/// Offsets and keys of what is left; `None` where the batch goes.
fn left(left: &Left, of: &Batch) -> Option<Vec<(i64, String)>> {
    let batch = match left {
        Left::Nothing => return None,
        Left::Whole => of,
        Left::Some(batch) => batch,
    };
    let text = |record: &Record| String::from_utf8(record.payload.key.clone().unwrap_or_default().to_vec()).expect("text");
    Some(records_of(batch).expect("readable").iter().map(|record| (record.offset.0, text(record))).collect())
}

#[test]
fn the_newest_record_of_each_key_stays_where_it_was() {
    let batches = [
        plain(0, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]),
        plain(3, &[("b", Some("2"))]),
        plain(4, &[("c", Some("1")), ("b", Some("3")), ("", Some("no key"))]),
    ];
    let newest = newest(&batches);
    let of = |at: usize| left(&left_of(&batches[at], &newest, &terms(0, &[])), &batches[at]);
    assert_eq!(of(0), Some(vec![(2, "a".to_owned())]));
    assert_eq!(of(1), None);
    assert_eq!(of(2), Some(vec![(4, "c".to_owned()), (5, "b".to_owned())]));
    let Left::Some(first) = left_of(&batches[0], &newest, &terms(0, &[])) else { panic!("two records went") };
    assert_eq!((first.header().base_offset, first.header().next_offset()), (Offset(0), Offset(3)));
}

#[test]
fn a_tombstone_stays_until_the_horizon_that_the_first_cleaning_sets() {
    let value = plain(0, &[("a", Some("1"))]);
    let tombstone = plain(1, &[("a", None), ("b", Some("1"))]);
    let keys = newest(&[value.clone(), tombstone.clone()]);
    assert_eq!(left_of(&value, &keys, &terms(100, &[])), Left::Nothing);
    let Left::Some(stamped) = left_of(&tombstone, &keys, &terms(100, &[])) else { panic!("it is stamped") };
    assert_eq!(stamped.header().delete_horizon(), Some(Timestamp(100 + RETENTION)));
    assert_eq!(records_of(&stamped), records_of(&tombstone), "and nothing else");
    assert_eq!(left_of(&stamped, &keys, &terms(99 + RETENTION, &[])), Left::Whole, "it is not put off");
    let Left::Some(gone) = left_of(&stamped, &keys, &terms(100 + RETENTION, &[])) else { panic!("its time has come") };
    assert_eq!(left(&Left::Whole, &gone), Some(vec![(2, "b".to_owned())]));
    assert_eq!(gone.header().delete_horizon(), Some(Timestamp(100 + RETENTION)));
}

#[test]
fn a_tombstone_behind_the_keys_that_were_read_does_not_go() {
    let Left::Some(stamped) = left_of(&plain(5, &[("a", None)]), &newest(&[plain(5, &[("a", None)])]), &terms(0, &[])) else {
        panic!("it is stamped");
    };
    let keys = newest(&[plain(0, &[("b", Some("1"))])]);
    assert_eq!(left_of(&stamped, &keys, &terms(i64::MAX, &[])), Left::Whole);
}

#[test]
fn a_producer_is_remembered_by_a_batch_without_records() {
    let producer = |sequence| Identity { id: ProducerId(4), epoch: ProducerEpoch(0), sequence: Sequence(sequence) };
    let old = batch(0, &[("a", Some("1")), ("a", Some("2"))], producer(0));
    let keys = newest(&[old.clone(), plain(2, &[("a", Some("3"))])]);
    assert_eq!(left_of(&old, &keys, &terms(0, &[])), Left::Nothing);
    let Left::Some(empty) = left_of(&old, &keys, &terms(0, &[4])) else { panic!("it stands for its producer") };
    let (was, is) = (old.header(), empty.header());
    assert_eq!((is.records, is.base_offset, is.last_offset(), is.last_sequence()), (0, was.base_offset, Offset(1), Sequence(1)));
    assert_eq!((is.max_timestamp, is.producer_id, is.base_sequence), (was.max_timestamp, was.producer_id, was.base_sequence));
    assert_eq!(left_of(&empty, &keys, &terms(0, &[4])), Left::Whole);
    assert_eq!(left_of(&empty, &keys, &terms(0, &[])), Left::Nothing, "until its producer is forgotten");
    let mut later = newest(std::slice::from_ref(&old));
    for sequence in 2..7 {
        assert_eq!(left_of(&empty, &later, &terms(0, &[4])), Left::Whole);
        later.pass(batch(i64::from(sequence) * 10, &[("b", None)], producer(sequence)).header());
    }
    assert_eq!(left_of(&empty, &later, &terms(0, &[4])), Left::Nothing, "or has gone on");
}

#[test]
fn what_belongs_to_a_transaction_or_cannot_be_read_stays() {
    let old = plain(0, &[("a", Some("1"))]);
    let keys = newest(&[old.clone(), plain(1, &[("a", Some("2"))])]);
    for attributes in [0x10, 0x20, 0x30, 7] {
        let batch = crate::wire::batch::build(BatchHeader { attributes, ..*old.header() }, &old.records());
        assert_eq!(left_of(&batch, &keys, &terms(0, &[])), Left::Whole, "{attributes}");
        let mut others = newest(&[]);
        others.take_in(&batch);
        assert!(!others.has_newer(b"a", Offset(-1)), "{attributes}");
    }
}

#[test]
fn keys_take_memory_once() {
    let mut newest = Newest::new(2 * (KEY_OVERHEAD + 1));
    newest.take_in(&plain(0, &[("a", None), ("a", None), ("a", None)]));
    assert!(newest.has_room());
    newest.take_in(&plain(3, &[("b", None)]));
    assert!(!newest.has_room());
}

/// Segments of 100 bytes that begin every ten offsets, their times being their offsets; the last one is the active one.
fn log(segments: i64) -> Segments {
    let segment = |at: i64| {
        let base = at * 10;
        let (first_timestamp, max_timestamp) = (Timestamp(base), Timestamp(base + 9));
        Segment { base: Offset(base), bytes: 100, first_timestamp, max_timestamp, max_timestamp_offset: Offset(base + 9) }
    };
    Segments::new((0..segments).map(segment).collect())
}

fn config(own: &[(&str, &str)]) -> TopicConfig {
    let none = Properties::new();
    let own = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TopicConfig::new(&own, Layers { broker: &none, cluster: &none, fixed: &none })
}

fn dirt(cleaned: i64, limit: i64, wall: i64, own: &[(&str, &str)]) -> Option<Dirt> {
    Dirt::of(&log(5), Offset(0), Offset(cleaned), Offset(limit), &config(own), Timestamp(wall))
}

#[test]
fn neither_the_active_segment_nor_what_is_not_committed_is_cleaned() {
    let until = |limit| dirt(0, limit, 100, &[]).map(|dirt| dirt.until.0);
    assert_eq!([9, 10, 39, 40, 45, 1000].map(until), [None, Some(10), Some(30), Some(40), Some(40), Some(40)]);
}

#[test]
fn the_last_batch_is_not_cleaned_where_the_active_segment_is_empty() {
    let mut segments = log(3);
    segments.roll(Offset(30));
    let dirt = Dirt::of(&segments, Offset(0), Offset(0), Offset(100), &config(&[]), Timestamp(100));
    assert_eq!(dirt.map(|dirt| dirt.until), Some(Offset(20)));
}

#[test]
fn young_records_are_not_cleaned() {
    let lag = &[("min.compaction.lag.ms", "50")];
    let until = |wall| dirt(0, 1000, wall, lag).map(|dirt| dirt.until.0);
    assert_eq!([58, 59, 68, 69, 1000].map(until), [None, Some(10), Some(10), Some(20), Some(40)]);
    assert_eq!(dirt(20, 1000, 59, lag), None, "what was cleaned before is not younger for that");
}

#[test]
fn the_share_that_is_dirty_decides_unless_something_has_waited_for_long() {
    assert_eq!(dirt(40, 1000, 100, &[]), None);
    let shares = [0, 10, 20, 30].map(|cleaned| dirt(cleaned, 1000, 100, &[]).map(|dirt| dirt.ppm()));
    assert_eq!(shares, [1_000_000, 750_000, 500_000, 250_000].map(Some));
    let is_due = |cleaned, wall, own: &[(&str, &str)]| dirt(cleaned, 1000, wall, own).is_some_and(|dirt| dirt.is_due(&config(own)));
    assert!(is_due(10, 100, &[]) && !is_due(20, 100, &[]), "Kafka wants more than the share");
    assert!(is_due(20, 100, &[("min.cleanable.dirty.ratio", "0.4")]));
    let lag = &[("max.compaction.lag.ms", "70")];
    assert!(!is_due(30, 100, lag) && is_due(30, 101, lag));
}

#[test]
fn what_lies_below_the_start_is_not_dirty() {
    let dirt = Dirt::of(&log(5), Offset(20), Offset(0), Offset(1000), &config(&[]), Timestamp(100)).expect("two segments");
    assert_eq!((dirt.from, dirt.until, dirt.clean_bytes, dirt.dirty_bytes), (Offset(20), Offset(40), 200, 200));
}
