//! Calls to other nodes: who asked, and until when an answer is awaited. A call to this node itself takes the short way, and is answered like any other.

use super::io::{Effect, Lane, Peer, Unreachable};
use super::{Broker, Timer, Token};
use crate::id::{BrokerId, CallId, ConnId};
use crate::time::Instant;
use crate::wire::batch::{BadBatch, Batch};
use crate::wire::{Request, Response};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The connection that calls to this node itself come in by: no driver ever opens it.
pub(super) const LOCAL: ConnId = ConnId(u64::MAX);

/// How long an ordinary question to the active controller may take.
pub(super) const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// And for a client: to ask again while the first is being decided would have it refused as done already (Kafka's `controller.socket.timeout.ms`).
const FORWARD_TIMEOUT: Duration = Duration::from_secs(30);

/// What the edge made of the records in a fetch's answer: one entry for each partition, in order.
pub(super) type Fetched = Vec<Result<Vec<Batch>, BadBatch>>;

/// Who awaits an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asker {
    /// The metadata quorum, by its own number.
    Quorum(CallId),
    /// A fetch of the metadata log.
    Metadata,
    /// A fetch of a snapshot of it.
    Snapshot,
    /// A fetch of partitions that this broker leads.
    Fetcher(BrokerId),
    /// Where logs of that leader begin.
    Begins(BrokerId),
    /// And where they end.
    Ends(BrokerId),
    /// This broker's registration.
    Registration,
    /// A heartbeat.
    Heartbeat,
    /// Changes of ISRs.
    Isr,
    /// Where replicas lie.
    Places,
    /// A request that is forwarded for a client.
    Forward(Token),
    /// A block of producer ids.
    ProducerIds,
    /// Topics that the broker itself wants.
    Topics,
    /// Who this controller is.
    Introduction,
    /// Whether a broker's process is there.
    Suspect(BrokerId),
}

#[derive(Clone, Debug)]
struct Open {
    asker: Asker,
    deadline: Instant,
    /// Known by a driver: there is a connection to hang up.
    away: bool,
}

/// All calls under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    next: u64,
    open: BTreeMap<CallId, Open>,
    /// Calls to this node, not yet decided.
    local: VecDeque<(CallId, Request)>,
    /// And their answers.
    answers: VecDeque<(CallId, Response)>,
}

impl Broker {
    /// Asks `to`; the answer, or the lack of one within that time, goes to `asker`.
    pub(super) fn call(&mut self, to: Peer, body: Request, asker: Asker, within: Duration) {
        let call = CallId(self.calls.next);
        self.calls.next += 1;
        let deadline = self.timer(within, Timer::Call(call));
        let away = to.id != self.config.broker.id;
        self.calls.open.insert(call, Open { asker, deadline, away });
        if away {
            let version = *body.api().versions().end();
            self.effects.push_back(Effect::Call { call, to, version, body });
        } else {
            self.calls.local.push_back((call, body));
        }
    }

    /// Asks the active controller, if it is known. Says whether it is.
    pub(super) fn call_controller(&mut self, lane: Lane, body: Request, asker: Asker) -> bool {
        let Some((id, address)) = self.quorum.as_ref().and_then(|quorum| quorum.leader()) else { return false };
        let within = if lane == Lane::Forward { FORWARD_TIMEOUT } else { CONTROL_TIMEOUT };
        self.call(Peer { id, address, lane }, body, asker, within);
        true
    }

    /// The next call to this node itself.
    pub(super) fn next_local(&mut self) -> Option<(CallId, Request)> {
        self.calls.local.pop_front()
    }

    /// An answer to a call to this node itself is ready.
    pub(super) fn answer_local(&mut self, call: CallId, body: Response) {
        self.calls.answers.push_back((call, body));
    }

    /// The next answer to a call to this node itself.
    pub(super) fn next_local_answer(&mut self) -> Option<(CallId, Response)> {
        self.calls.answers.pop_front()
    }

    /// A call came back, or did not. One that nobody waits for any more is passed over.
    pub(super) fn answered(&mut self, call: CallId, outcome: Result<Response, Unreachable>, fetched: Fetched) {
        let Some(Open { asker, deadline, .. }) = self.calls.open.remove(&call) else { return };
        self.timers.remove(&(deadline, Timer::Call(call)));
        self.hand_over(asker, outcome, fetched);
    }

    fn hand_over(&mut self, asker: Asker, outcome: Result<Response, Unreachable>, fetched: Fetched) {
        match asker {
            Asker::Quorum(number) => self.quorum_answered(number, outcome),
            Asker::Metadata => self.metadata_fetched(outcome, fetched),
            Asker::Snapshot => self.snapshot_fetched(outcome),
            Asker::Fetcher(leader) => self.replicas_fetched(leader, outcome, fetched),
            Asker::Begins(leader) => self.begins_told(leader, outcome),
            Asker::Ends(leader) => self.ends_told(leader, outcome),
            Asker::Registration => self.registered(outcome),
            Asker::Heartbeat => self.heartbeat_answered(outcome),
            Asker::Isr => self.isr_answered(outcome),
            Asker::Places => self.places_answered(outcome),
            Asker::Forward(token) => self.forward_answered(token, outcome),
            Asker::ProducerIds => self.producer_ids_answered(outcome),
            Asker::Topics => self.topics_answered(outcome),
            Asker::Introduction => self.introduced(),
            Asker::Suspect(broker) => self.dialled(broker, &outcome),
        }
    }

    /// Nothing came in time: whatever connection it hangs on is not to be trusted.
    pub(super) fn call_timed_out(&mut self, call: CallId) {
        let Some(Open { asker, away, .. }) = self.calls.open.remove(&call) else { return };
        if away {
            self.effects.push_back(Effect::HangUp { call });
        }
        self.hand_over(asker, Err(Unreachable::TimedOut), Vec::new());
    }

    /// Nobody waits for what this asker wanted.
    pub(super) fn give_up(&mut self, asker: Asker) {
        let calls: Vec<CallId> = self.calls.open.iter().filter(|(_, open)| open.asker == asker).map(|(call, _)| *call).collect();
        for call in calls {
            let open = self.calls.open.remove(&call).expect("listed above");
            self.timers.remove(&(open.deadline, Timer::Call(call)));
            if open.away {
                self.effects.push_back(Effect::HangUp { call });
            }
        }
    }
}
