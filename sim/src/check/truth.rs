//! What of a partition is committed: found out from its leaders, and true for ever.

use super::replica::{Content, Replica};
use klamm_core::id::Offset;

/// The committed part of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) content: Content,
    pub(super) high: Offset,
}

impl Truth {
    /// A replica counts everything below `high` as committed.
    ///
    /// # Errors
    /// It holds something else there than what is committed; or it follows, and knows of more than any leader.
    pub(super) fn compare(&mut self, replica: &mut Replica, high: Offset, leads: bool) -> Result<(), String> {
        if high > self.high && !leads {
            return Err(format!("a follower counts everything below {high} as committed, and its leaders only below {}", self.high));
        }
        let from = replica.compared.max(replica.known_from());
        if from < high {
            for (base, held) in replica.content.range(from..high) {
                match self.content.get(base) {
                    Some(other) if held.is(other) => {}
                    None if *base >= self.high => drop(self.content.insert(*base, held.clone())),
                    // Before this leader's log began; whoever committed it told its content.
                    other => return Err(format!("at offset {base} it holds {held:?}, and {other:?} is committed")),
                }
            }
        }
        replica.compared = replica.compared.max(high);
        self.high = self.high.max(high);
        Ok(())
    }

    /// Whether a replica that may lead holds everything: its end is durable, and the last batch is the same, so that all before are.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn is_held_by(&self, replica: &Replica) -> Result<(), String> {
        if replica.durable < self.high {
            return Err(format!("it has {} durable, and {} is committed", replica.durable, self.high));
        }
        match self.content.last_key_value().filter(|(base, held)| !replica.holds(**base, held)) {
            Some((base, held)) => Err(format!("at offset {base} it holds {:?}, and {held:?} is committed", replica.content.get(base))),
            None => Ok(()),
        }
    }

    /// The same of every batch.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn is_held_wholly_by(&self, replica: &Replica) -> Result<(), String> {
        match self.content.iter().find(|(base, held)| !replica.holds(**base, held)) {
            Some((base, held)) => Err(format!("at offset {base} it holds {:?}, and {held:?} is committed", replica.content.get(base))),
            None => self.is_held_by(replica),
        }
    }
}
