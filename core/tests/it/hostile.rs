//! Hostile frames: whatever the bytes say, decoding ends without a panic, and never holds more memory than the frame can justify.
//!
//! `KLAMM_HOSTILE_FRAMES` sets how many frames are tried; a release build in CI asks for millions.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use klamm_core::id::CorrelationId;
use klamm_core::rng::{Rng, stream};
use klamm_core::wire::primitive::{BUDGET_BASE, BUDGET_PER_BYTE};
use klamm_core::wire::{ApiKey, Refused, RequestHeader, decode_request, decode_response, encode_request, encode_response};
use rand::Rng as _;

/// Counts what this thread holds, and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(by: isize) {
    HELD.with(|held| {
        held.set(held.get() + by);
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: everything is handed to the system's allocator as it came; the counters are plain cells without destructors, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `run` held at once beyond what was held before.
fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let out = run();
    (out, usize::try_from(PEAK.get() - before).expect("the peak starts at what is held"))
}

/// Arrays take up to `BUDGET_PER_BYTE`, strings that must be mended three bytes for one and their growth as much again.
fn allowed(frame: usize) -> usize {
    (BUDGET_PER_BYTE + 8) * frame + BUDGET_BASE + 256
}

fn frames(debug_default: u64) -> u64 {
    std::env::var("KLAMM_HOSTILE_FRAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(debug_default)
}

/// Decodes as a request and, with the same bytes as a body, as a response; returns whether either was well formed.
fn decode_both(api: ApiKey, version: i16, body: &[u8]) -> bool {
    let mut frame = request_header(api, version);
    frame.extend_from_slice(body);
    let request = Bytes::from(frame);
    let (asked, peak) = peak_of(|| decode_request(request.clone()));
    assert!(peak <= allowed(request.len()), "{api:?} {version}: {peak} bytes for a request of {}", request.len());
    let mut frame = vec![0, 0, 0, 7];
    frame.extend_from_slice(body);
    let response = Bytes::from(frame);
    let (answered, peak) = peak_of(|| decode_response(api, version, response.clone()));
    assert!(peak <= allowed(response.len()), "{api:?} {version}: {peak} bytes for a response of {}", response.len());
    assert!(!matches!(asked, Err(Refused::UnknownApi { .. } | Refused::UnsupportedVersion(_))));
    asked.is_ok() || answered.is_ok()
}

fn request_header(api: ApiKey, version: i16) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api.number().to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 7, 0xff, 0xff]);
    if api.shape(version).flexible {
        frame.push(0);
    }
    frame
}

fn any_version(rng: &mut Rng) -> (ApiKey, i16) {
    let api = ApiKey::ALL[rng.random_range(0..ApiKey::ALL.len())];
    (api, rng.random_range(api.versions()))
}

/// Bytes that look like lengths, counts and tags more often than chance would have it.
fn noise(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.random_range(0..20) {
        0 => rng.random_range(0..3000),
        _ => rng.random_range(0..80),
    };
    let small = rng.random_range(1..6);
    (0..len)
        .map(|_| match rng.random_range(0..12) {
            0..8 => 0,
            8 | 9 => rng.random_range(0..=small),
            10 => [0x7f, 0x80, 0xff][rng.random_range(0..3)],
            _ => rng.random(),
        })
        .collect()
}

#[test]
fn noise_is_refused_within_bounds() {
    let mut rng = stream(1, "noise");
    let mut well_formed = 0;
    let n = frames(60_000);
    for _ in 0..n {
        let (api, version) = any_version(&mut rng);
        well_formed += u64::from(decode_both(api, version, &noise(&mut rng)));
    }
    // Otherwise the noise is not hostile: it would never get past the first field.
    assert!(well_formed > n / 20, "only {well_formed} of {n} were well formed");
}

/// A valid frame of some content: what was read from noise, written again.
fn valid(rng: &mut Rng) -> (ApiKey, i16, Vec<u8>) {
    loop {
        let (api, version) = any_version(rng);
        let mut frame = request_header(api, version);
        let start = frame.len();
        frame.extend_from_slice(&noise(rng));
        if let Ok((header, body)) = decode_request(frame.clone().into()) {
            let whole = encode_request(&header, &body).bytes().expect("no file is referred to");
            return (api, version, whole[4 + start..].to_vec());
        }
        let answer = [&[0, 0, 0, 7], &frame[start..]].concat();
        if let Ok((correlation, body)) = decode_response(api, version, answer.into()) {
            let whole = encode_response(correlation, version, &body).bytes().expect("no file is referred to");
            return (api, version, whole[8..].to_vec());
        }
    }
}

#[test]
fn valid_frames_cut_and_bent_are_refused_within_bounds() {
    let mut rng = stream(2, "bent");
    for _ in 0..frames(40_000) / 20 {
        let (api, version, body) = valid(&mut rng);
        for _ in 0..10 {
            decode_both(api, version, &body[..rng.random_range(0..=body.len())]);
            decode_both(api, version, &bend(&mut rng, body.clone()));
        }
    }
}

/// Writes a huge number somewhere, or other bytes.
fn bend(rng: &mut Rng, mut body: Vec<u8>) -> Vec<u8> {
    let patch: &[u8] = match rng.random_range(0..5) {
        0 => &[0x7f, 0xff, 0xff, 0xff],
        1 => &[0xff, 0xff, 0xff, 0xff, 0x0f],
        2 => &[0x7f, 0xff],
        3 => &[0xff, 0xff],
        _ => &[rng.random()],
    };
    let at = rng.random_range(0..=body.len());
    let end = (at + patch.len()).min(body.len());
    body.splice(at..end, patch.iter().copied());
    body
}

#[test]
fn huge_counts_cost_nothing() {
    for api in ApiKey::ALL {
        for version in api.versions() {
            for filler in [0_u8, 1, 2, 3] {
                for prefix in 0..40 {
                    for count in
                        [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0, 0xff, 0xff, 0xff], &[0xff, 0xff, 0x7f]]
                    {
                        let body = [&vec![filler; prefix], count, &[filler; 60]].concat();
                        decode_both(*api, version, &body);
                    }
                }
            }
        }
    }
}

#[test]
fn the_five_bytes_that_abort_other_codecs() {
    // Metadata version 1 with 2³¹−1 topics.
    let mut frame = request_header(ApiKey::Metadata, 1);
    frame.extend_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0]);
    let (outcome, peak) = peak_of(|| decode_request(frame.into()));
    let Err(Refused::Malformed { api: Some(ApiKey::Metadata), error }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.why, "an array is longer than its frame");
    assert!(peak < 1024, "{peak}");
}

#[test]
fn a_large_honest_frame_is_within_the_budget() {
    use klamm_core::wire::api::describe_groups::DescribeGroupsRequest;
    let body = DescribeGroupsRequest { groups: vec![String::new(); 100_000], ..Default::default() };
    let header = RequestHeader { api: ApiKey::DescribeGroups, version: 5, correlation: CorrelationId(1), client_id: None };
    let frame = encode_request(&header, &body.into()).bytes().expect("no file is referred to").slice(4..);
    let (outcome, peak) = peak_of(|| decode_request(frame.clone()));
    outcome.expect("empty names are honest, if useless");
    assert!(peak > 20 * frame.len() && peak <= allowed(frame.len()), "{peak} for {}", frame.len());
}
