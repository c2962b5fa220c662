//! `ApiVersions`: what this broker speaks, and the cluster's features (KIP-584). What is not served is not listed.

use super::{Broker, Token};
use crate::controller::bootstrap::{METADATA_VERSION, METADATA_VERSION_MIN};
use crate::error::ErrorCode;
use crate::wire::ApiKey;
use crate::wire::api::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};

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
        let response =
            if is_named { self.advertised() } else { ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() } };
        self.reply(token, response.into());
    }

    fn advertised(&self) -> ApiVersionsResponse {
        let supported =
            SupportedFeatureKey { name: "metadata.version".to_owned(), min_version: METADATA_VERSION_MIN, max_version: METADATA_VERSION };
        let finalized = |(name, level): (&String, &i16)| FinalizedFeatureKey {
            name: name.clone(),
            max_version_level: *level,
            min_version_level: *level,
        };
        ApiVersionsResponse {
            api_keys: ApiKey::ALL.iter().filter(|key| !is_of_clusters(**key)).map(|key| range(*key)).collect(),
            supported_features: vec![supported],
            finalized_features_epoch: self.metadata_epoch(),
            finalized_features: self.image().features().iter().map(finalized).collect(),
            ..Default::default()
        }
    }
}

/// What only the nodes of a cluster ask each other, and what is not served.
fn is_of_clusters(key: ApiKey) -> bool {
    use ApiKey as K;
    matches!(
        key,
        K::AlterReplicaLogDirs
            | K::Vote
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
    )
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
    fn produce_is_listed_from_version_0() {
        assert_eq!(range(ApiKey::Produce).min_version, 0);
        assert_eq!(range(ApiKey::Fetch).min_version, 4);
        assert_eq!(unsupported_api_versions().api_keys, vec![range(ApiKey::ApiVersions)]);
    }
}
