//! Headers and whole messages, from and to frames, in both directions.

use bytes::Bytes;

use super::apis::{ApiKey, Request, Response};
use super::frame::{Frame, Writer};
use super::primitive::{Malformed, Reader, Shape};
use super::value::Wire;
use crate::id::CorrelationId;

/// What goes before a request's body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestHeader {
    /// Which API is asked.
    pub api: ApiKey,
    /// In which of its versions, and so the answer's.
    pub version: i16,
    /// Comes back in the answer.
    pub correlation: CorrelationId,
    /// What the client calls itself.
    pub client_id: Option<String>,
}

/// Why a frame is not a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// No such API here: close.
    UnknownApi {
        /// Its key.
        key: i16,
        /// The version asked for.
        version: i16,
    },
    /// No such version here: close, but answer `ApiVersions` with a body of version 0 and `UNSUPPORTED_VERSION` (KIP-511).
    UnsupportedVersion(RequestHeader),
    /// The bytes are no such request: close.
    Malformed {
        /// The API, if it got that far.
        api: Option<ApiKey>,
        /// What is wrong.
        error: Malformed,
    },
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownApi { key, version } => write!(f, "API key {key} (version {version}) is not served"),
            Self::UnsupportedVersion(header) => write!(f, "{} version {} is not served", header.api.name(), header.version),
            Self::Malformed { api: None, error } => write!(f, "request header: {error}"),
            Self::Malformed { api: Some(api), error } => write!(f, "{} request: {error}", api.name()),
        }
    }
}

impl std::error::Error for Refused {}

/// Headers have no versions of their own here: only whether they end in tagged fields.
const fn header(flexible: bool) -> Shape {
    Shape { version: 0, flexible }
}

/// The response header has tagged fields where the body has, but for `ApiVersions`: its reader may not know yet what the writer speaks (KIP-511).
fn response_header(api: ApiKey, version: i16) -> Shape {
    header(api != ApiKey::ApiVersions && api.shape(version).flexible)
}

/// Reads a request from a frame without its length prefix.
///
/// Bytes after the body are ignored, as in Kafka.
pub fn decode_request(frame: Bytes) -> Result<(RequestHeader, Request), Refused> {
    let mut r = Reader::new(frame, header(false));
    let unnamed = |error| Refused::Malformed { api: None, error };
    let key = i16::read(&mut r).map_err(unnamed)?;
    let version = i16::read(&mut r).map_err(unnamed)?;
    let Some(api) = ApiKey::from_number(key) else { return Err(Refused::UnknownApi { key, version }) };
    let malformed = |error| Refused::Malformed { api: Some(api), error };
    let header = rest_of_header(&mut r, api, version).map_err(malformed)?;
    if !api.versions().contains(&version) {
        return Err(Refused::UnsupportedVersion(header));
    }
    r.set_shape(api.shape(version));
    let body = Request::read(api, &mut r).map_err(malformed)?;
    Ok((header, body))
}

fn rest_of_header(r: &mut Reader, api: ApiKey, version: i16) -> Result<RequestHeader, Malformed> {
    let correlation = CorrelationId::read(r)?;
    // The client's name has its old form in every version.
    let client_id = Option::read(r)?;
    if api.shape(version).flexible {
        r.tags(|_, _| Ok(false))?;
    }
    Ok(RequestHeader { api, version, correlation, client_id })
}

/// Writes a request.
///
/// # Panics
/// If the header names another API than the body's, or a version that it does not have.
#[must_use]
pub fn encode_request(header: &RequestHeader, body: &Request) -> Frame {
    let RequestHeader { api, version, correlation, client_id } = header;
    assert_eq!(*api, body.api());
    let mut w = start(*api, *version, self::header(false));
    api.number().write(&mut w);
    version.write(&mut w);
    correlation.write(&mut w);
    client_id.write(&mut w);
    if api.shape(*version).flexible {
        w.varint(0);
    }
    w.set_shape(api.shape(*version));
    body.write(&mut w);
    w.frame()
}

/// Reads the answer to a request of `api` and `version`, from a frame without its length prefix.
///
/// Bytes after the body are ignored, as in Kafka.
pub fn decode_response(api: ApiKey, version: i16, frame: Bytes) -> Result<(CorrelationId, Response), Malformed> {
    let header = response_header(api, version);
    let mut r = Reader::new(frame, header);
    let correlation = CorrelationId::read(&mut r)?;
    if header.flexible {
        r.tags(|_, _| Ok(false))?;
    }
    r.set_shape(api.shape(version));
    let body = Response::read(api, &mut r)?;
    Ok((correlation, body))
}

/// Writes the answer to a request of the body's API and `version`.
///
/// # Panics
/// If the API has no such version.
#[must_use]
pub fn encode_response(correlation: CorrelationId, version: i16, body: &Response) -> Frame {
    let api = body.api();
    let header = response_header(api, version);
    let mut w = start(api, version, header);
    correlation.write(&mut w);
    if header.flexible {
        w.varint(0);
    }
    w.set_shape(api.shape(version));
    body.write(&mut w);
    w.frame()
}

fn start(api: ApiKey, version: i16, shape: Shape) -> Writer {
    assert!(api.versions().contains(&version), "{} has no version {version}", api.name());
    let mut w = Writer::new(shape);
    w.put(&[0; 4]);
    w
}

/// Reads one table alone, as in a record's value. Bytes after it are ignored.
pub fn decode_body<T: Wire>(bytes: Bytes, shape: Shape) -> Result<T, Malformed> {
    T::read(&mut Reader::new(bytes, shape))
}

