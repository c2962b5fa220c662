//! Records of the metadata log (KIP-631).

use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, ProducerId, Uuid};
use crate::wire::macros::message;

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
        directories: Option<Vec<Uuid>> = 1..; tag 8,
        eligible_leader_replicas: Option<Vec<BrokerId>> = 2..; tag 6,
        last_known_elr: Option<Vec<BrokerId>> = 2..; tag 7,
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
