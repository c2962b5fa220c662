//! The records of the metadata log in batches: which version of each is written, and how a batch is read.
//!
//! The tables and their frames are the wire's. What a record means is decided by the image.

use crate::id::Offset;
use crate::time::Timestamp;
use crate::wire::batch::{Batch, Compression};
use crate::wire::record::{BatchBuilder, Identity, Payload, Records};
pub use crate::wire::records::metadata::MetadataRecord as Record;

/// The most that the records of one batch of the metadata log may take unpacked.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// The version in which metadata level 4.3-IV0 writes a record: the lowest that says all it holds.
fn version(record: &Record) -> i16 {
    match record {
        Record::RegisterBroker(_) => 3,
        Record::BrokerRegistrationChange(_) => 2,
        Record::Partition(p) => elr_version(p.eligible_leader_replicas.is_some() || p.last_known_elr.is_some()),
        Record::PartitionChange(p) => elr_version(p.eligible_leader_replicas.is_some() || p.last_known_elr.is_some()),
        Record::UnregisterBroker(_)
        | Record::Topic(_)
        | Record::Config(_)
        | Record::FenceBroker(_)
        | Record::UnfenceBroker(_)
        | Record::RemoveTopic(_)
        | Record::FeatureLevel(_)
        | Record::ProducerIds(_)
        | Record::NoOp(_)
        | Record::BeginTransaction(_)
        | Record::EndTransaction(_)
        | Record::AbortTransaction(_)
        | Record::RegisterController(_)
        | Record::ClearElr(_) => 0,
    }
}

/// Version 2 is for partitions with an ELR (KIP-966); version 1 says the same of the others.
fn elr_version(has_elr: bool) -> i16 {
    if has_elr { 2 } else { 1 }
}

/// One batch of `records`: they count together or not at all.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn batch(records: &[Record], at: Timestamp) -> Batch {
    assert!(!records.is_empty(), "a batch has records");
    let mut builder = BatchBuilder::new(Compression::None, None);
    for record in records {
        builder.push(at, &Payload { key: None, value: Some(record.encode(version(record))), headers: Vec::new() });
    }
    builder.finish(Identity::NONE)
}

/// The records of a batch of the metadata log and where they stand. A control batch holds none for us.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn read(batch: &Batch) -> Result<Vec<(Offset, Record)>, String> {
    if batch.header().is_control() {
        return Ok(Vec::new());
    }
    let base = batch.header().base_offset;
    let records = Records::of(batch, BATCH_BYTES_MAX).map_err(|bad| format!("the batch at offset {base}: {bad:?}"))?;
    let mut all = Vec::new();
    for record in records {
        let record = record.map_err(|bad| format!("the batch at offset {base}: {bad:?}"))?;
        let value = record.payload.value.ok_or_else(|| format!("the record at offset {} has no value", record.offset))?;
        let decoded = Record::decode(value).map_err(|why| format!("the record at offset {}: {why}", record.offset))?;
        all.push((record.offset, decoded));
    }
    Ok(all)
}
