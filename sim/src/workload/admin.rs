//! Makes the run's topics, and asks again until they are there.

use super::{Book, PARTITIONS};
use crate::cluster::client::{Actor, FromClient, ToClient};
use klamm_core::client::io::Address;
use klamm_core::error::ErrorCode;
use klamm_core::id::{CallId, ConnId};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use klamm_core::wire::{Request, Response};
use std::collections::VecDeque;
use std::time::Duration;

const RETRY: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_secs(10);

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// What it is called.
    pub name: String,
    /// Replicas of each partition.
    pub replication: i16,
    /// Its settings.
    pub configs: Vec<(&'static str, String)>,
}

/// Creates topics, then has nothing more to do.
pub struct AdminActor {
    at: Vec<Address>,
    topics: Vec<NewTopic>,
    book: Book,
    conn: ConnId,
    calls: u64,
    /// When to begin anew.
    again: Option<Instant>,
    out: VecDeque<FromClient>,
}

impl AdminActor {
    /// Topics of `PARTITIONS` partitions each.
    #[must_use]
    pub fn new(at: Vec<Address>, topics: Vec<NewTopic>, book: Book) -> Self {
        Self { at, topics, book, conn: ConnId(0), calls: 0, again: Some(Instant::default()), out: VecDeque::new() }
    }

    fn ask(&mut self) {
        self.calls += 1;
        let config = |(name, value): &(&str, String)| CreatableTopicConfig { name: (*name).to_owned(), value: Some(value.clone()) };
        let topic = |topic: &NewTopic| CreatableTopic {
            name: topic.name.clone(),
            num_partitions: PARTITIONS as i32,
            replication_factor: topic.replication,
            configs: topic.configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: self.topics.iter().map(topic).collect(), timeout_ms: 5_000, ..Default::default() };
        let request = Box::new(Request::CreateTopics(request));
        self.out.push_back(FromClient::Send { conn: self.conn, call: CallId(self.calls), version: 7, request, answered: true });
    }

    fn answered(&mut self, now: Now, response: &Response) {
        let Response::CreateTopics(response) = response else { return };
        for topic in &response.topics {
            match topic.error_code {
                ErrorCode::NONE | ErrorCode::TOPIC_ALREADY_EXISTS => self.topics.retain(|made| made.name != topic.name),
                ErrorCode::REQUEST_TIMED_OUT | ErrorCode::NOT_CONTROLLER | ErrorCode::KAFKA_STORAGE_ERROR => {}
                // The other brokers are not there yet.
                ErrorCode::INVALID_REPLICATION_FACTOR if self.at.len() > 1 => {}
                other => self.book.borrow_mut().violations.push(format!("creating {} was refused: {other:?}", topic.name)),
            }
        }
        self.again = if self.topics.is_empty() { None } else { Some(now.at.after(RETRY)) };
        if self.topics.is_empty() {
            self.out.push_back(FromClient::Close { conn: self.conn });
            self.book.borrow_mut().topics_made = true;
        }
    }
}

impl Actor for AdminActor {
    fn handle(&mut self, now: Now, input: ToClient) {
        match input {
            ToClient::Tick if self.again.is_some_and(|at| at <= now.at) => {
                self.out.push_back(FromClient::Close { conn: self.conn });
                self.conn = ConnId(self.conn.0 + 1);
                self.again = Some(now.at.after(TIMEOUT));
                self.out.push_back(FromClient::Connect { conn: self.conn, to: self.at[self.conn.0 as usize % self.at.len()].clone() });
            }
            ToClient::Tick => {}
            ToClient::Connected { .. } => self.ask(),
            ToClient::Closed { conn } if conn == self.conn && !self.topics.is_empty() => self.again = Some(now.at.after(RETRY)),
            ToClient::Closed { .. } => {}
            ToClient::Answer { response, .. } => self.answered(now, &response),
        }
    }

    fn poll(&mut self) -> Option<FromClient> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.again
    }
}
