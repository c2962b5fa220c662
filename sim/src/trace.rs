//! The trace of a run: a hash over everything that happened, in order. The same seed and build give the same hash.

use std::hash::{Hash, Hasher};

/// A 64-bit running hash, the same on every machine and in every build.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    state: u64,
    events: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15, events: 0 }
    }
}

impl Trace {
    /// Takes in one event: when, to whom, what kind, and what.
    pub fn note(&mut self, at: u64, who: u32, kind: &str, what: &impl Hash) {
        self.write_u64(at);
        self.write_u32(who);
        self.write(kind.as_bytes());
        what.hash(self);
        self.events += 1;
    }

    /// The hash so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.finish()
    }

    /// How many events were taken in.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    fn mix(&mut self, word: u64) {
        // Multiply and fold, as wyhash does: every bit of the word reaches every bit of the state.
        let wide = u128::from(self.state ^ word) * u128::from(0xa076_1d64_78bd_642f_u64);
        self.state = (wide as u64) ^ ((wide >> 64) as u64) ^ self.state.rotate_left(23);
    }
}

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.mix(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_content_count() {
        let of = |events: &[(u64, &str)]| {
            let mut trace = Trace::default();
            events.iter().for_each(|(at, what)| trace.note(*at, 1, "x", what));
            trace.digest()
        };
        assert_eq!(of(&[(1, "a"), (2, "b")]), of(&[(1, "a"), (2, "b")]));
        assert_ne!(of(&[(1, "a"), (2, "b")]), of(&[(1, "b"), (2, "a")]));
        assert_ne!(of(&[(1, "a")]), of(&[(1, "b")]));
        assert_ne!(of(&[(1, "a")]), of(&[(2, "a")]));
    }
}
