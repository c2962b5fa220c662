//! `ApiVersions`: what this broker speaks, and the cluster's features (KIP-584). What is not served is not listed.

use super::{Broker, Token};
use crate::config::quorum::KRAFT_VERSIONS;
use crate::controller::features::SUPPORTED;
use crate::error::ErrorCode;
use crate::id::Uuid;
use crate::quorum::Quorum;
use crate::wire::ApiKey;
use crate::wire::api::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};

/// Whether the voters of the metadata quorum can be changed (KIP-853).
const KRAFT_FEATURE: &str = "kraft.version";

/// What a client is told that asked for `ApiVersions` in a version that is not spoken: the one range it needs to ask again.
///
/// To be sent as version 0 (KIP-511); the connection stays.
#[must_use]
pub fn unsupported_api_versions() -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: ErrorCode::UNSUPPORTED_VERSION, api_keys: vec![range(ApiKey::ApiVersions)], ..Default::default() }
}

impl Broker {
    pub(super) fn api_versions(&mut self, token: Token, version: i16, body: &ApiVersionsRequest) {
        let is_named = version < 3 || (is_software(&body.client_software_name) && is_software(&body.client_software_version));
        let response = if is_named {
            self.advertised(version, self.is_of_quorum(token))
        } else {
            ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() }
        };
        self.reply(token, response.into());
    }

    /// Whether a request came in by a listener of the metadata quorum. What this node asks itself may be anything.
    pub(super) fn is_of_quorum(&self, token: Token) -> bool {
        self.conns.get(&token.conn).is_some_and(|conn| self.config.broker.is_controller(conn.listener))
    }

    fn advertised(&self, version: i16, controllers: bool) -> ApiVersionsResponse {
        let kraft = (KRAFT_FEATURE, KRAFT_VERSIONS.min_supported_version, KRAFT_VERSIONS.max_supported_version);
        let feature =
            |(name, min_version, max_version): (&str, i16, i16)| SupportedFeatureKey { name: name.to_owned(), min_version, max_version };
        // A minimum of 0 would be taken for a mistake before version 4 (KIP-1022).
        let supported = SUPPORTED.iter().copied().chain([kraft]).filter(|(_, min, _)| version >= 4 || *min > 0);
        let finalized =
            |(name, level): (&str, i16)| FinalizedFeatureKey { name: name.to_owned(), max_version_level: level, min_version_level: level };
        let levels = self.image().features().iter().map(|(name, level)| (name.as_str(), *level));
        let can_change = |quorum: &Quorum| quorum.voters().iter().all(|voter| voter.directory != Uuid::ZERO);
        let kraft = self.quorum.as_ref().is_some_and(can_change).then_some((KRAFT_FEATURE, KRAFT_VERSIONS.max_supported_version));
        ApiVersionsResponse {
            api_keys: ApiKey::ALL.iter().filter(|key| is_open(**key, controllers)).map(|key| range(*key)).collect(),
            supported_features: supported.map(feature).collect(),
            finalized_features_epoch: self.metadata_epoch(),
            finalized_features: levels.chain(kraft).map(finalized).collect(),
            ..Default::default()
        }
    }
}

/// Whether an API is served to who comes in by a listener of the metadata quorum (`controllers`), or by one of clients and brokers.
///
/// Source: `listeners` of each of Kafka's message definitions; a request that is not for its listener closes the connection there too.
pub(super) fn is_open(key: ApiKey, controllers: bool) -> bool {
    use ApiKey as K;
    let is_of_quorum = matches!(
        key,
        K::Vote
            | K::BeginQuorumEpoch
            | K::EndQuorumEpoch
            | K::AlterPartition
            | K::Envelope
            | K::FetchSnapshot
            | K::BrokerRegistration
            | K::BrokerHeartbeat
            | K::AllocateProducerIds
            | K::ControllerRegistration
            | K::AssignReplicasToDirs
            | K::UpdateRaftVoter
    );
    let is_of_both = matches!(
        key,
        K::Fetch
            | K::ApiVersions
            | K::DescribeCluster
            | K::DescribeConfigs
            | K::AlterConfigs
            | K::IncrementalAlterConfigs
            | K::CreateTopics
            | K::DeleteTopics
            | K::CreatePartitions
            | K::ElectLeaders
            | K::AlterPartitionReassignments
            | K::ListPartitionReassignments
            | K::UnregisterBroker
            | K::UpdateFeatures
            | K::DescribeQuorum
            | K::AddRaftVoter
            | K::RemoveRaftVoter
    );
    is_of_both || is_of_quorum == controllers
}

fn range(key: ApiKey) -> ApiVersion {
    let (min, max) = (*key.versions().start(), *key.versions().end());
    // Older librdkafka compresses nothing unless it sees Produce 0, though nobody speaks it any more (KAFKA-18659).
    let min = if key == ApiKey::Produce { 0 } else { min };
    ApiVersion { api_key: key.number(), min_version: min, max_version: max }
}

/// Kafka's pattern for a client's name and version: letters, digits, dots and dashes, the last two not at an end.
fn is_software(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    let is_end = |end: Option<u8>| end.is_some_and(|b| b.is_ascii_alphanumeric());
    inner && is_end(text.bytes().next()) && is_end(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_are_judged_by_kafkas_pattern() {
        for good in ["a", "apache-kafka-java", "2.15.0", "x-1.y"] {
            assert!(is_software(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "ä"] {
            assert!(!is_software(bad), "{bad}");
        }
    }

    #[test]
    fn what_the_nodes_of_a_cluster_ask_each_other_is_open_to_nobody_else() {
        use ApiKey as K;
        let open = |key| (is_open(key, false), is_open(key, true));
        for key in [K::Vote, K::Envelope, K::BrokerHeartbeat, K::AlterPartition, K::UpdateRaftVoter] {
            assert_eq!(open(key), (false, true), "{key:?}");
        }
        for key in [K::Produce, K::Metadata, K::JoinGroup, K::DescribeLogDirs, K::AlterReplicaLogDirs] {
            assert_eq!(open(key), (true, false), "{key:?}");
        }
        for key in [K::ApiVersions, K::Fetch, K::DescribeQuorum, K::CreateTopics, K::DescribeCluster] {
            assert_eq!(open(key), (true, true), "{key:?}");
        }
    }

    #[test]
    fn produce_is_listed_from_version_0() {
        assert_eq!(range(ApiKey::Produce).min_version, 0);
        assert_eq!(range(ApiKey::Fetch).min_version, 4);
        assert_eq!(unsupported_api_versions().api_keys, vec![range(ApiKey::ApiVersions)]);
    }
}
