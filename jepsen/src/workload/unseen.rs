//! Which keys hold records that were sent and that nobody has read yet.

use std::collections::BTreeMap;

use super::{polled_offsets, raise, sent_offsets};
use crate::history::{Key, Offset, Op};

#[derive(Clone, Debug, Default)]
pub(super) struct Unseen {
    sent: BTreeMap<Key, Offset>,
    polled: BTreeMap<Key, Offset>,
}

impl Unseen {
    /// Takes note of an operation that ended well.
    pub(super) fn completed(&mut self, op: &Op) {
        for (key, offset) in sent_offsets(op) {
            raise(&mut self.sent, key, offset);
            self.forget_if_caught_up(key);
        }
        for (key, offset) in polled_offsets(op) {
            raise(&mut self.polled, key, offset);
            self.forget_if_caught_up(key);
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.sent.keys().copied()
    }

    fn forget_if_caught_up(&mut self, key: Key) {
        if self.sent.get(&key) <= self.polled.get(&key) {
            self.sent.remove(&key);
        }
    }
}
