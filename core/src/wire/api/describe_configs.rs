//! DescribeConfigs: settings of topics and brokers with their sources.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// Which resources and keys; null means every key.
    DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource> = ..,
        include_synonyms: bool = ..,
        include_documentation: bool = 3..,
    }

    DescribeConfigsResource {
        resource_type: i8 = ..,
        resource_name: String = ..,
        configuration_keys: Option<Vec<String>> = ..; default Some(Vec::new()),
    }
}

message! {
    /// The settings. Sources and synonyms: KIP-226.
    DescribeConfigsResponse {
        throttle_time_ms: i32 = ..,
        results: Vec<DescribeConfigsResult> = ..,
    }

    DescribeConfigsResult {
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
        resource_type: i8 = ..,
        resource_name: String = ..,
        configs: Vec<DescribeConfigsResourceResult> = ..,
    }

    DescribeConfigsResourceResult {
        name: String = ..,
        value: Option<String> = ..; default Some(String::new()),
        read_only: bool = ..,
        config_source: i8 = ..; default -1,
        is_sensitive: bool = ..,
        synonyms: Vec<DescribeConfigsSynonym> = ..,
        config_type: i8 = 3..,
        documentation: Option<String> = 3..; default Some(String::new()),
    }

    DescribeConfigsSynonym {
        name: String = ..,
        value: Option<String> = ..; default Some(String::new()),
        source: i8 = ..,
    }
}
