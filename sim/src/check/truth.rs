//! What of a partition is committed: found out from its leaders, and true for ever.

use super::replica::{Content, Replica, Voters};
use klamm_core::id::Offset;
use std::collections::BTreeMap;

/// The committed part of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) content: Content,
    /// Who votes from which batch of the metadata log on.
    pub(super) voters: BTreeMap<Offset, Voters>,
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
                    None if *base >= self.high => {
                        self.content.insert(*base, held.clone());
                        self.voters.extend(replica.voters.get(base).map(|voters| (*base, voters.clone())));
                    }
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
        self.is_held_below(replica, replica.durable)
    }

    fn is_held_below(&self, replica: &Replica, end: Offset) -> Result<(), String> {
        if end < self.high {
            return Err(format!("it holds what is below {end}, and {} is committed", self.high));
        }
        match self.content.last_key_value().filter(|(base, held)| !replica.holds(**base, held)) {
            Some((base, held)) => Err(format!("at offset {base} it holds {:?}, and {held:?} is committed", replica.content.get(base))),
            None => Ok(()),
        }
    }

    /// Whether a replica that leads the metadata quorum holds everything, be it durable yet or not.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn is_known_to(&self, replica: &Replica) -> Result<(), String> {
        self.is_held_below(replica, replica.end)
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
