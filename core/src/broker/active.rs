//! What only the active controller does: watch over brokers, and answer what brokers ask of it.
//!
//! Which records follow is decided in `controller`. Here they are proposed, and what is due is looked at in time.

use super::admin::After;
use super::{Broker, Timer, Token, ms};
use crate::controller::{Liveness, Plan, Planner};
use crate::probe;
use crate::time::Instant;
use crate::wire::api::broker_heartbeat::BrokerHeartbeatRequest;
use crate::wire::api::broker_registration::BrokerRegistrationRequest;

/// What the active controller keeps in memory only.
#[derive(Clone, Debug)]
pub(super) struct Duties {
    liveness: Liveness,
    due: Option<Instant>,
}

impl Broker {
    /// Everything in the log is committed, and this node leads it.
    pub(super) fn activate(&mut self) {
        probe!("a controller becomes active");
        self.admin.controller.activate();
        let session = ms(self.config.broker.session_timeout_ms.into());
        self.duties = Some(Duties { liveness: Liveness::new(self.now.at, session), due: None });
        let records = self.plan(|planner| Plan { records: planner.activate(), response: () }).records;
        self.propose(records, After::Nothing);
        self.watch_brokers();
        self.beat_now();
        self.retry_forwards();
    }

    /// Another node leads, or none: what was proposed and is not committed has an unknown fate.
    pub(super) fn deactivate(&mut self) {
        if self.duties.take().is_none() {
            return;
        }
        probe!("a controller is active no more");
        for id in self.admin.controller.deactivate() {
            if let Some(After::Reply { token, body }) = self.admin.committing.remove(&id) {
                self.fate_unknown(token, body.api());
            }
        }
    }

    /// Plans with what is known of brokers' lives.
    fn plan_lives<R>(&mut self, make: impl FnOnce(&mut Liveness, Instant, &mut Planner<'_>) -> Plan<R>) -> Option<Plan<R>> {
        let now = self.now.at;
        let duties = self.duties.as_mut()?;
        let mut planner = Planner { image: self.admin.controller.planned(), config: &self.config.broker, rng: &mut self.rng };
        Some(make(&mut duties.liveness, now, &mut planner))
    }

    pub(super) fn register_broker(&mut self, token: Token, body: &BrokerRegistrationRequest) {
        let at = self.admin.controller.end();
        let Some(Plan { records, response }) = self.plan_lives(|lives, now, planner| lives.register(now, planner, body, at)) else {
            return;
        };
        self.propose(records, After::Reply { token, body: Box::new(response.into()) });
        self.watch_brokers();
    }

    pub(super) fn heartbeat_of(&mut self, token: Token, body: &BrokerHeartbeatRequest) {
        let at = self.admin.controller.end();
        let Some(Plan { records, response }) = self.plan_lives(|lives, now, planner| lives.heartbeat(now, planner, body, at)) else {
            return;
        };
        self.propose(records, After::Reply { token, body: Box::new(response.into()) });
        self.watch_brokers();
    }

    /// Fences whoever was silent for too long, and looks again when the next one may be.
    pub(super) fn watch_brokers(&mut self) {
        loop {
            let Some(Plan { records, response }) = self.plan_lives(|lives, now, planner| lives.expire(now, planner)) else { return };
            if response.is_none() && records.is_empty() {
                break;
            }
            probe!("a silent broker is fenced");
            self.propose(records, After::Nothing);
        }
        let Some(duties) = &mut self.duties else { return };
        if let Some(before) = duties.due.take() {
            self.timers.remove(&(before, Timer::Brokers));
        }
        if let Some(at) = duties.liveness.deadline(self.admin.controller.planned()) {
            duties.due = Some(at);
            self.timers.insert((at, Timer::Brokers));
        }
    }
}
