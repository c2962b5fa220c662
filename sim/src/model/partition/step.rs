//! What becomes of what a broker wants, and of what reaches it.

use super::net::{Body, Message};
use super::node::{CLIENT, Node, chance, ghost, id, opening, peer};
use super::script::{CONTROLLER_EPOCH, NAME, TOPIC};
use super::{BROKERS, CONTROLLER, State};
use klamm_core::broker::View;
use klamm_core::broker::io::{Effect, Input, Unreachable, fetched_of};
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, CallId, ConnId, CorrelationId, Offset, PartitionIndex};
use klamm_core::invariant::Verdict;
use klamm_core::time::Timestamp;
use klamm_core::wire::api::broker_heartbeat::BrokerHeartbeatResponse;
use klamm_core::wire::api::broker_registration::BrokerRegistrationResponse;
use klamm_core::wire::api::fetch::{FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData};
use klamm_core::wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use klamm_core::wire::batch::{Batch, Compression};
use klamm_core::wire::record::{BatchBuilder, Identity, Payload};
use klamm_core::wire::{Chunk, Records, Request, RequestHeader, Response};
use std::collections::VecDeque;
use std::sync::Arc;

/// These timers fire of themselves as soon as they are next: somebody tries again, and it does not matter when.
const FREE: [&str; 2] = ["a rest from fetching", "a change of an ISR"];
/// So many of them after one input.
const FREE_MAX: usize = 2;
/// A process that has started is up by then.
const BOOT_STEPS: usize = 64;

type Queue = VecDeque<(usize, Input)>;

impl State {
    pub(super) fn node(&mut self, i: usize) -> &mut Node {
        self.touched |= 1 << i;
        Arc::make_mut(&mut self.nodes[i])
    }

    /// An input, and all that follows from it at once.
    pub(super) fn feed(&mut self, i: usize, input: Input) -> Verdict {
        let mut queue = Queue::from([(i, input)]);
        let mut free = FREE_MAX;
        loop {
            while let Some((i, input)) = queue.pop_front() {
                let node = self.node(i);
                node.broker.reseed(chance());
                node.broker.handle(node.now(), input);
                node.broker.check();
                while let Some(effect) = self.node(i).broker.poll() {
                    self.carry_out(i, effect, &mut queue)?;
                }
            }
            let node = self.node(i);
            let Some((at, why)) = node.broker.deadline() else { return Ok(()) };
            if at > node.clock && (!FREE.contains(&why) || free == 0) {
                return Ok(());
            }
            free = free.saturating_sub(usize::from(at > node.clock));
            node.clock = node.clock.max(at);
            queue.push_back((i, Input::Tick));
        }
    }

    fn carry_out(&mut self, i: usize, effect: Effect, queue: &mut Queue) -> Verdict {
        match effect {
            Effect::Store { ticket, op } => {
                let outcome = self.node(i).execute(ticket, op);
                queue.extend(outcome.map(|outcome| (i, Input::Stored { ticket, outcome })));
            }
            Effect::Call { call, to, version, body } => return self.call(i, call, to.id, version, body, queue),
            Effect::Reply { conn: CLIENT, correlation, body, .. } => return self.acknowledged(correlation, &body),
            Effect::Reply { conn, correlation, body, .. } => self.reply(i, conn, correlation, body),
            Effect::HangUp { call } => self.hang_up(i, call, queue),
            Effect::Halt { why } => return Err(format!("{} halts: {why:?}", id(i))),
            Effect::Close { why, .. } => return Err(format!("{} closes a connection: {why}", id(i))),
            Effect::Done { .. } | Effect::Mute { .. } | Effect::Unmute { .. } | Effect::Note { .. } => {}
        }
        Ok(())
    }

    // --- calls ----------------------------------------------------------------------------------------------------------------------------

