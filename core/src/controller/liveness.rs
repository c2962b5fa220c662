//! Who is alive: what the active controller heard from each broker, and when. Soft state, never in the log: a new controller grants
//! every broker that is not fenced a whole session.
//!
//! Source: Kafka's `BrokerHeartbeatManager` (KIP-631, KIP-841).

use super::image::Image;
use super::plan::{Plan, Planner};
use crate::error::ErrorCode;
use crate::id::{BrokerId, Offset};
use crate::time::Instant;
use crate::wire::api::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use crate::wire::api::broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse};
use std::collections::BTreeMap;
use std::time::Duration;

/// The sessions of brokers with the active controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Liveness {
    session: Duration,
    brokers: BTreeMap<BrokerId, Session>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    heard: Instant,
}

impl Liveness {
    /// This controller has become the active one: whoever is not fenced in `image` is taken to have been heard of now.
    #[must_use]
    pub fn new(now: Instant, session: Duration, image: &Image) -> Self {
        let brokers = image.brokers().iter().filter(|(_, b)| !b.is_fenced).map(|(id, _)| (*id, Session { heard: now })).collect();
        Self { session, brokers }
    }

    /// Whether `broker` is unfenced and was heard of within its session.
    #[must_use]
    pub fn has_session(&self, now: Instant, broker: BrokerId) -> bool {
        self.brokers.get(&broker).is_some_and(|s| now.since(s.heard) < self.session)
    }

    /// Plans a registration, and begins to watch the broker.
    pub fn register(
        &mut self,
        now: Instant,
        planner: &mut Planner<'_>,
        request: &BrokerRegistrationRequest,
        at: Offset,
    ) -> Plan<BrokerRegistrationResponse> {
        planner.register_broker(request, at, self.has_session(now, request.broker_id))
    }

    /// Plans what a heartbeat brings about: unfenced, fenced, controlled shutdown, or nothing.
    /// `at` is where the plan's first record will stand.
    pub fn heartbeat(
        &mut self,
        _now: Instant,
        _planner: &mut Planner<'_>,
        _request: &BrokerHeartbeatRequest,
        _at: Offset,
    ) -> Plan<BrokerHeartbeatResponse> {
        let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        Plan { records: Vec::new(), response: BrokerHeartbeatResponse { error_code, ..Default::default() } }
    }

    /// Fences the one broker that was silent for longest, if its session is over. Called again until it answers `None`,
    /// each time with what the last plan changed: one broker's fencing must be seen by the next one's elections.
    pub fn expire(&mut self, _now: Instant, _planner: &mut Planner<'_>) -> Plan<Option<BrokerId>> {
        Plan { records: Vec::new(), response: None }
    }

    /// Fences a broker at once whose listener refuses connections. Its next heartbeat unfences it, unless it has done so too often of late.
    pub fn suspect(&mut self, _now: Instant, _planner: &mut Planner<'_>, _broker: BrokerId) -> Plan<bool> {
        Plan { records: Vec::new(), response: false }
    }

    /// When [`Self::expire`] has to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.brokers.values().map(|s| s.heard.after(self.session)).min()
    }
}
