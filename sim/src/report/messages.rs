//! Messages on their way: who sent what to whom, when it came, and which partitions it speaks of.

use super::recording::Recording;
use crate::cluster::link::LinkId;
use klamm_core::error::ErrorCode;
use klamm_core::wire::api::alter_partition::{AlterPartitionRequest, AlterPartitionResponse};
use klamm_core::wire::api::fetch::{FetchRequest, FetchResponse, PartitionData};
use klamm_core::wire::api::produce::{ProduceRequest, ProduceResponse};
use klamm_core::wire::{Request, Response};
use std::collections::{BTreeMap, VecDeque};

/// So many messages are kept; of more, the oldest are forgotten.
const KEPT_MAX: usize = 300_000;
/// So many partitions of one message are named.
const NAMED_MAX: usize = 6;

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Node(u32),
    Client(u32),
}

/// One request, or the answer to one.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) sent: u64,
    /// When it was taken in, if it was.
    pub(super) came: Option<u64>,
    pub(super) from: End,
    pub(super) to: End,
    /// Kafka's name of the API.
    pub(super) api: &'static str,
    pub(super) is_answer: bool,
    /// Numbers of partitions, with what it says of them.
    pub(super) parts: Vec<(u16, String)>,
    /// What else it says.
    pub(super) text: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) kept: VecDeque<Message>,
    /// How many were forgotten.
    pub(super) forgotten: u64,
    /// By connection and direction, the numbers of those that are under way, in order.
    under_way: BTreeMap<(LinkId, bool), VecDeque<u64>>,
}

impl Messages {
    fn send(&mut self, way: (LinkId, bool), message: Message) {
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
            self.forgotten += 1;
        }
        self.kept.push_back(message);
        let number = self.forgotten + self.kept.len() as u64 - 1;
        self.under_way.entry(way).or_default().push_back(number);
    }

    fn come(&mut self, at: u64, way: (LinkId, bool)) {
        let number = self.under_way.get_mut(&way).and_then(VecDeque::pop_front);
        let place = number.and_then(|number| number.checked_sub(self.forgotten));
        if let Some(message) = place.and_then(|place| self.kept.get_mut(place as usize)) {
            message.came = Some(at);
        }
    }

    /// The connection is no more: what is under way on it is lost.
    fn lose(&mut self, link: LinkId) {
        self.under_way.remove(&(link, true));
        self.under_way.remove(&(link, false));
    }
}

impl Recording {
    /// A request leaves for a node.
    pub(crate) fn asks(&mut self, at: u64, link: LinkId, (from, to): (End, End), body: &Request) {
        let (parts, text) = self.words_of_request(body);
        let api = body.api().name();
        self.messages.send((link, true), Message { sent: at, came: None, from, to, api, is_answer: false, parts, text });
    }

    /// An answer leaves a node.
    pub(crate) fn answers(&mut self, at: u64, link: LinkId, (from, to): (End, End), body: &Response) {
        let (parts, text) = self.words_of_response(body);
        let api = body.api().name();
        self.messages.send((link, false), Message { sent: at, came: None, from, to, api, is_answer: true, parts, text });
    }

    /// The oldest message on that way is taken in.
    pub(crate) fn comes(&mut self, at: u64, link: LinkId, to_node: bool) {
        self.messages.come(at, (link, to_node));
    }