    #[expect(clippy::wildcard_enum_match_arm, reason = "of all requests, those that a broker without clients has for its controller")]
    fn call(&mut self, i: usize, call: CallId, to: BrokerId, version: i16, body: Request, queue: &mut Queue) -> Verdict {
        let node = self.node(i);
        node.open.insert(call);
        let life = node.life;
        if to.0 > 0 && to.0 != 4 {
            let to = usize::try_from(to.0 - 1).expect("ids count from 1");
            self.net.push(Arc::new(Message::new(i, to, Some((life, call)), Body::Ask { version, body })));
            return Ok(());
        }
        let answer = match body {
            Request::Fetch(fetch) => {
                let asked = fetch.topics.iter().flat_map(|topic| &topic.partitions).next().ok_or("a fetch of nothing")?;
                if asked.current_leader_epoch == CONTROLLER_EPOCH {
                    self.node(i).metadata = Some((call, asked.fetch_offset));
                    return Ok(());
                }
                metadata(ErrorCode::FENCED_LEADER_EPOCH, None)
            }
            Request::BrokerRegistration(request) => {
                let broker_epoch = Arc::make_mut(&mut self.script).register(&request);
                BrokerRegistrationResponse { broker_epoch, ..Default::default() }.into()
            }
            Request::BrokerHeartbeat(_) => BrokerHeartbeatResponse { is_caught_up: true, is_fenced: false, ..Default::default() }.into(),
            body @ Request::AlterPartition(_) => {
                self.net.push(Arc::new(Message::new(i, CONTROLLER, Some((life, call)), Body::Ask { version, body })));
                return Ok(());
            }
            other => return Err(format!("{} asks the controller for {:?}", id(i), other.api())),
        };
        self.node(i).open.remove(&call);
        queue.push_back((i, answer_of(call, answer)));
        Ok(())
    }

    fn reply(&mut self, i: usize, conn: ConnId, correlation: CorrelationId, body: Response) {
        let Some((to, life, call)) = self.node(i).owed.remove(&(conn, correlation)) else { return };
        let body = self.nodes[i].in_memory(body);
        self.net.push(Arc::new(Message::new(i, to, Some((life, call)), Body::Answer(body))));
    }

    /// Nobody waits for a call any more: the connection that it hangs on is closed. A question on its way may arrive all the same.
    fn hang_up(&mut self, i: usize, call: CallId, queue: &mut Queue) {
        let node = self.node(i);
        node.open.remove(&call);
        let which = (node.life, call);
        node.metadata.take_if(|(other, _)| *other == call);
        self.net.retain(|message| !(message.to == i && message.call == Some(which) && matches!(message.body, Body::Answer(_))));
        for message in self.net.iter_mut().filter(|message| message.from == i && message.call == Some(which)) {
            *message = Arc::new(Message::new(i, message.to, None, message.body.clone()));
        }
        for j in (0..BROKERS).filter(|j| *j != i) {
            if self.nodes[j].owed.values().any(|owed| *owed == (i, which.0, call)) {
                self.node(j).owed.retain(|_, owed| *owed != (i, which.0, call));
                queue.extend([(j, Input::Closed { conn: peer(i) }), (j, opening(peer(i)))]);
            }
        }
    }

    /// A message arrives.
    pub(super) fn arrive(&mut self, message: &Message) -> Verdict {
        let (from, to) = (message.from, message.to);
        match &message.body {
            Body::Ask { body: Request::AlterPartition(ask), .. } => {
                let answer = Arc::make_mut(&mut self.script).alter(ask);
                if let Some((life, _)) = message.call
                    && self.nodes[from].life == life
                {
                    self.net.push(Arc::new(Message::new(CONTROLLER, from, message.call, Body::Answer(answer.into()))));
                }
                Ok(())
            }
            Body::Ask { version, body } => {
                let (conn, call) = match message.call {
                    Some((life, call)) if self.nodes[from].life == life => (peer(from), Some((life, call))),
                    Some(_) | None => (ghost(from), None),
                };
                let correlation = CorrelationId(call.map_or(0, |(_, call)| i32::try_from(call.0).expect("few calls")));
                if let Some((life, call)) = call {
                    self.node(to).owed.insert((conn, correlation), (from, life, call));
                }
                let header = RequestHeader { api: body.api(), version: *version, correlation, client_id: None };
                self.feed(to, Input::Request { conn, header, body: body.clone(), batches: Vec::new() })?;
                if call.is_none() {
                    self.feed(to, Input::Closed { conn })?;
                    self.feed(to, opening(conn))?;
                }
                Ok(())
            }
            Body::Answer(body) => {
                let Some((_, call)) = message.call else { return Ok(()) };
                self.node(to).open.remove(&call);
                self.feed(to, answer_of(call, body.clone()))
            }
        }
    }

