//! What only the active controller does: watch over brokers, and answer what brokers ask of it.
//!
//! Which records follow is decided in `controller`. Here they are proposed, and what is due is looked at in time.

use super::admin::After;
use super::boot::Phase;
use super::calls::{Asker, CONTROL_TIMEOUT, LOCAL};
use super::forward::not_controller;
use super::io::{Lane, Level, Unreachable};
use super::{Broker, Timer, Token, ms};
use crate::controller::{CommitId, Liveness, Plan, Planner};
use crate::id::{BrokerId, ConnId};
use crate::quorum::State;
use crate::time::Instant;
use crate::wire::Response;
use crate::wire::api::api_versions::ApiVersionsRequest;
use crate::wire::api::broker_heartbeat::BrokerHeartbeatRequest;
use crate::wire::api::broker_registration::BrokerRegistrationRequest;
use crate::{mutant, probe};
use std::collections::BTreeMap;
use std::time::Duration;

/// So long the fate of a proposal is waited for, once its controller is active no more.
const DOUBT: Duration = Duration::from_secs(10);
/// When a door that was opened and shut again is tried next.
const DIAL_AGAIN: Duration = Duration::from_millis(20);

/// What the active controller keeps in memory only.
#[derive(Clone, Debug)]
pub(super) struct Duties {
    liveness: Liveness,
    due: Option<Instant>,
    /// By which connection each broker spoke to this controller last. One that it gave up may never close here.
    voices: BTreeMap<BrokerId, ConnId>,
}

impl Broker {
    /// Everything in the log is committed, and this node leads it.
    pub(super) fn activate(&mut self) {
        probe!("a controller becomes active");
        let epoch = self.quorum.as_ref().map_or(crate::id::LeaderEpoch(-1), |quorum| quorum.epoch());
        self.note(Level::Info, format!("this node is the active controller, in epoch {}", epoch.0));
        self.admin.controller.activate();
        let session = ms(self.config.broker.session_timeout_ms.into());
        self.duties = Some(Duties { liveness: Liveness::new(self.now.at, session), due: None, voices: BTreeMap::new() });
        let records = self.plan(|planner| Plan { records: planner.activate(), response: () }).records;
        self.propose(records, After::Nothing);
        self.watch_brokers();
        self.watch_leaders();
        // Who died with the controller before, or together with it, has no connection here that could close.
        let unfenced = self.image().brokers().iter().filter(|(_, broker)| !broker.is_fenced).map(|(id, _)| *id);
        unfenced.collect::<Vec<_>>().into_iter().for_each(|id| self.dial(id));
        self.beat_now();
        self.retry_forwards();
    }

    /// Another node leads, or none. What was proposed and is not committed is in doubt: nodes are sent to the next leader, which tells them in any case
    /// what holds. A client that asked again would be told that its topic exists already, or is gone already, so it waits until the fate is known.
    pub(super) fn deactivate(&mut self) {
        if self.duties.take().is_none() {
            return;
        }
        probe!("a controller is active no more");
        self.note(Level::Info, format!("this node is the active controller no more: {}", self.why_deposed()));
        self.admin.controller.deactivate();
        let of_nodes = |after: &After| matches!(after, After::Reply { body, .. } if not_controller(body.api()).is_some());
        let asked_by_nodes: Vec<CommitId> = self.admin.committing.iter().filter(|(_, after)| of_nodes(after)).map(|(id, _)| *id).collect();
        self.turn_away(asked_by_nodes);
        if let Some((last, _)) = self.admin.committing.last_key_value() {
            self.timer(DOUBT, Timer::InDoubt { last: *last });
        }
    }

    fn why_deposed(&self) -> String {
        match self.quorum.as_ref().map(|quorum| (quorum.role(), quorum.epoch(), quorum.is_voter())) {
            _ if self.phase == Phase::Stopping => "it stops".to_owned(),
            Some((State::Resigned, _, false)) => "it was removed from the voters".to_owned(),
            Some((State::Resigned, ..)) => "too few of the other voters fetch from it".to_owned(),
            Some((_, epoch, _)) => format!("epoch {epoch} has begun"),
            None => "it takes no part in the quorum".to_owned(),
        }
    }

    /// Nobody told what became of these proposals, the `last` among them: this node may be cut off, and others know. It may have led again since; what
    /// it proposed then has its own time.
    pub(super) fn doubt_no_more(&mut self, last: CommitId) {
        let left = self.admin.committing.range(..=last).map(|(id, _)| *id).collect();
        self.turn_away(left);
    }

