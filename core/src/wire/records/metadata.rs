//! Records of the metadata log (KIP-631).

use bytes::Bytes;

use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, ProducerId, Uuid};
use crate::wire::frame::Writer;
use crate::wire::macros::message;
use crate::wire::primitive::{Malformed, Reader, Shape};
use crate::wire::value::Wire;

/// Every record has tagged fields.
const fn shape(version: i16) -> Shape {
    Shape { version, flexible: true }
}

/// The version of the frame around each record (Kafka's `AbstractApiMessageSerde`).
const FRAME_VERSION: u32 = 1;

macro_rules! metadata_records {
    ($($kind:literal $name:ident($body:ident) ..= $latest:literal;)*) => {
        /// One record of the metadata log.
        // Each is explained at its table.
        #[allow(missing_docs)]
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum MetadataRecord {
            $($name($body),)*
        }

        impl MetadataRecord {
            /// The newest version of this kind of record. Which to write is the metadata version's decision.
            #[must_use]
            pub fn latest_version(&self) -> i16 {
                match self {
                    $(Self::$name(_) => $latest,)*
                }
            }

            fn kind(&self) -> u32 {
                match self {
                    $(Self::$name(_) => $kind,)*
                }
            }

            fn write(&self, w: &mut Writer) {
                match self {
                    $(Self::$name(body) => body.write(w),)*
                }
            }

            /// Reads a record's value.
            pub fn decode(value: Bytes) -> Result<Self, Malformed> {
                let mut r = Reader::new(value, shape(0));
                if r.varint()? != FRAME_VERSION {
                    return Err(r.malformed("a metadata record's frame has an unknown version"));
                }
                let kind = r.varint()?;
                let version = r.varint()?;
                let latest = match kind {
                    $($kind => $latest,)*
                    _ => return Err(r.malformed("a metadata record of an unknown kind")),
                };
                let Some(version) = i16::try_from(version).ok().filter(|v| *v <= latest) else {
                    return Err(r.malformed("a metadata record has an unknown version"));
                };
                r.set_shape(shape(version));
                match kind {
                    $($kind => Wire::read(&mut r).map(Self::$name),)*
                    _ => Err(r.malformed("a metadata record of an unknown kind")),
                }
            }
        }
    };
}

metadata_records! {
    0 RegisterBroker(RegisterBrokerRecord) ..=4;
    1 UnregisterBroker(UnregisterBrokerRecord) ..=0;
    2 Topic(TopicRecord) ..=0;
    3 Partition(PartitionRecord) ..=2;
    4 Config(ConfigRecord) ..=0;
    5 PartitionChange(PartitionChangeRecord) ..=2;
    7 FenceBroker(FenceBrokerRecord) ..=0;
    8 UnfenceBroker(UnfenceBrokerRecord) ..=0;
    9 RemoveTopic(RemoveTopicRecord) ..=0;
    12 FeatureLevel(FeatureLevelRecord) ..=0;
    15 ProducerIds(ProducerIdsRecord) ..=0;
    17 BrokerRegistrationChange(BrokerRegistrationChangeRecord) ..=3;
    20 NoOp(NoOpRecord) ..=0;
    23 BeginTransaction(BeginTransactionRecord) ..=0;
    24 EndTransaction(EndTransactionRecord) ..=0;
    25 AbortTransaction(AbortTransactionRecord) ..=0;
    27 RegisterController(RegisterControllerRecord) ..=0;
    28 ClearElr(ClearElrRecord) ..=0;
}

impl MetadataRecord {
    /// Writes a record's value.
    ///
    /// # Panics
    /// If the kind has no such version.
    #[must_use]
    pub fn encode(&self, version: i16) -> Bytes {
        assert!((0..=self.latest_version()).contains(&version), "{self:?} has no version {version}");
        let mut w = Writer::new(shape(version));
        w.varint(FRAME_VERSION);
        w.varint(self.kind());
        w.varint(u32::from(version.unsigned_abs()));
        self.write(&mut w);
        w.bytes().expect("a metadata record refers to no file")
    }
}

message! {
    /// A broker registered; it is fenced until its first heartbeats.
    RegisterBrokerRecord {
        broker_id: BrokerId = ..,
        is_migrating_zk_broker: bool = 2..,
        incarnation_id: Uuid = ..,
        broker_epoch: i64 = ..,
        end_points: Vec<BrokerEndpoint> = ..,
        features: Vec<BrokerFeature> = ..,
        rack: Option<String> = ..; default Some(String::new()),
        fenced: bool = ..; default true,
        in_controlled_shutdown: bool = 1..,
        log_dirs: Vec<Uuid> = 3..; tag 0,
        cordoned_log_dirs: Option<Vec<Uuid>> = 4..; tag 1,
    }

    BrokerEndpoint {
        name: String = ..,
        host: String = ..,
        port: u16 = ..,
        security_protocol: i16 = ..,
    }

    BrokerFeature {
        name: String = ..,
        min_supported_version: i16 = ..,
        max_supported_version: i16 = ..,
    }
}

message! {
    /// A broker left for good.
    UnregisterBrokerRecord {
        broker_id: BrokerId = ..,
        broker_epoch: i64 = ..,
    }
}

message! {
    /// A topic was created.
    TopicRecord {
        name: String = ..,
        topic_id: Uuid = ..,
    }
}

