//! The next step of one member towards its target. Source: Kafka's `CurrentAssignmentBuilder`.
//!
//! ```text
//!                      must give up            has given up
//!   Stable ───────────────────────► Unrevoked ──────────────┐
//!     ▲  ▲                                                  │
//!     │  └──────────────────────────────────────────────────┤
//!     │   others have given up                              │ others hold something of its target
//!     └──────────────────────── Unreleased ◄────────────────┘
//! ```
//!
//! A partition goes from one member to another only by way of nobody: the one says that it no longer has it, and then the other is told of it.

use super::member::{Current, Holding, Parts, Progress, overlaps};
use crate::id::{PartitionIndex, Uuid};
use crate::probe;

/// What a member is to come to.
pub(super) struct Target<'a> {
    /// The assignment epoch.
    pub(super) epoch: i32,
    /// Its share in it.
    pub(super) parts: &'a Parts,
}

/// The member is to give up everything and to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MustRejoin;

/// Where a member is after this heartbeat. `owned` is what it says it has; nothing, where it does not say. `is_free` tells whether nobody holds a partition.
pub(super) fn reconcile(
    current: &Current,
    target: &Target<'_>,
    owned: Option<&Parts>,
    is_free: impl Fn(Uuid, PartitionIndex) -> bool,
) -> Result<Current, MustRejoin> {
    let owns = |holding: &Holding| owned.is_none_or(|owned| overlaps(owned, holding));
    let epoch = match current.progress {
        Progress::Stable if current.epoch == target.epoch => return Ok(current.clone()),
        Progress::Stable | Progress::Unreleased => current.epoch,
        Progress::Unrevoked if owns(&current.revoking) => return Ok(current.clone()),
        // It has come to the end of its epoch, and may be told of the newest target at once.
        Progress::Unrevoked => current.epoch + 1,
        Progress::Unknown if owned.is_none_or(|owned| !owned.is_empty()) => return Err(MustRejoin),
        Progress::Unknown => target.epoch,
    };
    let mut split = Split::of(&current.assigned, target, is_free);
    if !split.revoking.is_empty() && owns(&split.revoking) {
        probe!("a consumer was told to give up partitions");
        return Ok(Current {
            epoch,
            previous: current.epoch,
            progress: Progress::Unrevoked,
            assigned: split.kept,
            revoking: split.revoking,
        });
    }
    for (topic, index) in split.free {
        split.kept.entry(topic).or_default().insert(index, target.epoch);
    }
    let progress = if split.waits { Progress::Unreleased } else { Progress::Stable };
    Ok(Current { epoch: target.epoch, previous: current.epoch, progress, assigned: split.kept, revoking: Holding::new() })
}

/// What a member has and what it is to have, sorted.
struct Split {
    /// In both.
    kept: Holding,
    /// No longer in its target.
    revoking: Holding,
    /// New, and nobody's.
    free: Vec<(Uuid, PartitionIndex)>,
    /// Something of its target is held still.
    waits: bool,
}

