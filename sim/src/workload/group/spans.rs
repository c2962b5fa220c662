//! A set of offsets that are mostly runs.

use std::collections::BTreeMap;

/// Runs of offsets, by their first one; each maps to the offset behind its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(BTreeMap<i64, i64>);

impl Spans {
    /// Takes one offset in.
    pub fn add(&mut self, offset: i64) {
        if self.holds(offset) {
            return;
        }
        let end = self.0.remove(&(offset + 1)).unwrap_or(offset + 1);
        match self.0.range_mut(..offset).next_back() {
            Some((_, before)) if *before == offset => *before = end,
            _ => drop(self.0.insert(offset, end)),
        }
    }

    /// Whether it was taken in.
    #[must_use]
    pub fn holds(&self, offset: i64) -> bool {
        self.0.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_and_join() {
        let mut spans = Spans::default();
        [1, 3, 2, 7, 6, 6].into_iter().for_each(|offset| spans.add(offset));
        assert_eq!(spans, Spans([(1, 4), (6, 8)].into()));
        let held: Vec<i64> = (0..10).filter(|offset| spans.holds(*offset)).collect();
        assert_eq!(held, [1, 2, 3, 6, 7]);
    }
}
