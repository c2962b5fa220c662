//! Kafka's wire formats, pure: whoever speaks them, in whichever direction, speaks them through here.

pub mod api;
mod apis;
#[cfg(test)]
pub(crate) mod arbitrary;
pub mod batch;
pub mod compress;
pub mod frame;
mod macros;
mod message;
#[cfg(test)]
mod oracle;
pub mod primitive;
pub mod record;
#[cfg(test)]
mod recorded;
pub mod records;
pub mod reduce;
pub mod structure;
pub mod value;

pub use apis::{ApiKey, Request, Response};
pub use frame::{Chunk, Frame, Records};
pub use message::{Refused, RequestHeader, decode_body, decode_request, decode_response, encode_body, encode_request, encode_response};
pub use primitive::Malformed;
