//! IncrementalAlterConfigs: change some settings of a resource.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// What to set (0), delete (1), append to (2) or subtract from (3) (KIP-339).
    IncrementalAlterConfigsRequest {
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
        config_operation: i8 = ..,
        value: Option<String> = ..; default Some(String::new()),
    }
}

message! {
    /// One error code a resource.
    IncrementalAlterConfigsResponse {
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
