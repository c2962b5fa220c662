//! Burrow's rules: what a window of commits says of a consumer.

use super::window::Commit;
use super::{Status, lag};
use crate::id::Offset;
use crate::time::Timestamp;

/// Judges a partition by its commits, which are not empty, and the ends its log had of late, the newest last. As in Burrow, `now` counts in
/// whole seconds.
pub(super) fn judge(commits: &[Commit], ends: &[Offset], now: Timestamp, allowed_lag: u64) -> Status {
    let newest = commits.last().expect("who never committed is not judged");
    let current_lag = ends.last().map_or(0, |end| lag(*end, newest.offset));
    if current_lag <= allowed_lag {
        return Status::Ok;
    }
    // Before all else: the window of a consumer that is gone may tell of better times. But who had all there was a moment ago is not gone yet.
    if has_stopped(commits, now) && !ends.iter().any(|end| *end <= newest.offset) {
        return Status::Stop;
    }
    // Before the rule of no lag: who had none, and then fell back to the beginning, would pass for well.
    if is_rewound(commits) {
        return Status::Rewind;
    }
    if commits.iter().any(|commit| commit.lag.is_some_and(|lag| lag <= allowed_lag)) {
        return Status::Ok;
    }
    if commits.iter().all(|commit| commit.offset == newest.offset) {
        return Status::Stall;
    }
    if lag_never_falls(commits) { Status::Warn } else { Status::Ok }
}

/// The last commit is longer ago than the window is wide.
fn has_stopped(commits: &[Commit], now: Timestamp) -> bool {
    let (first, last) = (commits[0].at.0, commits[commits.len() - 1].at.0);
    let now = now.0.div_euclid(1000).saturating_mul(1000);
    now.saturating_sub(last) > last.saturating_sub(first)
}

/// The offset fell, and no later commit reached what was there before the first fall.
fn is_rewound(commits: &[Commit]) -> bool {
    let fall = commits.windows(2).position(|pair| pair[1].offset < pair[0].offset);
    fall.is_some_and(|before| commits[before + 1..].iter().all(|commit| commit.offset < commits[before].offset))
}

