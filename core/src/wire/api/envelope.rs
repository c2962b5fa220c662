//! Envelope: a request that a broker forwards for its client (KIP-590).

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// The request, and who sent it.
    EnvelopeRequest {
        request_data: Bytes = ..,
        request_principal: Option<Bytes> = ..; default Some(Bytes::new()),
        client_host_address: Bytes = ..,
    }
}

message! {
    /// The response.
    EnvelopeResponse {
        response_data: Option<Bytes> = ..,
        error_code: ErrorCode = ..,
    }
}