    /// A message is lost with its connection, which whoever waits for the answer hears.
    pub(super) fn lose(&mut self, message: &Message) -> Verdict {
        let i = message.caller();
        let Some((life, call)) = message.call else { return Ok(()) };
        if self.nodes[i].life != life || !self.node(i).open.remove(&call) {
            return Ok(());
        }
        self.feed(i, Input::Answer { call, outcome: Err(Unreachable::Lost), batches: Vec::new() })
    }

    // --- metadata -------------------------------------------------------------------------------------------------------------------------

    /// Whether a broker can be told more of the metadata.
    pub(super) fn lags(&self, i: usize) -> bool {
        self.nodes[i].metadata.is_some_and(|(_, from)| from < self.script.end())
    }

    /// A broker reads one more batch of the metadata log, or hears that there is nothing.
    pub(super) fn inform(&mut self, i: usize) -> Verdict {
        let Some((call, from)) = self.node(i).metadata.take() else { return Ok(()) };
        self.node(i).open.remove(&call);
        let batch = self.script.at(from).cloned();
        self.feed(i, answer_of(call, metadata(ErrorCode::NONE, Some((from, batch)))))
    }

    // --- clients --------------------------------------------------------------------------------------------------------------------------

    /// Whether a broker takes itself for the leader.
    pub(super) fn leads(&self, i: usize) -> bool {
        self.nodes[i].broker.view().partitions().any(|partition| partition.id.topic == TOPIC && partition.leader().is_some())
    }

    /// A client sends one record with acks=all.
    pub(super) fn produce(&mut self, i: usize, number: u8) -> Verdict {
        let mut builder = BatchBuilder::new(Compression::None, None);
        let value = Some(format!("{number}").into());
        builder.push(Timestamp(i64::from(number)), &Payload { key: None, value, headers: Vec::new() });
        let batch = builder.finish(Identity::NONE);
        Arc::make_mut(&mut self.truth).sent(number, &batch);
        let data = PartitionProduceData { index: PartitionIndex(0), ..Default::default() };
        let data = TopicProduceData { name: NAME.to_owned(), partition_data: vec![data], ..Default::default() };
        let request: Request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![data], ..Default::default() }.into();
        let header = RequestHeader { api: request.api(), version: 9, correlation: CorrelationId(number.into()), client_id: None };
        self.feed(i, Input::Request { conn: CLIENT, header, body: request, batches: vec![Ok(batch)] })
    }

    fn acknowledged(&mut self, correlation: CorrelationId, body: &Response) -> Verdict {
        let Response::Produce(body) = body else { return Err(format!("another answer: {body:?}")) };
        let Some(answer) = body.responses.iter().flat_map(|topic| &topic.partition_responses).next() else { return Ok(()) };
        if !answer.error_code.is_none() {
            return Ok(());
        }
        // What it counts as committed is looked at when the step is over; the answer came with it.
        self.acknowledged.push((correlation.0.try_into().expect("few"), answer.base_offset));
        Ok(())
    }

    // --- processes ------------------------------------------------------------------------------------------------------------------------

    /// A process starts: it registers, and reads all the metadata.
    pub(super) fn boot(&mut self, i: usize) -> Verdict {
        for input in self.nodes[i].openings(BROKERS) {
            self.feed(i, input)?;
        }
        self.feed(i, Input::Tick)?;
        for _ in 0..BOOT_STEPS {
            let view = self.nodes[i].broker.view();
            let me = view.image().brokers().get(&id(i)).map(|me| me.incarnation);
            if me == Some(view.incarnation()) && self.nodes[i].metadata.is_some() && !self.lags(i) {
                return Ok(());
            }
            if self.lags(i) {
                self.inform(i)?;
                continue;
            }
            self.pass(i)?;
        }
        Err(format!("{} does not come up: {}", id(i), self.nodes[i].broker.summary()))
    }

    /// The next timer of a node fires.
    pub(super) fn pass(&mut self, i: usize) -> Verdict {
        let node = self.node(i);
        let Some((at, _)) = node.broker.deadline() else { return Ok(()) };
        node.clock = node.clock.max(at);
        self.feed(i, Input::Tick)
    }

    /// A process dies, and another one starts over what is left.
    pub(super) fn crash(&mut self, i: usize, kept: usize) -> Verdict {
        let mut heard: Vec<(usize, Input)> = Vec::new();
        let life = self.nodes[i].life;
        // Answers to it go nowhere; what it has asked may arrive.
        self.net.retain(|message| !(message.to == i && matches!(message.body, Body::Answer(_))));
        for message in self.net.iter_mut().filter(|message| message.from == i && matches!(message.body, Body::Ask { .. })) {
            *message = Arc::new(Message::new(i, message.to, None, message.body.clone()));
        }
        // Whoever waits for an answer of it hears that the connection is gone.
        let lost: Vec<(usize, CallId)> = self.nodes[i].owed.values().map(|(from, _, call)| (*from, *call)).collect();
        for (from, call) in lost {
            self.node(from).open.remove(&call);
            heard.push((from, Input::Answer { call, outcome: Err(Unreachable::Lost), batches: Vec::new() }));
        }
        for j in (0..BROKERS).filter(|j| *j != i) {
            self.node(j).owed.retain(|_, (from, of, _)| (*from, *of) != (i, life));
            heard.extend([(j, Input::Closed { conn: peer(i) }), (j, opening(peer(i)))]);
        }
        self.node(i).restart(i, kept);
        for (j, input) in heard {
            self.feed(j, input)?;
        }
        self.boot(i)
    }
}

