//! What a topic asks of a batch and of the records inside it (Kafka's `LogValidator`). Records are read only where the header does not tell:
//! keys in compacted topics, times where the past is bounded, and another codec. Never touches a log.

use crate::config::TopicConfig;
use crate::config::topic::TimestampType;
use crate::error::ErrorCode;
use crate::id::Offset;
use crate::probe;
use crate::time::Timestamp;
use crate::wire::api::produce::BatchIndexAndErrorMessage;
use crate::wire::batch::{Batch, Compression};
use crate::wire::record::{BadRecords, BatchBuilder, Identity, Record, Records};
use crate::wire::structure::PLAIN_BYTES_MAX;

/// A refusal of one partition's batch.
pub(super) struct Refused {
    pub(super) code: ErrorCode,
    pub(super) why: Option<String>,
    /// The log's start, where the log was asked; else unknown.
    pub(super) start: Offset,
    pub(super) faults: Option<Faults>,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self { code, why: None, start: Offset::UNKNOWN, faults: None }
    }
}

pub(super) fn refused(code: ErrorCode, why: impl Into<String>) -> Refused {
    Refused { why: Some(why.into()), ..code.into() }
}

/// Which records of a batch are wrong, by their place in it, and all for this reason.
pub(super) struct Faults {
    records: Vec<i32>,
    why: &'static str,
}

impl Faults {
    pub(super) fn into_errors(self) -> Vec<BatchIndexAndErrorMessage> {
        let error = |batch_index| BatchIndexAndErrorMessage {
            batch_index,
            batch_index_error_message: Some(self.why.to_owned()),
            ..Default::default()
        };
        self.records.into_iter().map(error).collect()
    }
}

/// Whether a topic takes these records.
pub(super) fn records(batch: &Batch, config: &TopicConfig, wall: Timestamp) -> Result<(), Refused> {
    let header = batch.header();
    if header.is_control() {
        return Err(refused(ErrorCode::INVALID_RECORD, "clients do not write control records"));
    }
    if header.is_idempotent() && (header.base_sequence.0 < 0 || header.producer_epoch.0 < 0) {
        return Err(refused(ErrorCode::INVALID_RECORD, "an idempotent batch needs a sequence and an epoch"));
    }
    if header.base_offset != Offset::ZERO {
        return Err(refused(ErrorCode::INVALID_RECORD, "a producer's batch begins at offset 0"));
    }
    if config.cleanup.compact {
        probe!("keys of a batch for a compacted topic are looked at");
        fault(batch, ErrorCode::INVALID_RECORD, "a record in a compacted topic needs a key", |record| record.payload.key.is_none())?;
    }
    let untimely = |time: Timestamp| {
        let early = wall.0.saturating_sub(time.0) > config.timestamp_before_max_ms;
        let late = time.0.saturating_sub(wall.0) > config.timestamp_after_max_ms;
        time != Timestamp::NONE && (early || late)
    };
    // The header knows the latest time, but not the earliest.
    let look = untimely(header.base_timestamp) || untimely(header.max_timestamp) || config.timestamp_before_max_ms < i64::MAX;
    if config.timestamp_type == TimestampType::Create && look {
        fault(batch, ErrorCode::INVALID_TIMESTAMP, "the time is out of the range that the topic allows", |record| {
            untimely(record.timestamp)
        })?;
    }
    Ok(())
}

fn fault(batch: &Batch, code: ErrorCode, why: &'static str, wrong: impl Fn(&Record) -> bool) -> Result<(), Refused> {
    let mut records = Vec::new();
    for (at, record) in (0..).zip(Records::of(batch, PLAIN_BYTES_MAX).map_err(unreadable)?) {
        if wrong(&record.map_err(unreadable)?) {
            records.push(at);
        }
    }
    if records.is_empty() {
        return Ok(());
    }
    Err(Refused { faults: Some(Faults { records, why }), ..refused(code, format!("records were refused: {why}")) })
}

