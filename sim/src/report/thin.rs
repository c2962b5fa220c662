//! Leaves out what nobody would see: points between which a curve only goes on.

use super::recording::Point;

/// Whether something happens at `point` that must be seen, after `last`.
pub(super) fn is_turn(last: &Point, point: &Point) -> bool {
    (last.part, last.epoch, last.leader) != (point.part, point.epoch, point.leader) || point.end < last.end || point.high < last.high
}

/// Every second one of those that only go on is let go.
pub(super) fn halve(points: &mut Vec<Point>) {
    let mut last: Option<Point> = None;
    let mut is_second = false;
    points.retain(|point| {
        let turns = last.replace(*point).is_none_or(|last| is_turn(&last, point));
        is_second = !is_second;
        turns || is_second
    });
}

/// At most about `max` of them: all turns and what is before each, and of the others the last one of each of so many stretches of time; those within `near`
/// are dense.
pub(super) fn thinned(points: &[Point], max: usize, near: (u64, u64)) -> Vec<Point> {
    if points.len() <= max {
        return points.to_vec();
    }
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let near_count = points.iter().filter(|point| (near.0..=near.1).contains(&point.at)).count();
    // Half of them may lie there.
    let step_near = near_count.div_ceil((max / 2).max(1)).max(1);
    let stretch = ((last.at - first.at) / (max as u64 / 2).max(1)).max(1);
    let mut kept = Vec::with_capacity(max);
    for (number, point) in points.iter().enumerate() {
        let (before, next) = (number.checked_sub(1).map(|at| &points[at]), points.get(number + 1));
        let turns = before.is_none_or(|before| is_turn(before, point)) || next.is_none_or(|next| is_turn(point, next));
        let is_near = (near.0..=near.1).contains(&point.at) && number.is_multiple_of(step_near);
        let ends_stretch = next.is_some_and(|next| next.at / stretch != point.at / stretch);
        if turns || is_near || ends_stretch {
            kept.push(*point);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::recording::{Part, Point};
    use super::{halve, thinned};

    fn rising(count: u64) -> Vec<Point> {
        (0..count).map(|at| Point { at, part: Part::Leads, end: at as i64, high: at as i64, ..Point::default() }).collect()
    }

    #[test]
    fn a_cut_is_seen_however_much_is_left_out() {
        let mut points = rising(10_000);
        points[5_000].end = 17;
        let mut kept = thinned(&points, 100, (9_000, 9_010));
        assert!(kept.len() < 120, "{}", kept.len());
        assert!(kept.iter().any(|point| point.at == 4_999) && kept.iter().any(|point| point.end == 17));
        assert!(kept.iter().filter(|point| (9_000..=9_010).contains(&point.at)).count() >= 11);
        assert!(kept.is_sorted_by_key(|point| point.at));
        assert_eq!(kept.last(), points.last());
        let before = kept.len();
        halve(&mut kept);
        assert!(kept.len() < before * 2 / 3 && kept.iter().any(|point| point.end == 17));
    }
}
