//! The closed vocabulary between a client machine and its driver, the same for producer and consumer.
//!
//! A driver holds sockets and a clock, and nothing else: it turns each effect into I/O as soon as it is polled, and each completion into an
//! input. The machines own every time-out and retry. `C` is what an application may ask of the machine, `E` what it is told.
//!
//! ```text
//! loop { machine.handle(now, input);  while let Some(effect) = machine.poll() { … }  wait for an input, or until machine.deadline() }
//! ```

use std::fmt;
use std::time::Duration;

use crate::id::{CallId, ConnId};
use crate::wire::{Request, Response};

/// Something that happened. Inputs about a connection that the machine has closed are ignored.
#[derive(Clone, Debug)]
pub enum Input<C> {
    /// The instant that `deadline()` named has come, or the driver felt like it.
    Tick,
    /// The application asks for something.
    App(C),
    /// A connection stands.
    Connected {
        /// Which.
        conn: ConnId,
    },
    /// A connection is gone, or was never made: refused, reset, ended by the peer, or its bytes were malformed.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// A response, decoded in the version its request was sent in.
    Answer {
        /// To which call.
        call: CallId,
        /// What it says.
        response: Box<Response>,
    },
}

/// Something to be done, in order.
#[derive(Clone, Debug)]
pub enum Effect<E> {
    /// Make a connection; the answer is `Connected` or `Closed`. The machine owns the time-out.
    Connect {
        /// Its name from now on; never used twice by one machine.
        conn: ConnId,
        /// To where.
        to: Address,
    },
    /// Write a request, behind those sent before on this connection.
    Send {
        /// On which connection: one that was `Connected`.
        conn: ConnId,
        /// Its name from now on; never used twice by one machine. Its low 32 bits serve as the correlation id.
        call: CallId,
        /// In which version to encode it, and to decode its response.
        version: i16,
        /// What to write.
        request: Box<Request>,
        /// Whether a response will come. `Produce` with acks=0 has none.
        answered: bool,
    },
    /// Close a connection; nothing about it is wanted any more.
    Close {
        /// Which.
        conn: ConnId,
        /// Why, for traces.
        why: &'static str,
    },
    /// Tell the application.
    Event(E),
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

/// What producer and consumer have in common. Names and defaults are Kafka's.
#[derive(Clone, Debug)]
pub struct Common {
    /// `bootstrap.servers`: whom to ask first, and again when all known brokers are gone.
    pub bootstrap: Vec<Address>,
    /// `client.id`; drivers put it into the request header.
    pub client_id: String,
    /// `request.timeout.ms`: after it the connection is given up.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`
    pub connect_timeout: Duration,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`
    pub reconnect_backoff: Backoff,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`
    pub retry_backoff: Backoff,
    /// `metadata.max.age.ms`: how old metadata may grow unprovoked.
    pub metadata_max_age: Duration,
    /// `allow.auto.create.topics`: whether asking for a topic may create it.
    pub auto_create_topics: bool,
}

impl Common {
    /// Kafka's defaults, for a client of these brokers.
    #[must_use]
    pub fn new(bootstrap: Vec<Address>) -> Self {
        Self {
            bootstrap,
            client_id: "klamm".into(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            reconnect_backoff: Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) },
            retry_backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) },
            metadata_max_age: Duration::from_secs(300),
            auto_create_topics: true,
        }
    }
}

/// Waits that double from `first` to `most`, each shortened or lengthened by up to a fifth by chance (KIP-580).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// However many failures.
    pub most: Duration,
}

impl Backoff {
    /// How long to wait after `failures` failures in a row (at least one).
    #[must_use]
    pub fn after(self, failures: u32, rng: &mut crate::rng::Rng) -> Duration {
        use rand::Rng as _;
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.most).mul_f64(rng.random_range(0.8..1.2))
    }
}
