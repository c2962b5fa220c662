//! A small HTTP server for what the node has in memory: answers are made at once, without waiting for anything.
//!
//! Not for the simulator: it stands on real tokio, behind the feature `http`.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

pub use hyper::{Method, StatusCode};

/// Connections at once; who comes later waits to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// A connection is closed after so long, between two requests if it can be.
const LIFE_MAX: Duration = Duration::from_secs(300);
/// How long a request or an answer may be under way when its connection is to be closed.
const GRACE: Duration = Duration::from_secs(30);
/// How long a request's head may take to come.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// The largest head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The largest body that is read.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long to wait when a connection cannot be accepted: there are no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A question.
#[derive(Debug)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// The path as it was asked for.
    pub path: String,
    /// Its parts, decoded.
    pub parts: Vec<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// Who answers.
pub trait Site: Send + Sync + 'static {
    /// Answers.
    fn answer(&self, request: &Request) -> Answer;

    /// Whose pages may ask, besides those that come from here (`Access-Control-Allow-Origin`).
    fn allowed_origin(&self) -> Option<&str> {
        None
    }
}

/// Serves `site` for ever.
pub async fn serve(listener: TcpListener, site: Arc<impl Site>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("it is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                warn!("cannot accept an HTTP connection: {e}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let site = site.clone();
        tokio::spawn(async move {
            connection(stream, site).await;
            drop(slot);
        });
    }
}

async fn connection(stream: tokio::net::TcpStream, site: Arc<impl Site>) {
    let service = service_fn(move |request| answer(site.clone(), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut ended = timeout(LIFE_MAX, connection.as_mut()).await;
    if ended.is_err() {
        connection.as_mut().graceful_shutdown();
        ended = timeout(GRACE, connection).await;
    }
    if let Ok(Err(e)) = ended {
        debug!("an HTTP connection broke: {e}");
    }
}

async fn answer(site: Arc<impl Site>, request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // No question has a body that matters; one of moderate size is taken in, so that the next question can be read.
    drop(Limited::new(body, BODY_BYTES_MAX).collect().await);
    let path = head.uri.path().to_owned();
    let answer = match parts(&path) {
        Some(parts) => site.answer(&Request { method: head.method, path, parts }),
        None => Answer { status: StatusCode::BAD_REQUEST, content_type: "text/plain", body: "the path is not UTF-8\n".to_owned() },
    };
    let mut response = hyper::Response::builder().status(answer.status).header(CONTENT_TYPE, answer.content_type);
    if let Some(origin) = site.allowed_origin() {
        response = response.header(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    let response = response.body(Full::from(answer.body)).unwrap_or_else(|e| {
        warn!("an answer's head is malformed: {e}");
        hyper::Response::new(Full::default())
    });
    Ok(response)
}

/// The decoded parts of a path; a slash at its end makes no difference. `None` where they are no text.
fn parts(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let decode = |part| percent_encoding::percent_decode_str(part).decode_utf8().ok().map(String::from);
    path.split('/').map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_before_they_are_decoded() {
        let of = |path| parts(path).map(|parts| parts.join("|"));
        assert_eq!(of("/v3/kafka").as_deref(), Some("v3|kafka"));
        assert_eq!(of("/v3/kafka/").as_deref(), Some("v3|kafka"));
        assert_eq!(of("/a%2Fb/c%20d").as_deref(), Some("a/b|c d"));
        assert_eq!(of("/").as_deref(), Some(""));
        assert_eq!(of("/%ff"), None);
    }
}
