//! What keeps this broker from its registration: said once for each reason, and borne for `initial.broker.registration.timeout.ms` at the start.
//!
//! Source: Kafka's `BrokerLifecycleManager` (`BrokerRegistrationResponseEvent`, `RegistrationTimeoutEvent`).

use super::boot::Phase;
use super::io::{Level, Unreachable};
use super::{Broker, Timer, ms};
use crate::error::ErrorCode;
use crate::time::Instant;
use std::collections::BTreeSet;

/// Why an attempt to register came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Refusal {
    /// The active controller said no.
    Code(ErrorCode),
    /// It did not answer.
    Unanswered(Unreachable),
    /// Nobody is known to be the active controller.
    NoController,
}

/// Attempts to register.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    /// Those that the log has told of since the last registration.
    said: BTreeSet<Refusal>,
    last: Option<Refusal>,
    /// Until when the first registration must be there.
    until: Option<Instant>,
    /// It was not there in time: how the process ends.
    pub(super) gave_up: Option<String>,
}

impl Broker {
    /// The time begins in which this process must register. That later registrations take their time ends no process.
    pub(super) fn expect_registration(&mut self) {
        if self.config.quorum.roles.broker {
            let within = ms(self.config.broker.registration_timeout_ms.into());
            self.life.refusals.until = Some(self.timer(within, Timer::Registration));
        }
    }

    pub(super) fn not_registered(&mut self, why: Refusal) {
        self.life.refusals.last = Some(why);
        // Who asks before an election is over is sent on, and whether a controller is known is said where that changes.
        let passes = matches!(why, Refusal::NoController | Refusal::Code(ErrorCode::NOT_CONTROLLER));
        if !passes && self.life.refusals.said.insert(why) {
            let text = format!("this broker cannot register and tries again: {}", self.explain(why));
            self.note(Level::Warn, text);
        }
    }

    pub(super) fn has_registered(&mut self, epoch: i64) {
        self.note(Level::Info, format!("this broker is registered, with broker epoch {epoch}"));
        self.begins_fenced();
        // Who has given up is on its way down, and goes on.
        let refusals = &mut self.life.refusals;
        refusals.said.clear();
        refusals.last = None;
        if let Some(until) = refusals.until.take() {
            self.timers.remove(&(until, Timer::Registration));
        }
    }

    /// The time to register is over.
    pub(super) fn give_up_registration(&mut self) {
        if self.phase == Phase::Stopping {
            return;
        }
        let why = self.explain(self.life.refusals.last.unwrap_or(Refusal::NoController));
        let within = self.config.broker.registration_timeout_ms;
        self.life.refusals.until = None;
        self.life.refusals.gave_up =
            Some(format!("this broker could not register within initial.broker.registration.timeout.ms={within}: {why}"));
        self.leave();
    }

