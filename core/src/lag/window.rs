//! The window over which a consumer is judged: the last commits of one partition, by their order in the log of commits.
//!
//! Holds: at most `size` commits; orders strictly increase.

use super::lag;
use crate::id::Offset;
use crate::time::Timestamp;
use std::time::Duration;

/// A commit as it was read somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCommit {
    /// The next offset that the consumer reads.
    pub offset: Offset,
    /// Its place among all commits of the group: a later one is greater.
    pub order: i64,
    /// When it was made.
    pub at: Timestamp,
}

/// A commit in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The next offset that the consumer reads.
    pub offset: Offset,
    /// Its place among all commits of the group.
    pub order: i64,
    /// When it was made, or the first of those that it took the place of.
    pub at: Timestamp,
    /// When the monitor saw it.
    pub seen: Timestamp,
    /// How far the consumer was behind; `None` for what was filled in later, when the end had moved on.
    pub lag: Option<u64>,
}

/// Where a commit went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the newest.
    Newest,
    /// It was filled in among older ones.
    Earlier,
    /// It was known, or is older than all of a full window.
    Nowhere,
}

/// The last commits of one partition.
#[derive(Clone, Debug)]
pub(super) struct Window {
    size: usize,
    commits: Vec<Commit>,
}

impl Window {
    pub(super) fn new(size: usize) -> Self {
        Self { size: size.max(1), commits: Vec::new() }
    }

    /// The commits, in order.
    pub(super) fn commits(&self) -> &[Commit] {
        &self.commits
    }

    /// How much of the window is filled, from 0 to 1.
    pub(super) fn complete(&self) -> f32 {
        self.commits.len() as f32 / self.size as f32
    }

    /// Takes in a commit seen `now`, when the newest end known was `end`. Commits closer than `distance` to the one before take its place and
    /// keep its time: otherwise who commits often would never get a second commit into the window.
    pub(super) fn add(&mut self, new: NewCommit, end: Offset, now: Timestamp, distance: Duration) -> Place {
        let at = self.commits.partition_point(|commit| commit.order < new.order);
        let is_known = self.commits.get(at).is_some_and(|commit| commit.order == new.order);
        let (is_newest, is_full) = (at == self.commits.len(), self.commits.len() == self.size);
        if is_known || (at == 0 && is_full) {
            return Place::Nowhere;
        }
        let lag = is_newest.then(|| lag(end, new.offset));
        let mut commit = Commit { offset: new.offset, order: new.order, at: new.at, seen: now, lag };
        let before = at.checked_sub(1).map(|before| self.commits[before]);
        match before.filter(|before| is_close(before.at, new.at, distance)) {
            // Burrow looks no further back than the oldest of a full ring: what comes right after it takes its place, time and all.
            Some(before) if is_newest || !(is_full && at == 1) => {
                commit.at = before.at;
                self.commits[at - 1] = commit;
            }
            _ => {
                self.commits.insert(at, commit);
                if self.commits.len() > self.size {
                    self.commits.remove(0);
                }
            }
        }
        if is_newest { Place::Newest } else { Place::Earlier }
    }
}

