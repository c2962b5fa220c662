//! Control records of the metadata log and of its snapshots: which table stands in a record, by its key. And the snapshot that a format writes.
//!
//! Source: Kafka's `ControlRecordType`, `ControlRecordUtils`, `RecordsSnapshotWriter` and `Formatter`. Transaction markers are not here.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::raft::{KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord, VotersRecordVoter};
use crate::id::{LeaderEpoch, Offset};
use crate::time::Timestamp;
use crate::wire::batch::{BadBatch, Batch, Compression};
use crate::wire::message::{decode_body, encode_body};
use crate::wire::primitive::{Malformed, Shape};
use crate::wire::record::{BadRecords, BatchBuilder, Payload, Records};

/// All of these tables are flexible. `LeaderChangeMessage` alone has a version 1, which its first field says.
const fn shape(version: i16) -> Shape {
    Shape { version, flexible: true }
}

/// A batch of control records holds few; more bytes than this are none of them.
const BATCH_BYTES_MAX: usize = 16 << 20;

macro_rules! control_records {
    ($($kind:literal $name:ident($body:ident) ..= $latest:literal;)*) => {
        /// One control record of the metadata log.
        // Each is explained at its table.
        #[allow(missing_docs)]
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum ControlRecord {
            $($name($body),)*
        }

        impl ControlRecord {
            /// Reads a record's key and value. `None` is a kind that this version does not know.
            ///
            /// # Errors
            /// The key or the value is cut short.
            pub fn decode(key: &[u8], value: Bytes) -> Result<Option<Self>, Malformed> {
                let Some(([0, 0], kind)) = key.split_first_chunk().and_then(|(version, rest)| Some((*version, rest.first_chunk()?))) else {
                    return Err(Malformed { why: "a control record's key has no version 0 and kind", at: 0 });
                };
                match i16::from_be_bytes(*kind) {
                    $($kind => {
                        let version = version(&value)?.min($latest);
                        decode_body(value, shape(version)).map(|body| Some(Self::$name(body)))
                    })*
                    _ => Ok(None),
                }
            }

            fn encode(&self) -> (i16, Bytes) {
                match self {
                    $(Self::$name(body) => ($kind, encode_body(body, shape(body.version))),)*
                }
            }
        }
    };
}

control_records! {
    2 LeaderChange(LeaderChangeMessage) ..= 1;
    3 SnapshotHeader(SnapshotHeaderRecord) ..= 0;
    4 SnapshotFooter(SnapshotFooterRecord) ..= 0;
    5 KRaftVersion(KRaftVersionRecord) ..= 0;
    6 KRaftVoters(VotersRecord) ..= 0;
}

/// The first field of every control record's value.
fn version(value: &Bytes) -> Result<i16, Malformed> {
    let first = value.first_chunk().ok_or(Malformed { why: "a control record's value has no version", at: 0 })?;
    Ok(i16::from_be_bytes(*first))
}

impl ControlRecord {
    /// Its key and value.
    #[must_use]
    pub fn payload(&self) -> Payload {
        let (kind, value) = self.encode();
        let mut key = BytesMut::with_capacity(4);
        key.put_i16(0);
        key.put_i16(kind);
        Payload { key: Some(key.freeze()), value: Some(value), headers: Vec::new() }
    }

    /// One batch of control records.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn batch(records: &[Self], at: Offset, epoch: LeaderEpoch, time: Timestamp) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None, None);
        records.iter().for_each(|record| builder.push(time, &record.payload()));
        builder.finish_control().stamp(at, epoch)
    }

    /// The records of a batch of control records, of the kinds that this version knows.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn all(batch: &Batch) -> Result<Vec<Self>, BadControl> {
        let mut known = Vec::new();
        for record in Records::of(batch, BATCH_BYTES_MAX).map_err(BadControl::Records)? {
            let Payload { key, value, .. } = record.map_err(BadControl::Records)?.payload;
            known.extend(Self::decode(&key.unwrap_or_default(), value.unwrap_or_default()).map_err(BadControl::Record)?);
        }
        Ok(known)
    }
}

/// Why bytes are not control records, or not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadControl {
    /// A batch is damaged.
    Batch(BadBatch),
    /// A batch's records are.
    Records(BadRecords),
    /// A record's key or value is.
    Record(Malformed),
    /// A snapshot without its footer: the rest of it is missing.
    NoFooter,
}

/// The file that a format puts into the folder of the metadata log: the snapshot up to offset 0 in epoch 0.
pub const FIRST_CHECKPOINT: &str = "00000000000000000000-0000000000.checkpoint";

/// What `FIRST_CHECKPOINT` holds: the first voters, and the feature level at which they can change (KIP-853).
#[must_use]
pub fn first_checkpoint(voters: Vec<VotersRecordVoter>, time: Timestamp) -> Bytes {
    checkpoint(&QuorumOf { version: 1, voters }, LeaderEpoch(0), time, [])
}

/// A snapshot's bytes: what it says of the quorum, then `contents`, each batch behind the one before. `time` is that of the last record it holds.
#[must_use]
pub fn checkpoint(quorum: &QuorumOf, epoch: LeaderEpoch, time: Timestamp, contents: impl IntoIterator<Item = Batch>) -> Bytes {
    let mut start = vec![ControlRecord::SnapshotHeader(SnapshotHeaderRecord { version: 0, last_contained_log_timestamp: time })];
    if quorum.version > 0 {
        start.push(ControlRecord::KRaftVersion(KRaftVersionRecord { version: 0, k_raft_version: quorum.version }));
        start.push(ControlRecord::KRaftVoters(VotersRecord { version: 0, voters: quorum.voters.clone() }));
    }
    let end = [ControlRecord::SnapshotFooter(SnapshotFooterRecord { version: 0 })];
    let mut bytes = BytesMut::new();
    let mut at = Offset::ZERO;
    let unplaced = |records: &[ControlRecord]| ControlRecord::batch(records, Offset::ZERO, epoch, time);
    for batch in [unplaced(&start)].into_iter().chain(contents).chain([unplaced(&end)]) {
        let batch = batch.stamp(at, epoch);
        batch.pieces().for_each(|piece| bytes.extend_from_slice(piece));
        at = batch.header().next_offset();
    }
    bytes.freeze()
}