/// Of the lags that are known, none is less than the one before.
fn lag_never_falls(commits: &[Commit]) -> bool {
    commits.iter().filter_map(|commit| commit.lag).is_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A commit every 100 s from second 100 on.
    fn commits(offsets_and_lags: &[(i64, Option<u64>)]) -> Vec<Commit> {
        let commit = |(n, (offset, lag)): (i64, &(i64, Option<u64>))| {
            let at = Timestamp(n * 100_000);
            Commit { offset: Offset(*offset), order: n, at, seen: at, lag: *lag }
        };
        (1..).zip(offsets_and_lags).map(commit).collect()
    }

    /// Judges `now` s on the clock, with the ends given.
    fn judged(offsets_and_lags: &[(i64, Option<u64>)], ends: &[i64], now: i64, allowed_lag: u64) -> Status {
        let ends = ends.iter().map(|end| Offset(*end)).collect::<Vec<_>>();
        judge(&commits(offsets_and_lags), &ends, Timestamp(now * 1000), allowed_lag)
    }

    #[test]
    fn who_has_no_lag_now_is_well_whatever_the_window_says() {
        assert_eq!(judged(&[(10, Some(5)), (10, Some(5))], &[10], 9999, 0), Status::Ok);
        assert_eq!(judged(&[(10, Some(5)), (10, Some(5))], &[9], 9999, 0), Status::Ok, "the commit is ahead of the end that is known");
    }

    #[test]
    fn lag_that_is_allowed_is_none() {
        assert_eq!(judged(&[(10, Some(3)), (10, Some(3))], &[13], 250, 3), Status::Ok);
        assert_eq!(judged(&[(10, Some(4)), (10, Some(4))], &[14], 250, 3), Status::Stall);
    }

    #[test]
    fn stopped_once_the_last_commit_is_longer_ago_than_the_window_is_wide() {
        let window = [(10, Some(5)), (20, Some(0)), (30, Some(0))];
        assert_eq!(judged(&window, &[40], 500, 0), Status::Ok, "as long ago as the window is wide");
        assert_eq!(judged(&window, &[40], 501, 0), Status::Stop, "longer, and lag of zero in the window does not help");
    }

    #[test]
    fn time_counts_in_whole_seconds() {
        let stopped = |now| judge(&commits(&[(10, Some(5)), (20, Some(0)), (30, Some(0))]), &[Offset(40)], Timestamp(now), 0);
        assert_eq!(stopped(500_999), Status::Ok);
        assert_eq!(stopped(501_000), Status::Stop);
    }

    #[test]
    fn who_had_all_there_was_a_moment_ago_has_not_stopped() {
        let window = [(10, Some(0)), (20, Some(0)), (30, Some(0))];
        assert_eq!(judged(&window, &[30, 31], 9999, 0), Status::Ok);
        assert_eq!(judged(&window, &[31, 31], 9999, 0), Status::Stop);
    }

    #[test]
    fn one_commit_is_a_window_without_width() {
        assert_eq!(judged(&[(10, Some(5))], &[15], 101, 0), Status::Stop);
        assert_eq!(judged(&[(10, Some(5))], &[15], 100, 0), Status::Stall, "in the second of the commit itself");
    }

    #[test]
    fn rewound_until_a_commit_reaches_where_it_was() {
        let lag = Some(50);
        assert_eq!(judged(&[(30, lag), (10, lag), (20, lag)], &[99], 350, 0), Status::Rewind);
        assert_eq!(judged(&[(30, lag), (10, lag), (30, Some(40))], &[99], 350, 0), Status::Ok);
        assert_eq!(judged(&[(30, Some(0)), (10, lag)], &[99], 250, 0), Status::Rewind, "no lag before the fall does not help");
    }

    #[test]
    fn the_first_fall_counts() {
        let lag = Some(50);
        // It came back from the first fall; the second is not looked at.
        assert_eq!(judged(&[(30, lag), (10, lag), (40, lag), (20, lag)], &[99], 450, 0), Status::Warn);
    }

    #[test]
    fn any_commit_without_lag_is_enough() {
        assert_eq!(judged(&[(10, Some(0)), (20, Some(50)), (30, Some(90))], &[120], 350, 0), Status::Ok);
        assert_eq!(judged(&[(10, Some(3)), (20, Some(50)), (30, Some(90))], &[120], 350, 3), Status::Ok);
    }

    #[test]
    fn stalled_when_all_offsets_are_equal() {
        assert_eq!(judged(&[(10, Some(5)), (10, Some(4)), (10, Some(6))], &[20], 350, 0), Status::Stall);
        assert_eq!(judged(&[(9, Some(5)), (10, Some(6)), (10, Some(7))], &[20], 350, 0), Status::Warn);
    }

    #[test]
    fn warned_of_when_lag_never_falls() {
        assert_eq!(judged(&[(10, Some(5)), (20, Some(5)), (30, Some(6))], &[40], 350, 0), Status::Warn);
        assert_eq!(judged(&[(10, Some(5)), (20, Some(7)), (30, Some(6))], &[40], 350, 0), Status::Ok, "it fell once");
    }

    #[test]
    fn lag_that_is_not_known_says_nothing() {
        assert_eq!(judged(&[(10, Some(5)), (20, None), (30, Some(6))], &[40], 350, 0), Status::Warn);
        assert_eq!(judged(&[(10, None), (20, None)], &[40], 250, 0), Status::Warn, "none is known");
        assert_eq!(judged(&[(10, Some(6)), (20, None), (30, Some(5))], &[40], 350, 0), Status::Ok);
    }

    #[test]
    fn without_an_end_there_is_no_lag() {
        assert_eq!(judged(&[(10, Some(5)), (10, Some(5))], &[], 9999, 0), Status::Ok);
    }

    fn series() -> impl Strategy<Value = Vec<(i64, Option<u64>)>> {
        vec((0_i64..20, proptest::option::of(0_u64..5)), 1..8)
    }

    proptest! {
        #[test]
        fn time_alone_turns_any_verdict_into_stop_and_nothing_else(series in series(), ends in vec(0_i64..30, 1..5), late in 0_i64..3000) {
            let (early, later) = (judged(&series, &ends, 100 * series.len() as i64, 0), judged(&series, &ends, 1000 + late, 0));
            prop_assert!(later == early || later == Status::Stop, "{early:?} became {later:?}");
        }

        #[test]
        fn who_goes_forward_and_commits_is_never_stopped_stalled_or_rewound(steps in vec((1_i64..9, 1_u64..9), 2..8), ahead in 1_i64..99) {
            let mut offset = 0;
            let series = steps.iter().map(|(step, lag)| { offset += step; (offset, Some(*lag)) }).collect::<Vec<_>>();
            let verdict = judged(&series, &[offset + ahead], 100 * series.len() as i64, 0);
            prop_assert!(verdict <= Status::Warn, "{verdict:?}");
        }

        #[test]
        fn more_lag_allowed_never_makes_it_worse_but_for_stop(series in series(), ends in vec(0_i64..30, 1..5), now in 0_i64..2000, allowed in 0_u64..6) {
            let (strict, lax) = (judged(&series, &ends, now, allowed), judged(&series, &ends, now, allowed + 1));
            prop_assert!(lax == strict || lax == Status::Ok, "{strict:?} became {lax:?}");
        }
    }
}
