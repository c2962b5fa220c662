//! The quorum's own control records, and its small state file (KIP-595, KIP-630, KIP-853).

use crate::id::{BrokerId, LeaderEpoch, Offset, Uuid};
use crate::time::Timestamp;
use crate::wire::macros::message;

message! {
    /// First in each leader's epoch.
    LeaderChangeMessage {
        version: i16 = ..,
        leader_id: BrokerId = ..,
        voters: Vec<Voter> = ..,
        granting_voters: Vec<Voter> = ..,
    }

    Voter {
        voter_id: BrokerId = ..,
        voter_directory_id: Uuid = 1..,
    }
}

message! {
    /// First in a snapshot.
    SnapshotHeaderRecord {
        version: i16 = ..,
        last_contained_log_timestamp: Timestamp = ..,
    }
}

message! {
    /// Last in a snapshot.
    SnapshotFooterRecord {
        version: i16 = ..,
    }
}

message! {
    /// The quorum's own feature level.
    KRaftVersionRecord {
        version: i16 = ..,
        k_raft_version: i16 = ..,
    }
}

message! {
    /// The voters from here on.
    VotersRecord {
        version: i16 = ..,
        voters: Vec<VotersRecordVoter> = ..,
    }

    VotersRecordVoter {
        voter_id: BrokerId = ..,
        voter_directory_id: Uuid = ..,
        endpoints: Vec<Endpoint> = ..,
        k_raft_version_feature: KRaftVersionFeature = ..,
    }

    Endpoint {
        name: String = ..,
        host: String = ..,
        port: u16 = ..,
    }

    KRaftVersionFeature {
        min_supported_version: i16 = ..,
        max_supported_version: i16 = ..,
    }
}

message! {
    /// `quorum-state`: what a voter must not forget. Written as JSON by Kafka; the fields are these.
    QuorumStateData {
        cluster_id: String = ..=0,
        leader_id: BrokerId = ..; default BrokerId(-1),
        leader_epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
        voted_id: BrokerId = ..; default BrokerId(-1),
        voted_directory_id: Uuid = 1..,
        applied_offset: Offset = ..=0,
        current_voters: Option<Vec<QuorumStateDataVoter>> = ..=0; default Some(Vec::new()),
    }

    QuorumStateDataVoter {
        voter_id: BrokerId = ..,
    }
}
