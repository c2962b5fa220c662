//! ApiVersions: what a broker speaks, asked before anything else.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// Who asks, from version 3 on (KIP-511).
    ApiVersionsRequest {
        client_software_name: String = 3..,
        client_software_version: String = 3..,
    }
}

message! {
    /// The version ranges, and the cluster's finalized features (KIP-584). Its header is always version 0, so that an older client can read it.
    ApiVersionsResponse {
        error_code: ErrorCode = ..,
        api_keys: Vec<ApiVersion> = ..,
        throttle_time_ms: i32 = 1..,
        supported_features: Vec<SupportedFeatureKey> = 3..; tag 0,
        finalized_features_epoch: i64 = 3..; tag 1; default -1,
        finalized_features: Vec<FinalizedFeatureKey> = 3..; tag 2,
        zk_migration_ready: bool = 3..; tag 3,
    }

    ApiVersion {
        api_key: i16 = ..,
        min_version: i16 = ..,
        max_version: i16 = ..,
    }

    SupportedFeatureKey {
        name: String = ..,
        min_version: i16 = ..,
        max_version: i16 = ..,
    }

    FinalizedFeatureKey {
        name: String = ..,
        max_version_level: i16 = ..,
        min_version_level: i16 = ..,
    }
}
