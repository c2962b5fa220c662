//! ConsumerGroupDescribe: groups of the consumer protocol (KIP-848).

use crate::error::ErrorCode;
use crate::id::{PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// Which groups.
    ConsumerGroupDescribeRequest {
        group_ids: Vec<String> = ..,
        include_authorized_operations: bool = ..,
    }
}

message! {
    /// Their members, current and target assignments.
    ConsumerGroupDescribeResponse {
        throttle_time_ms: i32 = ..,
        groups: Vec<DescribedGroup> = ..,
    }

    DescribedGroup {
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..,
        group_id: String = ..,
        group_state: String = ..,
        group_epoch: i32 = ..,
        assignment_epoch: i32 = ..,
        assignor_name: String = ..,
        members: Vec<Member> = ..,
        authorized_operations: i32 = ..; default i32::MIN,
    }

    Member {
        member_id: String = ..,
        instance_id: Option<String> = ..,
        rack_id: Option<String> = ..,
        member_epoch: i32 = ..,
        client_id: String = ..,
        client_host: String = ..,
        subscribed_topic_names: Vec<String> = ..,
        subscribed_topic_regex: Option<String> = ..,
        assignment: Assignment = ..,
        target_assignment: Assignment = ..,
        member_type: i8 = 1..; default -1,
    }

    Assignment {
        topic_partitions: Vec<TopicPartitions> = ..,
    }

    TopicPartitions {
        topic_id: Uuid = ..,
        topic_name: String = ..,
        partitions: Vec<PartitionIndex> = ..,
    }
}