impl Split {
    fn of(assigned: &Holding, target: &Target<'_>, is_free: impl Fn(Uuid, PartitionIndex) -> bool) -> Self {
        let mut split = Self { kept: Holding::new(), revoking: Holding::new(), free: Vec::new(), waits: false };
        for (topic, partitions) in assigned {
            let wanted = target.parts.get(topic);
            for (index, given) in partitions {
                let stays = wanted.is_some_and(|wanted| wanted.contains(index));
                let side = if stays { &mut split.kept } else { &mut split.revoking };
                side.entry(*topic).or_default().insert(*index, *given);
            }
        }
        for (topic, wanted) in target.parts {
            let has = assigned.get(topic);
            for index in wanted.iter().filter(|index| has.is_none_or(|has| !has.contains_key(index))) {
                if is_free(*topic, *index) {
                    split.free.push((*topic, *index));
                } else {
                    probe!("a consumer waits for a partition that another has not given up");
                    split.waits = true;
                }
            }
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Uuid = Uuid([1; 16]);

    fn parts(indexes: &[i32]) -> Parts {
        if indexes.is_empty() { Parts::new() } else { Parts::from([(T, indexes.iter().map(|i| PartitionIndex(*i)).collect())]) }
    }

    fn holding(indexes: &[i32], epoch: i32) -> Holding {
        if indexes.is_empty() {
            Holding::new()
        } else {
            Holding::from([(T, indexes.iter().map(|i| (PartitionIndex(*i), epoch)).collect())])
        }
    }

    fn stable(epoch: i32, assigned: &[i32]) -> Current {
        Current { epoch, previous: epoch, assigned: holding(assigned, epoch), ..Current::default() }
    }

    fn step(current: &Current, epoch: i32, target: &[i32], owned: Option<&[i32]>, busy: &[i32]) -> Current {
        let (target, owned) = (parts(target), owned.map(parts));
        let is_free = |_, index: PartitionIndex| !busy.contains(&index.0);
        reconcile(current, &Target { epoch, parts: &target }, owned.as_ref(), is_free).expect("a known state")
    }

    #[test]
    fn who_is_at_its_target_stays() {
        let current = stable(5, &[1]);
        assert_eq!(step(&current, 5, &[1], None, &[]), current);
    }

    #[test]
    fn new_partitions_are_given_with_the_new_epoch() {
        let next = step(&stable(5, &[1]), 6, &[1, 2], None, &[]);
        assert_eq!((next.epoch, next.previous, next.progress), (6, 5, Progress::Stable));
        assert_eq!(next.assigned, Holding::from([(T, [(PartitionIndex(1), 5), (PartitionIndex(2), 6)].into())]));
    }

    #[test]
    fn what_must_go_is_given_up_before_anything_is_given() {
        let told = step(&stable(5, &[1, 2]), 6, &[2, 3], Some(&[1, 2]), &[]);
        assert_eq!((told.epoch, told.progress), (5, Progress::Unrevoked));
        assert_eq!((&told.assigned, &told.revoking), (&holding(&[2], 5), &holding(&[1], 5)));
        assert_eq!(step(&told, 6, &[2, 3], None, &[]), told, "silence gives nothing up");
        assert_eq!(step(&told, 6, &[2, 3], Some(&[1]), &[]), told);
        let done = step(&told, 6, &[2, 3], Some(&[2]), &[]);
        assert_eq!((done.epoch, done.progress, done.revoking.is_empty()), (6, Progress::Stable, true));
        assert_eq!(super::super::member::parts(&done.assigned), parts(&[2, 3]));
    }

    #[test]
    fn the_target_may_move_on_while_partitions_are_given_up() {
        let told = step(&stable(5, &[1, 2]), 6, &[2], Some(&[1, 2]), &[]);
        let again = step(&told, 9, &[3], Some(&[2]), &[]);
        assert_eq!((again.epoch, again.progress), (6, Progress::Unrevoked));
        assert_eq!((again.assigned.is_empty(), again.revoking), (true, holding(&[2], 5)));
    }

    #[test]
    fn what_others_hold_is_waited_for() {
        let waits = step(&stable(5, &[1]), 6, &[1, 2, 3], None, &[2]);
        assert_eq!((waits.epoch, waits.progress), (6, Progress::Unreleased));
        assert_eq!(super::super::member::parts(&waits.assigned), parts(&[1, 3]));
        assert_eq!(step(&waits, 6, &[1, 2, 3], None, &[2]).assigned, waits.assigned);
        let done = step(&waits, 6, &[1, 2, 3], None, &[]);
        assert_eq!((done.progress, super::super::member::parts(&done.assigned)), (Progress::Stable, parts(&[1, 2, 3])));
    }

    #[test]
    fn who_says_it_owns_nothing_has_given_up_all() {
        let next = step(&stable(5, &[1]), 6, &[2], Some(&[]), &[]);
        assert_eq!((next.epoch, next.progress, next.assigned), (6, Progress::Stable, holding(&[2], 6)));
    }

    #[test]
    fn a_state_of_the_future_makes_the_member_come_back_with_nothing() {
        let unknown = Current { progress: Progress::Unknown, ..stable(5, &[1]) };
        let target = parts(&[1]);
        let at = |owned: Option<&Parts>| reconcile(&unknown, &Target { epoch: 7, parts: &target }, owned, |_, _| true);
        assert_eq!(at(None), Err(MustRejoin));
        assert_eq!(at(Some(&parts(&[1]))), Err(MustRejoin));
        assert_eq!(at(Some(&Parts::new())).map(|next| (next.epoch, next.progress)), Ok((7, Progress::Stable)));
    }
}