/// The batch in the codec that the topic asks for; as it is, where it asks for none.
pub(super) fn recompressed(batch: Batch, config: &TopicConfig) -> Result<Batch, Refused> {
    let header = *batch.header();
    let Some(codec) = config.compression.filter(|codec| Some(*codec) != header.compression()) else { return Ok(batch) };
    probe!("a batch is compressed anew");
    let level = match codec {
        Compression::Gzip => Some(config.gzip_level),
        Compression::Lz4 => Some(config.lz4_level),
        Compression::Zstd => Some(config.zstd_level),
        Compression::None | Compression::Snappy => None,
    };
    let mut builder = BatchBuilder::new(codec, level);
    for record in Records::of(&batch, PLAIN_BYTES_MAX).map_err(unreadable)? {
        let record = record.map_err(unreadable)?;
        builder.push(record.timestamp, &record.payload);
    }
    Ok(builder.finish(Identity { id: header.producer_id, epoch: header.producer_epoch, sequence: header.base_sequence }))
}

fn unreadable(bad: BadRecords) -> Refused {
    let why = match bad {
        BadRecords::Codec => "an unknown compression codec",
        BadRecords::Compression(_) => "the records cannot be decompressed",
        BadRecords::Malformed => "the records cannot be read",
    };
    refused(ErrorCode::INVALID_RECORD, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Properties;
    use crate::config::layers::Layers;
    use crate::wire::record::Payload;
    use bytes::Bytes;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn config(own: &[(&'static str, &str)]) -> TopicConfig {
        let own: Properties = own.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let none = Properties::new();
        TopicConfig::new(&own, Layers { broker: &none, cluster: &none, fixed: &none })
    }

    fn batch(codec: Compression, records: &[(i64, Option<&'static str>)]) -> Batch {
        let mut builder = BatchBuilder::new(codec, None);
        for (later, key) in records {
            let key = key.map(|key| Bytes::from_static(key.as_bytes()));
            builder.push(Timestamp(NOW.0 + later), &Payload { key, value: Some(Bytes::from_static(b"v")), headers: Vec::new() });
        }
        builder.finish(Identity::NONE)
    }

    fn refusal(batch: &Batch, config: &TopicConfig) -> (ErrorCode, Vec<i32>) {
        let refused = records(batch, config, NOW).expect_err("it is wrong");
        (refused.code, refused.faults.map(|f| f.records).unwrap_or_default())
    }

    #[test]
    fn a_compacted_topic_names_the_records_without_keys() {
        let keyless = batch(Compression::Lz4, &[(0, Some("k")), (0, None), (0, Some("l")), (0, None)]);
        assert!(records(&keyless, &config(&[]), NOW).is_ok());
        assert_eq!(refusal(&keyless, &config(&[("cleanup.policy", "compact")])), (ErrorCode::INVALID_RECORD, vec![1, 3]));
        let keyed = batch(Compression::None, &[(0, Some("k"))]);
        assert!(records(&keyed, &config(&[("cleanup.policy", "compact,delete")]), NOW).is_ok());
    }

    #[test]
    fn times_outside_the_range_are_named_also_in_the_middle() {
        let late = batch(Compression::None, &[(0, None), (3_600_001, None)]);
        assert_eq!(refusal(&late, &config(&[])), (ErrorCode::INVALID_TIMESTAMP, vec![1]));
        assert!(records(&late, &config(&[("message.timestamp.type", "LogAppendTime")]), NOW).is_ok());
        let early = batch(Compression::Gzip, &[(0, None), (-2000, None), (0, None)]);
        assert!(records(&early, &config(&[]), NOW).is_ok());
        assert_eq!(refusal(&early, &config(&[("message.timestamp.before.max.ms", "1000")])), (ErrorCode::INVALID_TIMESTAMP, vec![1]));
    }

    #[test]
    fn a_topic_gets_the_codec_it_asks_for() {
        let sent = batch(Compression::Gzip, &[(0, Some("k")), (5, None)]);
        for (asked, codec) in [("uncompressed", Compression::None), ("snappy", Compression::Snappy), ("zstd", Compression::Zstd)] {
            let stored = recompressed(sent.clone(), &config(&[("compression.type", asked)])).unwrap_or_else(|r| panic!("{:?}", r.code));
            assert_eq!(stored.header().compression(), Some(codec));
            let read = |batch: &Batch| Records::of(batch, 1000).expect("a codec").collect::<Result<Vec<_>, _>>().expect("records");
            assert_eq!(read(&stored), read(&sent));
            assert_eq!(stored.header().max_timestamp, sent.header().max_timestamp);
        }
        assert_eq!(recompressed(sent.clone(), &config(&[])).map_err(|r| r.code), Ok(sent.clone()));
        assert_eq!(recompressed(sent.clone(), &config(&[("compression.type", "gzip")])).map_err(|r| r.code), Ok(sent));
    }
}