message! {
    /// A partition was created.
    PartitionRecord {
        partition_id: PartitionIndex = ..; default PartitionIndex(-1),
        topic_id: Uuid = ..,
        replicas: Vec<BrokerId> = ..,
        isr: Vec<BrokerId> = ..,
        removing_replicas: Vec<BrokerId> = ..,
        adding_replicas: Vec<BrokerId> = ..,
        leader: BrokerId = ..; default BrokerId(-1),
        leader_recovery_state: i8 = ..; tag 0,
        leader_epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
        partition_epoch: i32 = ..; default -1,
        directories: Vec<Uuid> = 1..,
        eligible_leader_replicas: Option<Vec<BrokerId>> = 2..; tag 1,
        last_known_elr: Option<Vec<BrokerId>> = 2..; tag 2,
    }
}

message! {
    /// A setting changed; null removes it.
    ConfigRecord {
        resource_type: i8 = ..,
        resource_name: String = ..,
        name: String = ..,
        value: Option<String> = ..; default Some(String::new()),
    }
}

message! {
    /// What changed in a partition: only fields that are present. Leader −2 means no change.
    PartitionChangeRecord {
        partition_id: PartitionIndex = ..; default PartitionIndex(-1),
        topic_id: Uuid = ..,
        isr: Option<Vec<BrokerId>> = ..; tag 0,
        leader: BrokerId = ..; tag 1; default BrokerId(-2),
        replicas: Option<Vec<BrokerId>> = ..; tag 2,
        removing_replicas: Option<Vec<BrokerId>> = ..; tag 3,
        adding_replicas: Option<Vec<BrokerId>> = ..; tag 4,
        leader_recovery_state: i8 = ..; tag 5; default -1,
        eligible_leader_replicas: Option<Vec<BrokerId>> = 2..; tag 6,
        last_known_elr: Option<Vec<BrokerId>> = 2..; tag 7,
        directories: Option<Vec<Uuid>> = 1..; tag 8,
    }
}

message! {
    /// A broker was fenced; older form.
    FenceBrokerRecord {
        id: BrokerId = ..,
        epoch: i64 = ..,
    }
}

message! {
    /// A broker was unfenced; older form.
    UnfenceBrokerRecord {
        id: BrokerId = ..,
        epoch: i64 = ..,
    }
}

message! {
    /// A topic was deleted.
    RemoveTopicRecord {
        topic_id: Uuid = ..,
    }
}

message! {
    /// A feature was finalized.
    FeatureLevelRecord {
        name: String = ..,
        feature_level: i16 = ..,
    }
}

message! {
    /// A block of producer ids was given out (KIP-730).
    ProducerIdsRecord {
        broker_id: BrokerId = ..,
        broker_epoch: i64 = ..; default -1,
        next_producer_id: ProducerId = ..,
    }
}

message! {
    /// A broker was fenced, unfenced, or began to stop.
    BrokerRegistrationChangeRecord {
        broker_id: BrokerId = ..,
        broker_epoch: i64 = ..,
        fenced: i8 = ..; tag 0,
        in_controlled_shutdown: i8 = 1..; tag 1,
        log_dirs: Vec<Uuid> = 2..; tag 2,
        cordoned_log_dirs: Option<Vec<Uuid>> = 3..; tag 3,
    }
}

message! {
    /// Nothing: only the log's end moves (KIP-835).
    NoOpRecord {}
}

message! {
    /// What follows counts only if it ends well (KIP-868).
    BeginTransactionRecord {
        name: Option<String> = ..; tag 0,
    }
}

message! {
    /// It ended well.
    EndTransactionRecord {}
}

message! {
    /// It did not: forget what followed its beginning.
    AbortTransactionRecord {
        reason: Option<String> = ..; tag 0,
    }
}

message! {
    /// A controller registered (KIP-919).
    RegisterControllerRecord {
        controller_id: BrokerId = ..,
        incarnation_id: Uuid = ..,
        zk_migration_ready: bool = ..,
        end_points: Vec<ControllerEndpoint> = ..,
        features: Vec<ControllerFeature> = ..,
    }

    ControllerEndpoint {
        name: String = ..,
        host: String = ..,
        port: u16 = ..,
        security_protocol: i16 = ..,
    }

    ControllerFeature {
        name: String = ..,
        min_supported_version: i16 = ..,
        max_supported_version: i16 = ..,
    }
}

message! {
    /// The ELR of a topic, or of all, is void (KIP-966).
    ClearElrRecord {
        topic_name: String = ..,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_record_looks_as_kafkas() {
        let record = MetadataRecord::Topic(TopicRecord { name: "foo".to_owned(), topic_id: Uuid([7; 16]) });
        let bytes = record.encode(0);
        assert_eq!(bytes[..8], *b"\x01\x02\0\x04foo\x07");
        assert_eq!(MetadataRecord::decode(bytes), Ok(record));
    }

    #[test]
    fn frames_and_versions_from_the_future_are_refused() {
        for (bytes, why) in [
            (&b"\x02\x02\0"[..], "a metadata record's frame has an unknown version"),
            (b"\x01\x02\x01", "a metadata record has an unknown version"),
            (b"\x01\x7f\0", "a metadata record of an unknown kind"),
            (b"\x01", "the frame ends within a number"),
        ] {
            assert_eq!(MetadataRecord::decode(Bytes::from_static(bytes)).map_err(|e| e.why), Err(why));
        }
    }
}
