//! Who is alive: what the active controller heard from each broker, and when.
//!
//! Soft state, never in the log: a new controller grants every broker that is not fenced a whole session. Whether a broker is fenced,
//! or on its way down, is the image's to say.
//!
//! ```text
//!            caught up                    wants to stop, and leads
//!   fenced ────────────► unfenced ───────────────────────────────► stopping
//!     ▲                     │ silent, refused, wants to be fenced      │ leads nothing, and the others know
//!     └─────────────────────┴──────────────────────────────────────────┘
//! ```
//!
//! Source: Kafka's `BrokerHeartbeatManager` (KIP-631, KIP-841).

use super::draft::Draft;
use super::image::{Image, Registration};
use super::plan::{Plan, Planner};
use crate::error::ErrorCode;
use crate::id::{BrokerId, Offset};
use crate::probe;
use crate::time::Instant;
use crate::wire::api::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use crate::wire::api::broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a broker that was suspected twice stays fenced; doubled each further time.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// How long it stays fenced at most.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// After how long without suspicion the earlier ones are forgotten.
const FORGET: Duration = Duration::from_secs(120);

const _: () = assert!(BACKOFF_MAX.as_secs() < FORGET.as_secs(), "a broker must be able to prove itself before it is trusted again");

/// The sessions of brokers with the active controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Liveness {
    /// `broker.session.timeout.ms`
    session: Duration,
    /// Since when this controller is the active one: before, it heard nothing.
    since: Instant,
    heard: BTreeMap<BrokerId, Heard>,
    suspicions: BTreeMap<BrokerId, Suspicion>,
}

/// What a broker said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Heard {
    at: Instant,
    /// How far it has replayed the metadata.
    metadata: Offset,
    /// What the others must have replayed before it may go.
    handed_over: Option<Offset>,
}

/// How often a broker was suspected of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Suspicion {
    times: u32,
    last: Instant,
    /// Until when it stays fenced.
    until: Instant,
}

/// Where a broker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Fenced,
    Unfenced,
    Stopping,
    /// It may shut down.
    Released,
}

impl Standing {
    fn of(broker: &Registration) -> Self {
        match (broker.is_fenced, broker.is_stopping) {
            (true, _) => Self::Fenced,
            (false, true) => Self::Stopping,
            (false, false) => Self::Unfenced,
        }
    }
}

impl Liveness {
    /// This controller has become the active one.
    #[must_use]
    pub fn new(now: Instant, session: Duration) -> Self {
        Self { session, since: now, heard: BTreeMap::new(), suspicions: BTreeMap::new() }
    }

    /// Whether `broker` is unfenced and was heard of within its session.
    #[must_use]
    pub fn has_session(&self, now: Instant, image: &Image, broker: BrokerId) -> bool {
        image.brokers().get(&broker).is_some_and(|b| !b.is_fenced) && now.since(self.last_heard(broker)) < self.session
    }

    /// Plans a registration, and begins to watch the broker.
    pub fn register(
        &mut self,
        now: Instant,
        planner: &mut Planner<'_>,
        request: &BrokerRegistrationRequest,
        at: Offset,
    ) -> Plan<BrokerRegistrationResponse> {
        // Whoever presents the registration's epoch, or one of its directories, or runs beside this controller, has the directories of the broker that
        // held the id: since one process alone can have them, the other one is gone.
        let broker = request.broker_id;
        let has_directories = |b: &Registration| b.directories.iter().any(|dir| request.log_dirs.contains(dir));
        let known = planner.image.brokers().get(&broker);
        let succeeds = known.is_some_and(|b| b.epoch == request.previous_broker_epoch || has_directories(b));
        let is_live = !succeeds && broker != planner.config.id && self.has_session(now, planner.image, broker);
        let plan = planner.register_broker(request, at, is_live);
        if plan.response.error_code.is_none() {
            self.heard.insert(request.broker_id, Heard { at: now, metadata: Offset::UNKNOWN, handed_over: None });
        }
        plan
    }

    /// Plans what a heartbeat brings about: the broker is unfenced, fenced, begins to stop, or may go.
    /// `at` is where the plan's first record will stand.
    pub fn heartbeat(
        &mut self,
        now: Instant,
        planner: &mut Planner<'_>,
        request: &BrokerHeartbeatRequest,
        at: Offset,
    ) -> Plan<BrokerHeartbeatResponse> {
        let id = request.broker_id;
        let Some(broker) = planner.image.brokers().get(&id).filter(|b| b.epoch == request.broker_epoch) else {
            let error_code = ErrorCode::STALE_BROKER_EPOCH;
            return Plan { records: Vec::new(), response: BrokerHeartbeatResponse { error_code, ..Default::default() } };
        };
        let next = self.judge(now, planner.image, broker, request);
        let mut draft = Draft::new(planner);
        match next {
            Standing::Fenced | Standing::Released => draft.fence(id),
            Standing::Unfenced => draft.unfence(id),
            Standing::Stopping => draft.stop(id),
        }
        draft.fail_directories(id, &request.offline_log_dirs);
        let records = draft.finish();
        let end = at.plus(i64::try_from(records.len()).expect("bounded by the partitions"));
        let before = self.heard.get(&id).and_then(|h| h.handed_over);
        let handed_over = (next == Standing::Stopping).then(|| before.unwrap_or(end.plus(-1)));
        self.heard.insert(id, Heard { at: now, metadata: request.current_metadata_offset, handed_over });
        let response = BrokerHeartbeatResponse {
            is_caught_up: is_caught_up(broker, request),
            is_fenced: matches!(next, Standing::Fenced | Standing::Released),
            should_shut_down: next == Standing::Released,
            ..Default::default()
        };
        Plan { records, response }
    }