/// What a snapshot says of the quorum itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct QuorumOf {
    /// The quorum's feature level: 0 has voters that are fixed by configuration, 1 has those of the last `VotersRecord`.
    pub version: i16,
    /// The voters; empty if the snapshot names none.
    pub voters: Vec<VotersRecordVoter>,
}

/// Reads what a snapshot says of the quorum; passes over what it says of the cluster, whose checksums are checked all the same.
///
/// # Errors
/// It is damaged or cut short.
pub fn quorum_of(snapshot: &Bytes) -> Result<QuorumOf, BadControl> {
    let mut quorum = QuorumOf::default();
    let mut whole = false;
    for batch in Batch::all(snapshot).map_err(BadControl::Batch)? {
        if !batch.header().is_control() {
            continue;
        }
        for record in ControlRecord::all(&batch)? {
            match record {
                ControlRecord::KRaftVersion(level) => quorum.version = level.k_raft_version,
                ControlRecord::KRaftVoters(record) => quorum.voters = record.voters,
                ControlRecord::SnapshotFooter(_) => whole = true,
                ControlRecord::SnapshotHeader(_) | ControlRecord::LeaderChange(_) => {}
            }
        }
    }
    if whole { Ok(quorum) } else { Err(BadControl::NoFooter) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{BrokerId, Uuid};
    use crate::wire::batch::BatchHeader;
    use crate::wire::records::raft::{Endpoint, KRaftVersionFeature, Voter};

    /// As `kafka-storage format --initial-controllers` of Kafka 4.3 wrote it, for nodes 1 and 2.
    const KAFKAS: &[u8] = include_bytes!("../testdata/kafka-4.3-first.checkpoint");

    fn voter(id: i32, directory: &str, host: &str, port: u16) -> VotersRecordVoter {
        VotersRecordVoter {
            voter_id: BrokerId(id),
            voter_directory_id: Uuid::parse(directory).expect("a directory id"),
            endpoints: vec![Endpoint { name: "CONTROLLER".to_owned(), host: host.to_owned(), port }],
            k_raft_version_feature: KRaftVersionFeature { min_supported_version: 0, max_supported_version: 1 },
        }
    }

    fn voters() -> Vec<VotersRecordVoter> {
        vec![voter(1, "AAAAAAAAAAAAAAAAAAABAA", "127.0.0.1", 29191), voter(2, "AAAAAAAAAAAAAAAAAAACAA", "localhost", 29192)]
    }

    #[test]
    fn kafkas_first_checkpoint_is_read() {
        assert_eq!(quorum_of(&Bytes::from_static(KAFKAS)), Ok(QuorumOf { version: 1, voters: voters() }));
    }

    #[test]
    fn our_first_checkpoint_has_kafkas_records() {
        let (ours, kafkas) = (first_checkpoint(voters(), Timestamp(7)), Bytes::from_static(KAFKAS));
        assert_eq!(quorum_of(&ours), quorum_of(&kafkas));
        let ours = Batch::all(&ours).expect("whole batches");
        let kafkas = Batch::all(&kafkas).expect("whole batches");
        assert_eq!(ours.len(), kafkas.len());
        for (ours, kafkas) in ours.iter().zip(&kafkas) {
            let times = |header: &BatchHeader| BatchHeader { crc: 0, base_timestamp: Timestamp(0), max_timestamp: Timestamp(0), ..*header };
            assert_eq!(times(ours.header()), times(kafkas.header()), "all but the times");
        }
    }

    #[test]
    fn a_checkpoint_that_is_damaged_or_cut_is_refused() {
        let whole = first_checkpoint(voters(), Timestamp(7));
        for cut in 0..whole.len() {
            assert!(quorum_of(&whole.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut damaged = whole.to_vec();
        damaged[100] ^= 1;
        assert!(matches!(quorum_of(&damaged.into()), Err(BadControl::Batch(BadBatch::Crc { .. }))));
    }

    #[test]
    fn a_leader_change_comes_back_and_a_stranger_is_passed_over() {
        let voters = vec![Voter { voter_id: BrokerId(3), voter_directory_id: Uuid([7; 16]) }];
        let change = LeaderChangeMessage { version: 1, leader_id: BrokerId(3), voters: voters.clone(), granting_voters: voters };
        let batch = ControlRecord::batch(&[ControlRecord::LeaderChange(change.clone())], Offset(9), LeaderEpoch(4), Timestamp(1));
        assert!(batch.header().is_control());
        assert_eq!(ControlRecord::all(&batch), Ok(vec![ControlRecord::LeaderChange(change)]));
        assert_eq!(ControlRecord::decode(&[0, 0, 0, 99], Bytes::new()), Ok(None));
        assert!(ControlRecord::decode(&[0, 0, 0], Bytes::new()).is_err());
        assert!(ControlRecord::decode(&[0, 0, 0, 6], Bytes::from_static(&[0, 0, 200])).is_err());
    }
}
