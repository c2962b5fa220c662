//! Takes typed values out of what was given; each that is wrong becomes one line.

use super::given::Given;

pub(super) struct Taker<'a> {
    pub(super) given: &'a Given,
    pub(super) problems: &'a mut Vec<String>,
}

impl Taker<'_> {
    /// Notes that the value of `key` is wrong, and what would be right, unless something is known to be wrong with it already.
    pub(super) fn wrong(&mut self, key: &str, want: &str) {
        let cited = self.given.cite(key);
        if !self.problems.iter().any(|known| known.starts_with(&cited)) {
            self.problems.push(format!("{cited}: {want}"));
        }
    }

    /// A whole number from `min` to `max`.
    pub(super) fn number(&mut self, key: &str, default: i64, min: i64, max: i64) -> i64 {
        let Some(text) = self.given.get(key) else { return default };
        match text.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => number,
            _ => {
                let want = if max == i64::MAX {
                    format!("want a whole number, at least {min}")
                } else {
                    format!("want a whole number from {min} to {max}")
                };
                self.wrong(key, &want);
                default
            }
        }
    }

    /// A count of bytes or things, from `min` to Kafka's `int`.
    pub(super) fn size(&mut self, key: &str, default: i64, min: i64) -> usize {
        usize::try_from(self.number(key, default, min, i64::from(i32::MAX))).expect("not negative")
    }

    /// The parts between commas.
    pub(super) fn list(&mut self, key: &str, default: &str) -> Vec<String> {
        self.given.get(key).unwrap_or(default).split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    }

    /// One of a few words; the first one is the default.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> T {
        let default = words[0].1;
        let Some(text) = self.given.get(key) else { return default };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let want = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
        self.wrong(key, &format!("want {want}"));
        default
    }
}