impl Node {
    /// An answer with what its regions stand for.
    fn in_memory(&self, mut body: Response) -> Response {
        let Response::Fetch(fetch) = &mut body else { return body };
        for answer in fetch.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
            let Some(records) = &mut answer.records else { continue };
            let mut bytes = Vec::new();
            for chunk in &records.0 {
                match chunk {
                    Chunk::Bytes(piece) => bytes.extend_from_slice(piece),
                    Chunk::Region(region) => self.read(region).iter().for_each(|piece| bytes.extend_from_slice(piece)),
                }
            }
            *records = if bytes.is_empty() { Records::default() } else { bytes::Bytes::from(bytes).into() };
        }
        body
    }
}

fn answer_of(call: CallId, body: Response) -> Input {
    let batches = fetched_of(&body);
    Input::Answer { call, outcome: Ok(body), batches }
}

/// The controller's answer to a fetch of the metadata log: one batch, all of which is committed.
fn metadata(error_code: ErrorCode, batch: Option<(Offset, Option<Batch>)>) -> Response {
    let mut answer =
        PartitionData { partition_index: View::METADATA.index, error_code, log_start_offset: Offset::ZERO, ..Default::default() };
    answer.current_leader = LeaderIdAndEpoch { leader_id: BrokerId(4), leader_epoch: CONTROLLER_EPOCH };
    if let Some((from, batch)) = batch {
        answer.high_watermark = batch.as_ref().map_or(from, |batch| batch.header().next_offset());
        let bytes: Vec<u8> = batch.iter().flat_map(Batch::pieces).flat_map(|piece| piece.to_vec()).collect();
        answer.records = Some(if bytes.is_empty() { Records::default() } else { bytes::Bytes::from(bytes).into() });
    }
    let topic = FetchableTopicResponse { topic_id: View::METADATA.topic, partitions: vec![answer], ..Default::default() };
    let node = NodeEndpoint { node_id: BrokerId(4), host: "n4".to_owned(), port: 9093, rack: None };
    FetchResponse { responses: vec![topic], node_endpoints: vec![node], ..Default::default() }.into()
}
