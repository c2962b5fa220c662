//! What is on its way between brokers, and to the controller and back. It arrives in any order.

use super::node::Node;
use crate::model::canon::{self, Digest};
use klamm_core::id::CallId;
use klamm_core::wire::{Request, Response};
use std::hash::Hash as _;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Body {
    Ask { version: i16, body: Request },
    Answer(Response),
}

/// One message; the controller is the node behind the last.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The call, and the life of its node in which it was made; `None`: nobody waits for it any more.
    pub(super) call: Option<(u64, CallId)>,
    pub(super) body: Body,
    digest: u128,
}

impl Message {
    pub(super) fn new(from: usize, to: usize, call: Option<(u64, CallId)>, body: Body) -> Self {
        let digest = canon::digest(&(from, to, &body));
        Self { from, to, call, body, digest }
    }

    /// The node whose call this is of.
    pub(super) fn caller(&self) -> usize {
        match self.body {
            Body::Ask { .. } => self.from,
            Body::Answer(_) => self.to,
        }
    }

    /// What matters of it.
    pub(super) fn key(&self, nodes: &[Arc<Node>]) -> u128 {
        let mut digest = Digest::default();
        digest.wide(self.digest);
        let node = &nodes[self.caller()];
        self.call.filter(|(life, _)| *life == node.life).and_then(|(_, call)| node.rank(call)).hash(&mut digest);
        digest.end()
    }

    /// In words.
    pub(super) fn tell(&self) -> String {
        let what = match &self.body {
            Body::Ask { body: Request::Fetch(fetch), .. } => {
                let of = fetch.topics.iter().flat_map(|topic| &topic.partitions).next();
                let of = of.map(|it| {
                    format!("from {} in epoch {}, the last of epoch {}", it.fetch_offset, it.current_leader_epoch, it.last_fetched_epoch)
                });
                format!("fetch {}", of.unwrap_or_default())
            }
            Body::Ask { body: Request::AlterPartition(ask), .. } => {
                let isr = ask.topics.iter().flat_map(|topic| &topic.partitions).flat_map(|it| &it.new_isr_with_epochs);
                format!("in sync are {:?}?", isr.map(|member| member.broker_id.0).collect::<Vec<_>>())
            }
            Body::Ask { body, .. } => format!("{:?}", body.api()),
            Body::Answer(Response::Fetch(fetch)) => {
                let of = fetch.responses.iter().flat_map(|topic| &topic.partitions).next();
                let of = of.map(|it| {
                    let bytes = it.records.as_ref().map_or(0, klamm_core::wire::Records::len);
                    let diverging =
                        (it.diverging_epoch.epoch.0 >= 0).then(|| format!(", diverges behind {}", it.diverging_epoch.end_offset));
                    format!("{:?}, {bytes} bytes, committed below {}{}", it.error_code, it.high_watermark, diverging.unwrap_or_default())
                });
                format!("fetched {}", of.unwrap_or_default())
            }
            Body::Answer(body) => format!("answer of {:?}", body.api()),
        };
        format!("{} -> {}: {what}", self.from + 1, self.to + 1)
    }
}
