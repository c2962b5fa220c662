//! `InitProducerId` for idempotent producers: ids from a block that the metadata log says is ours, so that none is ever given twice.
//!
//! A block that was committed and not used up when the broker stops is lost, as in Kafka (KIP-730).

use super::admin::After;
use super::{Broker, Token};
use crate::controller::Plan;
use crate::error::ErrorCode;
use crate::id::{ProducerEpoch, ProducerId};
use crate::wire::api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

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

    /// A block of ids is ours.
    pub(super) fn producer_ids_committed(&mut self, first: ProducerId, next: ProducerId) {
        assert!(self.admin.ids.end <= first.0, "a block of producer ids overlaps the one before");
        self.admin.ids.is_asked = false;
        self.admin.ids.next = first.0;
        self.admin.ids.end = next.0;
        self.give_producer_ids();
    }

    /// Answers who waits from what is left; asks for another block when nothing is.
    fn give_producer_ids(&mut self) {
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
        self.admin.ids.is_asked = true;
        let me = self.config.broker.id;
        let Plan { records, response: (first, next) } = self.plan(|planner| planner.producer_ids(me));
        self.propose(records, After::ProducerIds { first, next });
    }
}
