//! What real clients and the real broker said to each other, recorded by `.ci/capture.py`: each frame is read, and written again to the same bytes.
//!
//! A file per client holds one request and one response of each API and version it was seen to use, as `Api version request|response hex`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use klamm_core::wire::{ApiKey, Refused, decode_request, decode_response, encode_request, encode_response};

struct Captured {
    client: String,
    api: String,
    version: i16,
    request: bool,
    frame: Bytes,
}

fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes();
    assert_eq!(digits.len() % 2, 0);
    let nibble = |b: u8| char::from(b).to_digit(16).expect("a hex digit");
    digits.chunks(2).map(|d| u8::try_from(nibble(d[0]) << 4 | nibble(d[1])).expect("two digits are a byte")).collect()
}

fn parse(client: &str, line: &str) -> Captured {
    let [api, version, direction, frame] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{client}: {line}") };
    assert!(["request", "response"].contains(&direction), "{client}: {line}");
    Captured {
        client: client.to_owned(),
        api: api.to_owned(),
        version: version.parse().expect("a version"),
        request: direction == "request",
        frame: unhex(frame),
    }
}

fn captured() -> Vec<Captured> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/frames");
    let files: BTreeSet<_> = fs::read_dir(folder).expect("the fixtures are there").map(|f| f.expect("readable").path()).collect();
    let read = |path: &std::path::PathBuf| {
        let client = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(path).expect("a text file");
        text.lines().map(|line| parse(&client, line)).collect::<Vec<_>>()
    };
    files.iter().flat_map(read).collect()
}

/// Checks one frame; `None` when it asks an API that is not spoken.
fn read_and_written_again(c: &Captured) -> Option<ApiKey> {
    let what = format!("{} {} v{} {}", c.client, c.api, c.version, if c.request { "request" } else { "response" });
    let api = ApiKey::ALL.iter().copied().find(|a| a.name() == c.api).filter(|a| a.versions().contains(&c.version));
    let Some(api) = api else {
        if c.request {
            let refused = decode_request(c.frame.clone()).expect_err("it is not spoken");
            assert!(matches!(refused, Refused::UnknownApi { .. } | Refused::UnsupportedVersion(_)), "{what}: {refused}");
        }
        return None;
    };
    let again = if c.request {
        let (header, body) = decode_request(c.frame.clone()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((header.api, header.version), (api, c.version), "{what}");
        encode_request(&header, &body)
    } else {
        let (correlation, body) = decode_response(api, c.version, c.frame.clone()).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        encode_response(correlation, c.version, &body)
    };
    assert_eq!(again.bytes().expect("nothing is in files")[4..], c.frame[..], "{what}");
    Some(api)
}

#[test]
fn frames_of_real_clients_are_read_and_written_again() {
    let captured = captured();
    let spoken: BTreeSet<ApiKey> = captured.iter().filter_map(read_and_written_again).collect();
    let clients: BTreeSet<_> = captured.iter().map(|c| &c.client).collect();
    assert!(clients.len() >= 9, "{clients:?}");
    // Fewer would mean that a fixture was lost, or that an API is not spoken any more.
    assert!(spoken.len() >= 28, "{} APIs: {spoken:?}", spoken.len());
}
