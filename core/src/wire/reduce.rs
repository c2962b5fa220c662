//! A batch of which compaction has taken records away: what is left keeps its offsets and times, and the batch its first and last offset, its producer and
//! its epochs. Source: Kafka's `MemoryRecords.filterTo`, KIP-534.

use super::batch::{self, Batch, BatchHeader};
use super::compress;
use super::record::{Record, put_record};
use crate::time::Timestamp;
use bytes::BytesMut;

/// The batch with the records `kept` only, which are its own, in order. `horizon` says when its tombstones may go, if that was not said before.
/// `keeps_time`: its largest time stays, though the record that has it may go.
#[must_use]
pub fn reduce(batch: &Batch, kept: &[Record], horizon: Option<Timestamp>, keeps_time: bool) -> Batch {
    let mut header = *batch.header();
    if !keeps_time && !header.is_log_append_time() {
        header.max_timestamp = kept.iter().map(|record| record.timestamp).max().unwrap_or(header.max_timestamp);
    }
    if kept.is_empty() {
        return batch::build(header.without_records(), &[]);
    }
    if let Some(horizon) = horizon {
        header = header.with_delete_horizon(horizon);
    }
    header.records = i32::try_from(kept.len()).expect("no more than there were");
    let codec = header.compression().expect("its records were read");
    batch::build(header, &compress::compress(codec, None, &encode(&header, kept).freeze()))
}

fn encode(header: &BatchHeader, records: &[Record]) -> BytesMut {
    let mut plain = BytesMut::new();
    for record in records {
        let offset_delta = i32::try_from(record.offset.since(header.base_offset)).expect("a record of this batch");
        put_record(&mut plain, record.timestamp.0.wrapping_sub(header.base_timestamp.0), offset_delta, &record.payload);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
    use crate::wire::batch::Compression;
    use crate::wire::record::{BatchBuilder, Identity, Payload, Records};

    fn three(codec: Compression) -> Batch {
        let mut builder = BatchBuilder::new(codec, None);
        for (time, key) in [(5, "a"), (9, "b"), (7, "c")] {
            builder.push(Timestamp(time), &Payload { key: Some(key.into()), value: None, headers: Vec::new() });
        }
        let producer = Identity { id: ProducerId(3), epoch: ProducerEpoch(2), sequence: Sequence(10) };
        builder.finish(producer).stamp(Offset(40), LeaderEpoch(6))
    }

    fn records(batch: &Batch) -> Vec<Record> {
        Records::of(batch, 1 << 20).expect("readable").collect::<Result<_, _>>().expect("readable")
    }

    #[test]
    fn what_is_left_keeps_its_place_its_time_and_its_producer() {
        for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let batch = three(codec);
            let kept = [records(&batch)[0].clone(), records(&batch)[2].clone()];
            for horizon in [None, Some(Timestamp(1_000_000))] {
                let left = reduce(&batch, &kept, horizon, false);
                assert_eq!(records(&left), kept);
                let expected = BatchHeader {
                    bytes: left.header().bytes,
                    crc: left.header().crc,
                    attributes: codec.bits() | if horizon.is_some() { 0x40 } else { 0 },
                    base_timestamp: horizon.unwrap_or(Timestamp(5)),
                    max_timestamp: Timestamp(7),
                    records: 2,
                    ..*batch.header()
                };
                assert_eq!(*left.header(), expected);
                assert_eq!(left.header().delete_horizon(), horizon);
                let again = reduce(&left, &kept[1..], None, true);
                assert_eq!((records(&again), again.header().delete_horizon()), (kept[1..].to_vec(), horizon));
                assert_eq!(again.header().max_timestamp, Timestamp(7));
            }
        }
    }

    #[test]
    fn an_empty_batch_still_says_where_it_stood_and_who_wrote_it() {
        let batch = reduce(&three(Compression::Gzip), &[], Some(Timestamp(99)), true);
        let header = batch.header();
        assert_eq!((header.records, header.compression(), header.delete_horizon()), (0, Some(Compression::None), None));
        assert_eq!((header.base_offset, header.next_offset(), header.leader_epoch), (Offset(40), Offset(43), LeaderEpoch(6)));
        assert_eq!((header.producer_id, header.last_sequence(), header.max_timestamp), (ProducerId(3), Sequence(12), Timestamp(9)));
        assert_eq!(records(&batch), []);
    }
}
