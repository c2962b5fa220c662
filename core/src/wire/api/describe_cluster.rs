//! DescribeCluster: brokers or controllers, and the cluster's id.

use crate::error::ErrorCode;
use crate::id::BrokerId;
use crate::wire::macros::message;

message! {
    /// What to include (KIP-700, KIP-919, KIP-1073).
    DescribeClusterRequest {
        include_cluster_authorized_operations: bool = ..,
        endpoint_type: i8 = 1..; default 1,
        include_fenced_brokers: bool = 2..,
    }
}

message! {
    /// The nodes.
    DescribeClusterResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..,
        endpoint_type: i8 = 1..; default 1,
        cluster_id: String = ..,
        controller_id: BrokerId = ..; default BrokerId(-1),
        brokers: Vec<DescribeClusterBroker> = ..,
        cluster_authorized_operations: i32 = ..; default i32::MIN,
    }

    DescribeClusterBroker {
        broker_id: BrokerId = ..,
        host: String = ..,
        port: i32 = ..,
        rack: Option<String> = ..,
        is_fenced: bool = 2..,
    }
}