    /// What it is, and what the operator can do.
    fn explain(&self, why: Refusal) -> String {
        let (config, controller) = (&self.config.broker, self.quorum.as_ref().and_then(|quorum| quorum.leader()));
        let id = config.id;
        match why {
            Refusal::Code(code @ ErrorCode::DUPLICATE_BROKER_REGISTRATION) => format!(
                "{code}: the controller holds another process to be broker {id}. If two have node.id={id}, stop one; \
                 if the former one was killed, its session is soon over"
            ),
            Refusal::Code(code @ ErrorCode::INCONSISTENT_CLUSTER_ID) => format!(
                "{code}: these folders were formatted for cluster {}, and the controller is of another one: \
                 look at controller.quorum.bootstrap.servers and at cluster.id in meta.properties",
                config.cluster
            ),
            Refusal::Code(code @ ErrorCode::INVALID_REGISTRATION) => format!(
                "{code}: another broker has registered one of these log directories. A copied folder keeps its directory.id: \
                 empty the copy and format it"
            ),
            Refusal::Code(code @ ErrorCode::UNSUPPORTED_VERSION) => format!(
                "{code}: the cluster's features have levels that this version does not know: start a newer one \
                 (kafka-features describe shows them)"
            ),
            Refusal::Code(code) => format!("the controller answers {code}"),
            Refusal::Unanswered(how) => {
                let who = controller.map_or_else(String::new, |(id, at)| format!(", node {id} at {}:{},", at.host, at.port));
                format!("the active controller{who} {how}")
            }
            Refusal::NoController => "no active controller was found: a majority of the voters must run, and be reached at \
                                      controller.quorum.bootstrap.servers (or controller.quorum.voters)"
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::io::{Effect, Halt};
    use super::*;
    use crate::time::Now;
    use crate::wire::api::broker_registration::BrokerRegistrationResponse;
    use std::time::Duration;

    fn answered(broker: &mut Broker, error_code: ErrorCode) {
        broker.registered(Ok(BrokerRegistrationResponse { error_code, broker_epoch: 9, ..Default::default() }.into()));
    }

    fn told(broker: &mut Broker) -> Vec<String> {
        let note = |effect| if let Effect::Note { text, .. } = effect { Some(text) } else { None };
        broker.effects.drain(..).filter_map(note).collect()
    }

    fn later(broker: &mut Broker, seconds: u64) {
        broker.now = Now { at: broker.now.at.after(Duration::from_secs(seconds)), ..broker.now };
        broker.fire_timers();
    }

    #[test]
    fn each_refusal_is_said_once_until_the_broker_is_registered() {
        let mut broker = Broker::for_tests();
        broker.expect_registration();
        for _ in 0..3 {
            answered(&mut broker, ErrorCode::DUPLICATE_BROKER_REGISTRATION);
            answered(&mut broker, ErrorCode::INCONSISTENT_CLUSTER_ID);
            answered(&mut broker, ErrorCode::NOT_CONTROLLER);
            broker.registered(Err(Unreachable::Refused));
        }
        let [duplicate, cluster, refused] = &told(&mut broker)[..] else { panic!("three reasons") };
        assert!(
            duplicate.contains("DUPLICATE_BROKER_REGISTRATION") && duplicate.contains("If two have node.id=1, stop one"),
            "{duplicate}"
        );
        assert!(cluster.contains("INCONSISTENT_CLUSTER_ID") && cluster.contains("cluster c"), "{cluster}");
        assert!(refused.ends_with("the active controller refuses connections"), "{refused}");
        answered(&mut broker, ErrorCode::NONE);
        assert_eq!(told(&mut broker), ["this broker is registered, with broker epoch 9"]);
        answered(&mut broker, ErrorCode::DUPLICATE_BROKER_REGISTRATION);
        assert_eq!(told(&mut broker).len(), 1);
    }

    #[test]
    fn a_broker_that_cannot_register_in_time_ends_and_says_why() {
        let mut broker = Broker::for_tests();
        broker.expect_registration();
        answered(&mut broker, ErrorCode::INCONSISTENT_CLUSTER_ID);
        broker.pending.clear();
        later(&mut broker, 59);
        assert!(!broker.effects.iter().any(|effect| matches!(effect, Effect::Halt { .. })));
        later(&mut broker, 1);
        broker.pending.clear();
        broker.stop_when_quiet();
        let Some(Effect::Halt { why: Halt::Unregistered { why } }) = broker.effects.pop_back() else { panic!("it goes on") };
        assert!(why.contains("initial.broker.registration.timeout.ms=60000: INCONSISTENT_CLUSTER_ID"), "{why}");
    }

    #[test]
    fn a_registration_ends_the_time_for_good() {
        let mut broker = Broker::for_tests();
        broker.expect_registration();
        answered(&mut broker, ErrorCode::NONE);
        answered(&mut broker, ErrorCode::DUPLICATE_BROKER_REGISTRATION);
        broker.pending.clear();
        later(&mut broker, 61);
        assert!(broker.life.refusals.gave_up.is_none());
    }
}