/// Writes one table alone.
///
/// # Panics
/// If it holds records that are in files.
#[must_use]
pub fn encode_body<T: Wire>(body: &T, shape: Shape) -> Bytes {
    let mut w = Writer::new(shape);
    body.write(&mut w);
    w.bytes().expect("a body alone refers to no file")
}

/// Writes a version and a table in that version, as keys and values of coordinators have it.
pub(super) fn encode_versioned<T: Wire>(body: &T, version: i16, first_flexible: i16) -> Bytes {
    let mut w = Writer::new(Shape { version, flexible: version >= first_flexible });
    version.write(&mut w);
    body.write(&mut w);
    w.bytes().expect("a record's table refers to no file")
}

/// Reads a version, not above `latest`, and a table in that version.
pub(super) fn decode_versioned<T: Wire>(bytes: Bytes, latest: i16, first_flexible: i16) -> Result<(i16, T), Malformed> {
    let mut r = Reader::new(bytes, header(false));
    let version = i16::read(&mut r)?;
    if !(0..=latest).contains(&version) {
        return Err(r.malformed("a version that is not known"));
    }
    r.set_shape(Shape { version, flexible: version >= first_flexible });
    Ok((version, T::read(&mut r)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::wire::api::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
    use crate::wire::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
    use crate::wire::api::metadata::MetadataRequest;

    fn without_prefix(frame: Frame) -> Bytes {
        frame.bytes().expect("all in memory").slice(4..)
    }

    fn heartbeat(version: i16) -> RequestHeader {
        RequestHeader { api: ApiKey::Heartbeat, version, correlation: CorrelationId(7), client_id: Some("c".to_owned()) }
    }

    #[test]
    fn headers_follow_the_version() {
        let body = Request::from(HeartbeatRequest { group_id: "g".to_owned(), member_id: "m".to_owned(), ..Default::default() });
        let classic = without_prefix(encode_request(&heartbeat(0), &body));
        assert_eq!(classic[..], *b"\0\x0c\0\0\0\0\0\x07\0\x01c\0\x01g\0\0\0\0\0\x01m");
        let flexible = without_prefix(encode_request(&heartbeat(4), &body));
        assert_eq!(flexible[..], *b"\0\x0c\0\x04\0\0\0\x07\0\x01c\0\x02g\0\0\0\0\x02m\0\0");
        for (version, bytes) in [(0, classic), (4, flexible)] {
            assert_eq!(decode_request(bytes), Ok((heartbeat(version), body.clone())));
        }
    }

    #[test]
    fn the_answer_to_api_versions_has_the_oldest_header() {
        let error_code = ErrorCode::UNSUPPORTED_VERSION;
        let heartbeat = encode_response(CorrelationId(7), 4, &HeartbeatResponse { error_code, ..Default::default() }.into());
        assert_eq!(without_prefix(heartbeat)[..], *b"\0\0\0\x07\0\0\0\0\0\0\x23\0");
        let body = Response::from(ApiVersionsResponse { error_code, ..Default::default() });
        let versions = without_prefix(encode_response(CorrelationId(7), 3, &body));
        assert_eq!(versions[..], *b"\0\0\0\x07\0\x23\x01\0\0\0\0\0");
        assert_eq!(decode_response(ApiKey::ApiVersions, 3, versions), Ok((CorrelationId(7), body)));
    }

    #[test]
    fn what_is_not_served_is_told_apart() {
        assert_eq!(decode_request(Bytes::from_static(b"\0\x04\0\0\0\0\0\x07\0\0")), Err(Refused::UnknownApi { key: 4, version: 0 }));
        let header = RequestHeader { api: ApiKey::ApiVersions, version: 99, correlation: CorrelationId(7), client_id: None };
        assert_eq!(decode_request(Bytes::from_static(b"\0\x12\0\x63\0\0\0\x07\xff\xff\0")), Err(Refused::UnsupportedVersion(header)));
        let error = Malformed { why: "the frame ends within a number", at: 4 };
        assert_eq!(decode_request(Bytes::from_static(b"\0\x12\0\x03")), Err(Refused::Malformed { api: Some(ApiKey::ApiVersions), error }));
        let error = Malformed { why: "an array is longer than its frame", at: 14 };
        let hostile = Bytes::from_static(b"\0\x03\0\x01\0\0\0\x07\xff\xff\x7f\xff\xff\xff\0");
        assert_eq!(decode_request(hostile), Err(Refused::Malformed { api: Some(ApiKey::Metadata), error }));
    }

    #[test]
    fn a_null_that_a_version_lacks_becomes_empty() {
        let all = MetadataRequest { topics: None, ..Default::default() };
        let bytes = encode_body(&all, ApiKey::Metadata.shape(0));
        assert_eq!(bytes[..], [0; 4]);
        assert_eq!(encode_body(&all, ApiKey::Metadata.shape(1))[..], [0xff; 4]);
        assert_eq!(decode_body(bytes, ApiKey::Metadata.shape(0)), Ok(MetadataRequest::default()));
        let null = decode_body::<MetadataRequest>(Bytes::from_static(&[0xff; 4]), ApiKey::Metadata.shape(0));
        assert_eq!(null.map_err(|e| e.why), Err("null where there must be a value"));
    }

    #[test]
    fn bytes_after_a_body_are_ignored() {
        let (version, body) = (1, Request::from(ApiVersionsRequest::default()));
        let header = RequestHeader { api: ApiKey::ApiVersions, version, ..heartbeat(version) };
        let mut bytes = without_prefix(encode_request(&header, &body)).to_vec();
        bytes.extend_from_slice(b"more");
        assert_eq!(decode_request(bytes.into()), Ok((header, body)));
    }
}