    fn judge(&self, now: Instant, image: &Image, broker: &Registration, request: &BrokerHeartbeatRequest) -> Standing {
        let id = request.broker_id;
        match Standing::of(broker) {
            Standing::Fenced | Standing::Released if request.want_shut_down => Standing::Released,
            Standing::Fenced | Standing::Released if request.want_fence || !is_caught_up(broker, request) => Standing::Fenced,
            Standing::Fenced | Standing::Released if self.suspicions.get(&id).is_some_and(|s| now < s.until) => {
                probe!("a flapping broker has to wait before it is unfenced");
                Standing::Fenced
            }
            Standing::Fenced | Standing::Released => Standing::Unfenced,
            Standing::Unfenced if request.want_fence && request.want_shut_down => Standing::Released,
            Standing::Unfenced if request.want_fence => Standing::Fenced,
            Standing::Unfenced if request.want_shut_down && image.leads(id) => Standing::Stopping,
            Standing::Unfenced if request.want_shut_down => Standing::Released,
            Standing::Unfenced => Standing::Unfenced,
            Standing::Stopping if image.leads(id) || !self.is_handed_over(image, id) => Standing::Stopping,
            Standing::Stopping => Standing::Released,
        }
    }

    /// Whether every active broker knows that a stopping one leads nothing any more: their clients would else find nobody.
    /// A new controller does not know when that was: it takes the next heartbeat's time for it.
    fn is_handed_over(&self, image: &Image, broker: BrokerId) -> bool {
        let Some(handed_over) = self.heard.get(&broker).and_then(|h| h.handed_over) else { return false };
        let active = image.brokers().iter().filter(|(_, b)| b.is_active());
        let mut metadata = active.map(|(id, _)| self.heard.get(id).map_or(Offset::UNKNOWN, |h| h.metadata));
        metadata.all(|replayed| replayed >= handed_over)
    }

    /// Fences the one broker that was silent for longest, if its session is over, and answers which. Called again until it answers
    /// `None`, each time when the last plan is proposed: one broker's fencing must be seen by the next one's elections.
    pub fn expire(&mut self, now: Instant, planner: &mut Planner<'_>) -> Plan<Option<BrokerId>> {
        let silent = self.watched(planner.image).min().filter(|(heard, _)| now.since(*heard) >= self.session);
        match silent {
            Some((_, id)) => Plan { records: planner.fence_broker(id), response: Some(id) },
            None => Plan { records: Vec::new(), response: None },
        }
    }

    /// Fences a broker at once whose listener refuses connections, and answers whether it was not fenced already.
    /// Its next heartbeat unfences it, unless it was suspected often of late: then it has to wait, longer each time.
    pub fn suspect(&mut self, now: Instant, planner: &mut Planner<'_>, broker: BrokerId) -> Plan<bool> {
        let records = planner.fence_broker(broker);
        if records.is_empty() {
            return Plan { records, response: false };
        }
        let earlier = self.suspicions.get(&broker).filter(|s| now.since(s.last) < FORGET).map_or(0, |s| s.times);
        let wait = match earlier {
            0 => Duration::ZERO,
            times => BACKOFF_MIN.saturating_mul(1 << (times - 1).min(10)).min(BACKOFF_MAX),
        };
        self.suspicions.insert(broker, Suspicion { times: earlier + 1, last: now, until: now.after(wait) });
        Plan { records, response: true }
    }

    /// When [`Self::expire`] has to be called next.
    #[must_use]
    pub fn deadline(&self, image: &Image) -> Option<Instant> {
        self.watched(image).map(|(heard, _)| heard.after(self.session)).min()
    }

    /// Who is not fenced, and when it was heard of.
    fn watched<'a>(&'a self, image: &'a Image) -> impl Iterator<Item = (Instant, BrokerId)> + 'a {
        image.brokers().iter().filter(|(_, b)| !b.is_fenced).map(|(id, _)| (self.last_heard(*id), *id))
    }

    fn last_heard(&self, broker: BrokerId) -> Instant {
        self.heard.get(&broker).map_or(self.since, |h| h.at)
    }
}

/// Whether the broker has replayed its own registration: before that it does not know what it is asked to do.
fn is_caught_up(broker: &Registration, request: &BrokerHeartbeatRequest) -> bool {
    request.current_metadata_offset.0 >= broker.epoch
}
