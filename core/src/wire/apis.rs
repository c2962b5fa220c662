//! The one table of the APIs that klamm speaks: key, versions, first flexible version. What it does not list cannot be decoded, and is not served.

use std::ops::RangeInclusive;

use super::api;
use super::frame::Writer;
use super::primitive::{Malformed, Reader, Shape};
use super::value::Wire;

macro_rules! apis {
    ($($key:literal $api:ident: $versions:expr, flexible $flexible:expr, $module:ident::{$request:ident, $response:ident};)*) => {
        /// An API of Kafka's protocol.
        // Each is explained in its file.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ApiKey {
            $($api = $key,)*
        }

        impl ApiKey {
            /// Every API, in order of the keys.
            pub const ALL: &[Self] = &[$(Self::$api),*];

            /// The API of a key on the wire.
            #[must_use]
            pub fn from_number(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$api),)*
                    _ => None,
                }
            }

            /// Kafka's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$api => stringify!($api),)*
                }
            }

            /// The versions that can be decoded and encoded. What a broker advertises is a matter of its own.
            #[must_use]
            pub fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$api => $versions,)*
                }
            }

            fn first_flexible(self) -> i16 {
                match self {
                    $(Self::$api => $flexible,)*
                }
            }
        }

        /// A request's body.
        #[allow(missing_docs)]
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Request {
            $($api(api::$module::$request),)*
        }

        impl Request {
            /// Which API it asks.
            #[must_use]
            pub fn api(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)*
                }
            }

            pub(super) fn read(api: ApiKey, r: &mut Reader) -> Result<Self, Malformed> {
                match api {
                    $(ApiKey::$api => Wire::read(r).map(Self::$api),)*
                }
            }

            pub(super) fn write(&self, w: &mut Writer) {
                match self {
                    $(Self::$api(body) => body.write(w),)*
                }
            }
        }

        /// A response's body.
        #[allow(missing_docs)]
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Response {
            $($api(api::$module::$response),)*
        }

        impl Response {
            /// Which API it answers.
            #[must_use]
            pub fn api(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)*
                }
            }

            pub(super) fn read(api: ApiKey, r: &mut Reader) -> Result<Self, Malformed> {
                match api {
                    $(ApiKey::$api => Wire::read(r).map(Self::$api),)*
                }
            }

            pub(super) fn write(&self, w: &mut Writer) {
                match self {
                    $(Self::$api(body) => body.write(w),)*
                }
            }
        }

        $(impl From<api::$module::$request> for Request {
            fn from(body: api::$module::$request) -> Self {
                Self::$api(body)
            }
        }

        impl From<api::$module::$response> for Response {
            fn from(body: api::$module::$response) -> Self {
                Self::$api(body)
            }
        })*
    };
}

