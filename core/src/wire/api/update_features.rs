//! UpdateFeatures: finalize feature levels.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// The levels wanted (KIP-584).
    UpdateFeaturesRequest {
        timeout_ms: i32 = ..; default 60000,
        feature_updates: Vec<FeatureUpdateKey> = ..,
        validate_only: bool = 1..,
    }

    FeatureUpdateKey {
        feature: String = ..,
        max_version_level: i16 = ..,
        allow_downgrade: bool = ..=0,
        upgrade_type: i8 = 1..; default 1,
    }
}

message! {
    /// Up to version 1, one error code a feature.
    UpdateFeaturesResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
        results: Vec<UpdatableFeatureResult> = ..=1,
    }

    UpdatableFeatureResult {
        feature: String = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
    }
}