/// Whether `later` is less than `distance` after `earlier`. As in Burrow, a clock that went back counts as close.
fn is_close(earlier: Timestamp, later: Timestamp, distance: Duration) -> bool {
    later.0.saturating_sub(earlier.0) < i64::try_from(distance.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const NEAR: Duration = Duration::from_secs(5);

    fn commit(order: i64, offset: i64, second: i64) -> NewCommit {
        NewCommit { offset: Offset(offset), order, at: Timestamp(second * 1000) }
    }

    fn add(window: &mut Window, new: NewCommit) -> Place {
        window.add(new, Offset(1000), Timestamp(0), Duration::ZERO)
    }

    fn offsets(window: &Window) -> Vec<i64> {
        window.commits().iter().map(|commit| commit.offset.0).collect()
    }

    #[test]
    fn the_oldest_leaves_a_full_window() {
        let mut window = Window::new(3);
        for n in 1..=5 {
            assert_eq!(add(&mut window, commit(n, n * 10, n)), Place::Newest);
        }
        assert_eq!(offsets(&window), [30, 40, 50]);
        assert_eq!(window.complete(), 1.0);
    }

    #[test]
    fn lag_is_that_at_the_commit_and_never_negative() {
        let mut window = Window::new(3);
        add(&mut window, commit(1, 900, 1));
        add(&mut window, commit(2, 1001, 2));
        let lags = window.commits().iter().map(|commit| commit.lag).collect::<Vec<_>>();
        assert_eq!(lags, [Some(100), Some(0)]);
    }

    #[test]
    fn what_is_filled_in_stands_in_order_and_has_no_lag() {
        let mut window = Window::new(3);
        add(&mut window, commit(5, 50, 5));
        assert_eq!(add(&mut window, commit(3, 30, 3)), Place::Earlier);
        assert_eq!(add(&mut window, commit(4, 40, 4)), Place::Earlier);
        assert_eq!(offsets(&window), [30, 40, 50]);
        assert_eq!(window.commits()[0].lag, None);
        assert_eq!(add(&mut window, commit(4, 41, 4)), Place::Nowhere, "it is known");
        assert_eq!(add(&mut window, commit(2, 20, 2)), Place::Nowhere, "the window is full");
        assert_eq!(offsets(&window), [30, 40, 50]);
    }

    #[test]
    fn filling_in_a_full_window_drops_the_oldest() {
        let mut window = Window::new(3);
        for n in [1, 5, 9] {
            add(&mut window, commit(n, n, n));
        }
        add(&mut window, commit(7, 7, 7));
        assert_eq!(offsets(&window), [5, 7, 9]);
        add(&mut window, commit(6, 6, 6));
        assert_eq!(offsets(&window), [6, 7, 9]);
    }

    #[test]
    fn who_commits_often_keeps_the_place_and_time_of_the_first() {
        let mut window = Window::new(3);
        for (order, second) in [(1, 0), (2, 3), (3, 4), (4, 5), (5, 9)] {
            window.add(commit(order, order, second), Offset(10), Timestamp(0), NEAR);
        }
        assert_eq!(offsets(&window), [3, 5]);
        assert_eq!(window.commits().iter().map(|c| (c.at.0, c.lag)).collect::<Vec<_>>(), [(0, Some(7)), (5000, Some(5))]);
    }

    #[test]
    fn filled_in_close_behind_the_oldest_of_a_full_window_takes_its_place_and_time() {
        let mut window = Window::new(3);
        for n in [0, 10, 20] {
            window.add(commit(n, n, n), Offset(10), Timestamp(0), NEAR);
        }
        window.add(commit(2, 2, 2), Offset(10), Timestamp(0), NEAR);
        assert_eq!((offsets(&window), window.commits()[0].at), (vec![2, 10, 20], Timestamp(2000)));
        window.add(commit(12, 12, 12), Offset(10), Timestamp(0), NEAR);
        assert_eq!((offsets(&window), window.commits()[1].at), (vec![2, 12, 20], Timestamp(10_000)), "elsewhere it keeps the time");
    }

    #[test]
    fn a_clock_that_went_back_is_close_whatever_the_distance() {
        let mut window = Window::new(3);
        add(&mut window, commit(1, 1, 9));
        add(&mut window, commit(2, 2, 8));
        assert_eq!((offsets(&window), window.commits()[0].at), (vec![2], Timestamp(9000)));
    }

    proptest! {
        #[test]
        fn in_whatever_order_commits_come_the_window_holds_the_last_ones_in_order(
            size in 1_usize..6,
            orders in vec(0_i64..30, 1..40),
        ) {
            let mut window = Window::new(size);
            for order in &orders {
                window.add(commit(*order, *order, *order), Offset(100), Timestamp(0), Duration::ZERO);
                prop_assert!(window.commits().len() <= size);
                prop_assert!(window.commits().is_sorted_by(|a, b| a.order < b.order));
            }
            let mut distinct = orders.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(window.commits().last().map(|commit| commit.order), distinct.last().copied());
            let last = distinct[distinct.len().saturating_sub(size)..].to_vec();
            prop_assert_eq!(window.commits().iter().map(|commit| commit.order).collect::<Vec<_>>(), last);
        }
    }
}
