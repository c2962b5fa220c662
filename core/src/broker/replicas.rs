//! The replicas that lie on a broker, and which of them may have changed since somebody last looked: whoever looks after each input, at invariants say,
//! need not look at all of them.

use crate::partition::{Partition, PartitionId};
use std::collections::BTreeMap;
use std::collections::btree_map::ValuesMut;
use std::ops::Deref;

/// More than so many are not told apart.
const TOLD_APART: usize = 64;

/// Replicas by their partitions. Whatever may be changed counts as touched.
#[derive(Clone, Debug, Default)]
pub(super) struct Replicas {
    all: BTreeMap<PartitionId, Partition>,
    touched: Touched,
}

#[derive(Clone, Debug, Default)]
struct Touched {
    /// All of them may have been; `some` says nothing then.
    all: bool,
    /// Some of them more than once.
    some: Vec<PartitionId>,
}

impl Touched {
    fn note(&mut self, id: PartitionId) {
        if self.all || self.some.last() == Some(&id) {
            return;
        }
        self.some.push(id);
        if self.some.len() > TOLD_APART {
            self.note_all();
        }
    }

    fn note_all(&mut self) {
        self.all = true;
        self.some.clear();
    }
}

impl Deref for Replicas {
    type Target = BTreeMap<PartitionId, Partition>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Replicas {
    pub(super) fn get_mut(&mut self, id: &PartitionId) -> Option<&mut Partition> {
        self.touched.note(*id);
        self.all.get_mut(id)
    }

    pub(super) fn insert(&mut self, id: PartitionId, partition: Partition) -> Option<Partition> {
        self.touched.note(id);
        self.all.insert(id, partition)
    }

    pub(super) fn remove(&mut self, id: &PartitionId) -> Option<Partition> {
        self.all.remove(id)
    }

    pub(super) fn values_mut(&mut self) -> ValuesMut<'_, PartitionId, Partition> {
        self.touched.note_all();
        self.all.values_mut()
    }

    /// Those that may have changed since `forget_touched`, each once.
    pub(super) fn touched(&self) -> Vec<&Partition> {
        if self.touched.all {
            return self.all.values().collect();
        }
        let mut ids = self.touched.some.clone();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().filter_map(|id| self.all.get(id)).collect()
    }

    /// Whoever looks has looked at all that were touched.
    pub(super) fn forget_touched(&mut self) {
        self.touched.all = false;
        self.touched.some.clear();
    }

    /// All are to be looked at, whether they have changed or not.
    pub(super) fn touch_all(&mut self) {
        self.touched.note_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::broker::view::View;
    use crate::id::{PartitionIndex, Uuid};
    use std::sync::Arc;

    fn id(index: i32) -> PartitionId {
        PartitionId { topic: Uuid([1; 16]), index: PartitionIndex(index) }
    }

    fn replicas(count: i32) -> Replicas {
        let mut broker = Broker::for_tests();
        let config = Arc::new(broker.config.broker.topic_defaults());
        (0..count).for_each(|index| broker.create_partition(&"t".into(), id(index), &config));
        broker.partitions.remove(&View::METADATA);
        broker.forget_touched();
        broker.partitions
    }

    fn touched(replicas: &Replicas) -> Vec<i32> {
        replicas.touched().iter().map(|partition| partition.id.index.0).collect()
    }

    #[test]
    fn what_may_have_changed_is_touched_until_somebody_has_looked() {
        let mut replicas = replicas(4);
        assert!(touched(&replicas).is_empty());
        for index in [2, 0, 2, 9] {
            replicas.get_mut(&id(index));
        }
        assert_eq!(touched(&replicas), [0, 2], "once each, in their order, and none that is not here");
        replicas.forget_touched();
        assert!(touched(&replicas).is_empty());
        assert_eq!(replicas.values_mut().count(), 4);
        replicas.get_mut(&id(1));
        assert_eq!(touched(&replicas), [0, 1, 2, 3]);
    }

    #[test]
    fn where_nobody_looks_nothing_is_kept() {
        let mut replicas = replicas(100);
        assert!((0..100).all(|index| replicas.get_mut(&id(index)).is_some()));
        assert_eq!((replicas.touched.some.len(), replicas.touched().len()), (0, 100));
    }
}
