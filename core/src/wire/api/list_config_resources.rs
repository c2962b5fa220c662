//! ListConfigResources: names of resources that can be configured.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// Which kinds (KIP-1142); version 0 lists client metrics subscriptions only.
    ListConfigResourcesRequest {
        resource_types: Vec<i8> = 1..,
    }
}

message! {
    /// The names.
    ListConfigResourcesResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        config_resources: Vec<ConfigResource> = ..,
    }

    ConfigResource {
        resource_name: String = ..,
        resource_type: i8 = 1..; default 16,
    }
}
