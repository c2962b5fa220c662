//! How a partition's log end moved over time: from it, lag in messages becomes lag in time.
//!
//! Holds: at most [`POINTS_MAX`] points, of which neither time nor end ever falls. A point that the curve needs least is left out for a new one,
//! so a log that grows evenly is remembered as far back as one looks, and one that grows in jerks by its jerks.

use crate::id::Offset;
use crate::time::Timestamp;
use std::time::Duration;

/// Points remembered of one partition: some 2 KiB.
const POINTS_MAX: usize = 128;

/// How long ago the record was written that a consumer reads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeLag {
    /// As long ago as this, as exactly as ends were asked for.
    About(Duration),
    /// Longer ago than the ends have been watched.
    AtLeast(Duration),
}

impl TimeLag {
    /// How long, whether exact or at least.
    #[must_use]
    pub fn duration(self) -> Duration {
        match self {
            Self::About(duration) | Self::AtLeast(duration) => duration,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: Timestamp,
    end: Offset,
}

/// The ends of one partition over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Curve {
    points: Vec<Point>,
}

impl Curve {
    /// The log's end was `end` at `now`. A clock that went back stands still; a log that was cut or made anew is remembered up to the cut.
    pub(super) fn add(&mut self, now: Timestamp, end: Offset) {
        self.points.retain(|point| point.end <= end);
        let at = self.points.last().map_or(now, |newest| newest.at.max(now));
        let new = Point { at, end };
        if let [.., a, b] = self.points[..]
            && bend(a, b, new) == 0
        {
            self.points.pop();
        }
        self.points.push(new);
        if self.points.len() > POINTS_MAX {
            self.leave_one_out();
        }
    }

    /// How old the record at `committed` is; `None` before the first end.
    pub(super) fn time_lag(&self, committed: Offset, now: Timestamp) -> Option<TimeLag> {
        let newest = self.points.last()?;
        if newest.end <= committed {
            return Some(TimeLag::About(Duration::ZERO));
        }
        let after = self.points.partition_point(|point| point.end <= committed);
        let Some(before) = after.checked_sub(1) else { return Some(TimeLag::AtLeast(since(now, self.points[0].at))) };
        let (before, after) = (self.points[before], self.points[after]);
        let share = |whole: i64| i128::from(whole) * i128::from(committed.since(before.end)) / i128::from(after.end.since(before.end));
        let written = before.at.0 + i64::try_from(share(after.at.0 - before.at.0)).expect("a part of it");
        Some(TimeLag::About(since(now, Timestamp(written))))
    }

    /// Leaves out the inner point without which the curve changes least.
    fn leave_one_out(&mut self) {
        let least = (1..self.points.len() - 1).min_by_key(|n| bend(self.points[n - 1], self.points[*n], self.points[n + 1]));
        self.points.remove(least.expect("there are inner points"));
    }
}

/// Twice the area of the triangle that three points span: by so much the curve changes without the middle one (Visvalingam).
fn bend(a: Point, b: Point, c: Point) -> u128 {
    let across = i128::from(b.at.0 - a.at.0) * i128::from(c.end.since(a.end));
    let along = i128::from(c.at.0 - a.at.0) * i128::from(b.end.since(a.end));
    across.abs_diff(along)
}

fn since(now: Timestamp, earlier: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(earlier.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Pairs of seconds and ends.
    fn curve(points: &[(i64, i64)]) -> Curve {
        let mut curve = Curve::default();
        points.iter().for_each(|(second, end)| curve.add(Timestamp(second * 1000), Offset(*end)));
        curve
    }

    fn about(seconds: u64) -> Option<TimeLag> {
        Some(TimeLag::About(Duration::from_secs(seconds)))
    }

    fn lag(curve: &Curve, committed: i64, second: i64) -> Option<TimeLag> {
        curve.time_lag(Offset(committed), Timestamp(second * 1000))
    }

    #[test]
    fn lag_in_time_is_how_long_ago_the_committed_offset_was_the_end() {
        let curve = curve(&[(0, 0), (10, 100), (20, 300)]);
        assert_eq!(lag(&curve, 300, 25), about(0), "nothing is left to read");
        assert_eq!(lag(&curve, 100, 25), about(15));
        assert_eq!(lag(&curve, 50, 25), about(20), "half-way between 0 s and 10 s");
        assert_eq!(lag(&curve, 260, 30), about(12), "written at 18 s");
    }

    #[test]
    fn from_before_the_first_end_it_is_at_least() {
        let curve = curve(&[(10, 100), (20, 300)]);
        assert_eq!(lag(&curve, 99, 25), Some(TimeLag::AtLeast(Duration::from_secs(15))));
        assert_eq!(lag(&Curve::default(), 99, 25), None);
    }

    #[test]
    fn the_time_in_which_nothing_was_written_does_not_count() {
        // The record at 100 was written between 1000 s and 1010 s.
        let curve = curve(&[(0, 0), (10, 100), (500, 100), (1000, 100), (1010, 101)]);
        assert_eq!(lag(&curve, 100, 1012), about(12));
    }

    #[test]
    fn even_growth_takes_two_points() {
        let mut curve = Curve::default();
        (0..10_000).for_each(|n| curve.add(Timestamp(n * 10_000), Offset(n * 7)));
        assert_eq!(curve.points.len(), 2);
        assert_eq!(lag(&curve, 7 * 9_000, 99_990), about(9_990));
    }

    #[test]
    fn a_log_that_was_cut_is_remembered_up_to_the_cut() {
        let curve = curve(&[(0, 0), (10, 100), (20, 300), (30, 150), (40, 160)]);
        assert_eq!(lag(&curve, 160, 40), about(0));
        assert_eq!(lag(&curve, 100, 40), about(30));
        assert_eq!(lag(&curve, 150, 40), about(10));
    }

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let curve = curve(&[(100, 0), (110, 10), (50, 20), (120, 30)]);
        assert_eq!(lag(&curve, 10, 120), about(10));
        assert_eq!(lag(&curve, 29, 60), about(0), "never negative");
    }

    proptest! {
        #[test]
        fn points_are_bounded_and_in_order_and_less_committed_is_never_less_lag(
            steps in vec((0_i64..20, 0_i64..1000), 1..600),
            low in 0_i64..100_000,
            more in 0_i64..100_000,
        ) {
            let mut curve = Curve::default();
            let (mut at, mut end) = (0, 0);
            for (seconds, records) in steps {
                (at, end) = (at + seconds, end + records);
                curve.add(Timestamp(at * 1000), Offset(end));
            }
            prop_assert!(curve.points.len() <= POINTS_MAX);
            prop_assert!(curve.points.is_sorted_by(|a, b| a.at <= b.at && a.end <= b.end));
            prop_assert_eq!(curve.points.last().map(|point| point.end), Some(Offset(end)));
            let (behind, ahead) = (lag(&curve, low, at).expect("watched"), lag(&curve, low + more, at).expect("watched"));
            prop_assert!(behind.duration() >= ahead.duration());
        }

        #[test]
        fn an_end_that_was_seen_is_dated_exactly_while_all_points_are_kept(steps in vec((1_i64..20, 1_i64..1000), 2..100), which in 0_usize..99) {
            let mut ends = vec![(0, 0)];
            for (seconds, records) in steps {
                let (at, end) = ends[ends.len() - 1];
                ends.push((at + seconds, end + records));
            }
            let (at, end) = ends[which.min(ends.len() - 2)];
            prop_assert_eq!(lag(&curve(&ends), end, 5000), about(u64::try_from(5000 - at).expect("before")));
        }
    }
}