    /// These proposals are not carried out, as far as this node can tell: who waits for them is to ask the next controller.
    pub(super) fn turn_away(&mut self, proposals: Vec<CommitId>) {
        for id in proposals {
            if let Some(After::Reply { token, body }) = self.admin.committing.remove(&id) {
                self.refer(token, body.api());
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
        self.speaks(body.broker_id, body.broker_epoch, token.conn);
        let at = self.admin.controller.end();
        let Some(Plan { records, response }) = self.plan_lives(|lives, now, planner| lives.heartbeat(now, planner, body, at)) else {
            return;
        };
        self.propose(records, After::Reply { token, body: Box::new(response.into()) });
        self.watch_brokers();
    }

    /// A broker was heard by a connection. What comes late, by one that it has given up for a newer one, says nothing of where it speaks now.
    fn speaks(&mut self, broker: BrokerId, epoch: i64, conn: ConnId) {
        let is_registered = self.planned().brokers().get(&broker).is_some_and(|known| known.epoch == epoch);
        let Some(duties) = self.duties.as_mut().filter(|_| is_registered && conn != LOCAL) else { return };
        let voice = duties.voices.entry(broker).or_insert(conn);
        *voice = conn.max(*voice);
    }

    /// A connection is gone. If a broker spoke by it, the broker's process may be.
    pub(super) fn voice_gone(&mut self, conn: ConnId) {
        let Some(duties) = &mut self.duties else { return };
        let of_it: Vec<BrokerId> = duties.voices.extract_if(.., |_, voice| *voice == conn).map(|(broker, _)| broker).collect();
        of_it.into_iter().for_each(|broker| self.dial(broker));
    }

    /// Asks at a broker's door whether somebody is at home.
    fn dial(&mut self, broker: BrokerId) {
        let Some(peer) = self.replica_peer(broker, Lane::Control).filter(|peer| peer.id != self.config.broker.id) else { return };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = ApiVersionsRequest { client_software_name: "klamm".to_owned(), client_software_version: version };
        self.call(peer, hello.into(), Asker::Suspect(broker), CONTROL_TIMEOUT);
    }

    /// Only a refusal is evidence that a process is gone: silence may be the network's. The broker is fenced by the ordinary path, and a false alarm
    /// is mended by its next heartbeat. A process that is about to be gone may still be connected to, and then closes without a word.
    pub(super) fn dialled(&mut self, broker: BrokerId, outcome: &Result<Response, Unreachable>) {
        match outcome {
            Err(Unreachable::Refused) => self.suspect(broker),
            Err(Unreachable::Lost) if mutant!(DialOnce) => {}
            Err(Unreachable::Lost) => drop(self.timer(DIAL_AGAIN, Timer::Dial(broker))),
            Ok(_) | Err(Unreachable::TimedOut) => {}
        }
    }

    /// Unless it speaks again.
    pub(super) fn dial_again(&mut self, broker: BrokerId) {
        let Some(duties) = &self.duties else { return };
        let is_silent = !duties.voices.contains_key(&broker);
        if is_silent && self.image().brokers().get(&broker).is_some_and(|broker| !broker.is_fenced) {
            probe!("a broker that closed a new connection without a word is asked again");
            self.dial(broker);
        }
    }

    fn suspect(&mut self, broker: BrokerId) {
        let Some(Plan { records, response }) = self.plan_lives(|lives, now, planner| lives.suspect(now, planner, broker)) else { return };
        if response {
            probe!("a broker whose door is shut is fenced");
            self.note(Level::Warn, format!("broker {broker} is fenced: its connection closed, and a new one is refused"));
            self.propose(records, After::Nothing);
            self.watch_brokers();
        }
    }

    /// Fences whoever was silent for too long, and looks again when the next one may be.
    pub(super) fn watch_brokers(&mut self) {
        loop {
            let Some(Plan { records, response }) = self.plan_lives(|lives, now, planner| lives.expire(now, planner)) else { return };
            if response.is_none() && records.is_empty() {
                break;
            }
            probe!("a silent broker is fenced");
            if let Some(broker) = response {
                self.note(Level::Warn, format!("broker {broker} is fenced: nothing was heard of it for its session"));
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;
    use crate::wire::api::create_topics::CreateTopicsResponse;

    /// A client waits for what this controller proposes, and then it leads no more.
    fn leads_for_a_while(broker: &mut Broker, proposal: u64) {
        broker.duties = Some(Duties { liveness: Liveness::new(broker.now.at, DOUBT), due: None, voices: BTreeMap::new() });
        let token = Token { conn: ConnId(1), seq: proposal };
        let body = Box::new(CreateTopicsResponse::default().into());
        broker.admin.committing.insert(CommitId(proposal), After::Reply { token, body });
        broker.deactivate();
    }

    fn doubts_after(broker: &mut Broker, pause: Duration) -> Vec<u64> {
        broker.now = Now { at: broker.now.at.after(pause), ..broker.now };
        broker.fire_timers();
        broker.admin.committing.keys().map(|id| id.0).collect()
    }

    #[test]
    fn each_proposal_is_waited_for_as_long_after_the_leadership_in_which_it_was_made() {
        let mut broker = Broker::for_tests();
        leads_for_a_while(&mut broker, 0);
        assert_eq!(doubts_after(&mut broker, Duration::from_secs(8)), [0]);
        leads_for_a_while(&mut broker, 1);
        assert_eq!(doubts_after(&mut broker, Duration::from_secs(3)), [1]);
        assert_eq!(doubts_after(&mut broker, Duration::from_secs(6)), [1]);
        assert_eq!(doubts_after(&mut broker, Duration::from_secs(1)), []);
    }
}