    /// The connection is no more.
    pub(crate) fn loses(&mut self, link: LinkId) {
        self.messages.lose(link);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "of all APIs, those that say something of replication")]
    fn words_of_request(&self, body: &Request) -> (Vec<(u16, String)>, String) {
        match body {
            Request::Fetch(fetch) => (self.fetch(fetch), String::new()),
            Request::Produce(produce) => (self.produce(produce), format!("acks={}", produce.acks)),
            Request::AlterPartition(asked) => (self.alter_partition(asked), String::new()),
            Request::Vote(vote) => {
                let asked = vote.topics.iter().flat_map(|topic| &topic.partitions).next();
                let words = asked.map(|asked| {
                    let pre = if asked.pre_vote { "pre-vote" } else { "vote" };
                    format!("{pre} for {} in epoch {}, whose log ends at {}", asked.replica_id, asked.replica_epoch, asked.last_offset)
                });
                (Vec::new(), words.unwrap_or_default())
            }
            Request::BeginQuorumEpoch(begin) => {
                let begun = begin.topics.iter().flat_map(|topic| &topic.partitions).next();
                (Vec::new(), begun.map(|begun| format!("{} leads in epoch {}", begun.leader_id, begun.leader_epoch)).unwrap_or_default())
            }
            Request::BrokerHeartbeat(beat) => {
                let wants = if beat.want_fence { ", wants to be fenced" } else { "" };
                (Vec::new(), format!("has metadata up to {}{wants}", beat.current_metadata_offset))
            }
            _ => (Vec::new(), String::new()),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "of all APIs, those that say something of replication")]
    fn words_of_response(&self, body: &Response) -> (Vec<(u16, String)>, String) {
        match body {
            Response::Fetch(fetch) => (self.fetched(fetch), of_code(fetch.error_code)),
            Response::Produce(produce) => (self.produced(produce), String::new()),
            Response::AlterPartition(altered) => (self.partition_altered(altered), of_code(altered.error_code)),
            Response::Vote(vote) => {
                let answered = vote.topics.iter().flat_map(|topic| &topic.partitions).next();
                let words = answered
                    .map(|answer| format!("{}, epoch {}", if answer.vote_granted { "granted" } else { "refused" }, answer.leader_epoch));
                (Vec::new(), words.unwrap_or_else(|| of_code(vote.error_code)))
            }
            Response::BrokerHeartbeat(beat) => (Vec::new(), of_code(beat.error_code)),
            _ => (Vec::new(), String::new()),
        }
    }

    fn fetch(&self, fetch: &FetchRequest) -> Vec<(u16, String)> {
        let all = fetch.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |asked| (topic, asked)));
        let words = all.filter_map(|(topic, asked)| {
            let number = self.number_of(topic.topic_id, &topic.topic, asked.partition)?;
            Some((number, format!("from {}, epoch {}", asked.fetch_offset, asked.current_leader_epoch)))
        });
        words.take(NAMED_MAX).collect()
    }

    fn fetched(&self, fetch: &FetchResponse) -> Vec<(u16, String)> {
        let all = fetch.responses.iter().flat_map(|topic| topic.partitions.iter().map(move |answer| (topic, answer)));
        let words = all.filter_map(|(topic, answer)| {
            Some((self.number_of(topic.topic_id, &topic.topic, answer.partition_index)?, of_fetched(answer)))
        });
        words.take(NAMED_MAX).collect()
    }

    fn produce(&self, produce: &ProduceRequest) -> Vec<(u16, String)> {
        let all = produce.topic_data.iter().flat_map(|topic| topic.partition_data.iter().map(move |data| (topic, data)));
        let words = all.filter_map(|(topic, data)| {
            let bytes = data.records.as_ref().map_or(0, klamm_core::wire::Records::len);
            Some((self.number_of(topic.topic_id, &topic.name, data.index)?, format!("{bytes} bytes")))
        });
        words.take(NAMED_MAX).collect()
    }

    fn produced(&self, produce: &ProduceResponse) -> Vec<(u16, String)> {
        let all = produce.responses.iter().flat_map(|topic| topic.partition_responses.iter().map(move |answer| (topic, answer)));
        let words = all.filter_map(|(topic, answer)| {
            let text = if answer.error_code.is_none() { format!("at {}", answer.base_offset) } else { of_code(answer.error_code) };
            Some((self.number_of(topic.topic_id, &topic.name, answer.index)?, text))
        });
        words.take(NAMED_MAX).collect()
    }

    fn alter_partition(&self, asked: &AlterPartitionRequest) -> Vec<(u16, String)> {
        let all = asked.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |asked| (topic, asked)));
        let words = all.filter_map(|(topic, asked)| {
            let new: Vec<i32> = match asked.new_isr_with_epochs.as_slice() {
                [] => asked.new_isr.iter().map(|id| id.0).collect(),
                named => named.iter().map(|state| state.broker_id.0).collect(),
            };
            let text = format!("wants the ISR {new:?} in epoch {}, partition epoch {}", asked.leader_epoch, asked.partition_epoch);
            Some((self.number_of(topic.topic_id, "", asked.partition_index)?, text))
        });
        words.take(NAMED_MAX).collect()
    }

    fn partition_altered(&self, altered: &AlterPartitionResponse) -> Vec<(u16, String)> {
        let all = altered.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |answer| (topic, answer)));
        let words = all.filter_map(|(topic, answer)| {
            let isr: Vec<i32> = answer.isr.iter().map(|id| id.0).collect();
            let granted = format!("the ISR is {isr:?}, partition epoch {}", answer.partition_epoch);
            let text = if answer.error_code.is_none() { granted } else { of_code(answer.error_code) };
            Some((self.number_of(topic.topic_id, "", answer.partition_index)?, text))
        });
        words.take(NAMED_MAX).collect()
    }
}

fn of_code(code: ErrorCode) -> String {
    if code.is_none() { String::new() } else { code.name().to_owned() }
}

fn of_fetched(answer: &PartitionData) -> String {
    if !answer.error_code.is_none() {
        return of_code(answer.error_code);
    }
    let bytes = answer.records.as_ref().map_or(0, klamm_core::wire::Records::len);
    let diverging = &answer.diverging_epoch;
    if diverging.epoch.0 >= 0 {
        return format!("diverges: epoch {} ends at {}", diverging.epoch, diverging.end_offset);
    }
    format!("{bytes} bytes, high watermark {}", answer.high_watermark)
}
