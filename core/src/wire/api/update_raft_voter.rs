//! UpdateRaftVoter: a voter's endpoints and versions (KIP-853).

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Uuid};
use crate::wire::macros::message;

message! {
    /// The voter as it is now.
    UpdateRaftVoterRequest {
        cluster_id: Option<String> = ..; default Some(String::new()),
        current_leader_epoch: LeaderEpoch = ..,
        voter_id: BrokerId = ..,
        voter_directory_id: Uuid = ..,
        listeners: Vec<Listener> = ..,
        k_raft_version_feature: KRaftVersionFeature = ..,
    }

    Listener {
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
    /// Who leads.
    UpdateRaftVoterResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        current_leader: CurrentLeader = ..; tag 0,
    }

    CurrentLeader {
        leader_id: BrokerId = ..; default BrokerId(-1),
        leader_epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
        host: String = ..,
        port: i32 = ..,
    }
}
