//! `InitProducerId` for idempotent producers: ids from a block that the metadata log says is ours, so that none is ever given twice.
//!
//! A block that was committed and not used up when the broker stops is lost, as in Kafka (KIP-730).

use super::calls::Asker;
use super::io::{Lane, Unreachable};
use super::{Broker, Timer, Token};
use crate::error::ErrorCode;
use crate::id::{ProducerEpoch, ProducerId};
use crate::wire::Response;
use crate::wire::api::allocate_producer_ids::AllocateProducerIdsRequest;
use crate::wire::api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use std::time::Duration;

/// A question for a block that came to nothing is asked again after so long.
const RETRY: Duration = Duration::from_millis(50);

/// What is left of the block, and who waits for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct ProducerIds {
    next: i64,
    end: i64,
    waiting: Vec<Token>,
    /// The next block is proposed and not committed.
    is_asked: bool,
}

impl Broker {
    pub(super) fn init_producer_id(&mut self, token: Token, body: &InitProducerIdRequest) {
        // Transactions are not served here: whoever asks for one is told so, and never given an id that would not fence.
        // An id without its epoch, or the other way round, means nothing.
        let is_half = (body.producer_id == ProducerId::NONE) != (body.producer_epoch == ProducerEpoch(-1));
        if body.transactional_id.is_some() || is_half {
            let error_code = ErrorCode::INVALID_REQUEST;
            let refused = InitProducerIdResponse { error_code, producer_epoch: ProducerEpoch(-1), ..Default::default() };
            return self.reply(token, refused.into());
        }
        self.admin.ids.waiting.push(token);
        self.give_producer_ids();
    }

    /// The controller has answered: a block of ids is ours, or it must be asked again.
    pub(super) fn producer_ids_answered(&mut self, outcome: Result<Response, Unreachable>) {
        self.admin.ids.is_asked = false;
        match outcome {
            Ok(Response::AllocateProducerIds(given)) if given.error_code == ErrorCode::NONE && given.producer_id_len > 0 => {
                assert!(self.admin.ids.end <= given.producer_id_start.0, "a block of producer ids overlaps the one before");
                self.admin.ids.next = given.producer_id_start.0;
                self.admin.ids.end = given.producer_id_start.0 + i64::from(given.producer_id_len);
                self.give_producer_ids();
            }
            Ok(_) | Err(_) => drop(self.timer(RETRY, Timer::Ids)),
        }
    }

    /// Answers who waits from what is left; asks for another block when nothing is.
    pub(super) fn give_producer_ids(&mut self) {
        let ids = &mut self.admin.ids;
        let left = usize::try_from(ids.end - ids.next).expect("next never passes end");
        let served: Vec<Token> = ids.waiting.drain(..ids.waiting.len().min(left)).collect();
        let first = ids.next;
        ids.next += i64::try_from(served.len()).expect("no more than are left");
        for (token, id) in served.into_iter().zip(first..) {
            let given = InitProducerIdResponse { producer_id: ProducerId(id), producer_epoch: ProducerEpoch(0), ..Default::default() };
            self.reply(token, given.into());
        }
        if self.admin.ids.waiting.is_empty() || self.admin.ids.is_asked {
            return;
        }
        let (broker_id, broker_epoch) = (self.config.broker.id, self.life.epoch.unwrap_or(-1));
        let request = AllocateProducerIdsRequest { broker_id, broker_epoch };
        self.admin.ids.is_asked = self.call_controller(Lane::Control, request.into(), Asker::ProducerIds);
        if !self.admin.ids.is_asked {
            self.timer(RETRY, Timer::Ids);
        }
    }
}
