//! AlterConfigs: replace all settings of a resource.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// The new settings, complete.
    AlterConfigsRequest {
        resources: Vec<AlterConfigsResource> = ..,
        validate_only: bool = ..,
    }

    AlterConfigsResource {
        resource_type: i8 = ..,
        resource_name: String = ..,
        configs: Vec<AlterableConfig> = ..,
    }

    AlterableConfig {
        name: String = ..,
        value: Option<String> = ..; default Some(String::new()),
    }
}

message! {
    /// One error code a resource.
    AlterConfigsResponse {
        throttle_time_ms: i32 = ..,
        responses: Vec<AlterConfigsResourceResponse> = ..,
    }

    AlterConfigsResourceResponse {
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
        resource_type: i8 = ..,
        resource_name: String = ..,
    }
}