// Versions as in Kafka 4.3. InitProducerId 6 is unstable there: not spoken unless `unstable.api.versions.enable` is set.
apis! {
    0 Produce: 3..=13, flexible 9, produce::{ProduceRequest, ProduceResponse};
    1 Fetch: 4..=18, flexible 12, fetch::{FetchRequest, FetchResponse};
    2 ListOffsets: 1..=11, flexible 6, list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
    3 Metadata: 0..=13, flexible 9, metadata::{MetadataRequest, MetadataResponse};
    8 OffsetCommit: 2..=10, flexible 8, offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
    9 OffsetFetch: 1..=10, flexible 6, offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
    10 FindCoordinator: 0..=6, flexible 3, find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
    11 JoinGroup: 0..=9, flexible 6, join_group::{JoinGroupRequest, JoinGroupResponse};
    12 Heartbeat: 0..=4, flexible 4, heartbeat::{HeartbeatRequest, HeartbeatResponse};
    13 LeaveGroup: 0..=5, flexible 4, leave_group::{LeaveGroupRequest, LeaveGroupResponse};
    14 SyncGroup: 0..=5, flexible 4, sync_group::{SyncGroupRequest, SyncGroupResponse};
    15 DescribeGroups: 0..=6, flexible 5, describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
    16 ListGroups: 0..=5, flexible 3, list_groups::{ListGroupsRequest, ListGroupsResponse};
    18 ApiVersions: 0..=4, flexible 3, api_versions::{ApiVersionsRequest, ApiVersionsResponse};
    19 CreateTopics: 2..=7, flexible 5, create_topics::{CreateTopicsRequest, CreateTopicsResponse};
    20 DeleteTopics: 1..=6, flexible 4, delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
    21 DeleteRecords: 0..=2, flexible 2, delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
    22 InitProducerId: 0..=5, flexible 2, init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
    23 OffsetForLeaderEpoch: 2..=4, flexible 4, offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
    32 DescribeConfigs: 1..=4, flexible 4, describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
    33 AlterConfigs: 0..=2, flexible 2, alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
    34 AlterReplicaLogDirs: 1..=2, flexible 2, alter_replica_log_dirs::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
    35 DescribeLogDirs: 1..=5, flexible 2, describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
    37 CreatePartitions: 0..=3, flexible 2, create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
    42 DeleteGroups: 0..=2, flexible 2, delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
    43 ElectLeaders: 0..=2, flexible 2, elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
    44 IncrementalAlterConfigs: 0..=1, flexible 1, incremental_alter_configs::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
    45 AlterPartitionReassignments: 0..=1, flexible 0, alter_partition_reassignments::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
    46 ListPartitionReassignments: 0..=0, flexible 0, list_partition_reassignments::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};
    47 OffsetDelete: 0..=0, flexible i16::MAX, offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
    52 Vote: 0..=2, flexible 0, vote::{VoteRequest, VoteResponse};
    53 BeginQuorumEpoch: 0..=1, flexible 1, begin_quorum_epoch::{BeginQuorumEpochRequest, BeginQuorumEpochResponse};
    54 EndQuorumEpoch: 0..=1, flexible 1, end_quorum_epoch::{EndQuorumEpochRequest, EndQuorumEpochResponse};
    55 DescribeQuorum: 0..=2, flexible 0, describe_quorum::{DescribeQuorumRequest, DescribeQuorumResponse};
    56 AlterPartition: 2..=3, flexible 0, alter_partition::{AlterPartitionRequest, AlterPartitionResponse};
    57 UpdateFeatures: 0..=2, flexible 0, update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};
    58 Envelope: 0..=0, flexible 0, envelope::{EnvelopeRequest, EnvelopeResponse};
    59 FetchSnapshot: 0..=1, flexible 0, fetch_snapshot::{FetchSnapshotRequest, FetchSnapshotResponse};
    60 DescribeCluster: 0..=2, flexible 0, describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
    62 BrokerRegistration: 0..=4, flexible 0, broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse};
    63 BrokerHeartbeat: 0..=2, flexible 0, broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
    64 UnregisterBroker: 0..=0, flexible 0, unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
    67 AllocateProducerIds: 0..=0, flexible 0, allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
    68 ConsumerGroupHeartbeat: 0..=1, flexible 0, consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
    69 ConsumerGroupDescribe: 0..=1, flexible 0, consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
    70 ControllerRegistration: 0..=0, flexible 0, controller_registration::{ControllerRegistrationRequest, ControllerRegistrationResponse};
    73 AssignReplicasToDirs: 0..=0, flexible 0, assign_replicas_to_dirs::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
    74 ListConfigResources: 0..=1, flexible 0, list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};
    75 DescribeTopicPartitions: 0..=0, flexible 0, describe_topic_partitions::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
    80 AddRaftVoter: 0..=1, flexible 0, add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
    81 RemoveRaftVoter: 0..=0, flexible 0, remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
    82 UpdateRaftVoter: 0..=0, flexible 0, update_raft_voter::{UpdateRaftVoterRequest, UpdateRaftVoterResponse};
}

impl ApiKey {
    /// The key on the wire.
    #[must_use]
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The form of this API's bodies at `version`.
    #[must_use]
    pub fn shape(self, version: i16) -> Shape {
        Shape { version, flexible: version >= self.first_flexible() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_and_read_back() {
        assert!(ApiKey::ALL.is_sorted());
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_number(api.number()), Some(*api));
            assert!(!api.versions().is_empty(), "{api:?}");
        }
        assert_eq!((ApiKey::from_number(4), ApiKey::from_number(-1), ApiKey::Fetch.name()), (None, None, "Fetch"));
    }

    #[test]
    fn bodies_are_small_enough_to_move() {
        assert!(size_of::<Request>() <= 256, "{}", size_of::<Request>());
        assert!(size_of::<Response>() <= 256, "{}", size_of::<Response>());
    }
}
