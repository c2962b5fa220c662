//! The canonical form of a state machine of core's: what its `Debug` shows, without what differs between states that are the same.
//!
//! `derive(Debug)` visits each field, a new one too: so nothing that could matter is forgotten, and two states that differ are never taken for one.
//! An instant counts by how far off it is, a name (of a call, of a ticket) by what it stands for, and what only counts up not at all. Which words of
//! the text are which, the model says.

use std::fmt::{Debug, Write as _};

/// How a value is taken, by the word before it: a type's name (`CallId(7)`), or a field's (`next_call: 7`); `(` is that of a tuple (`(7, …)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// As it is.
    Plain,
    /// Nanoseconds of the machine's clock: as the distance from now.
    Instant,
    /// Of a field: its instant, of which does not matter how long it has been over.
    Due,
    /// A number of which only matters which others of its kind it is the same as: by the order in which they come.
    Name(u8),
    /// As it is; and the names that follow are its own.
    Scope,
    /// A name that means something only together with the last scope.
    Scoped,
    /// Not at all: the value ends with its field.
    Skip,
    /// For the model to resolve: it goes into the form as `Word::Open`.
    Open(u8),
}

/// A piece of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The digest of a stretch of text.
    Text(u128),
    /// What the model resolves when it knows the whole state: of which kind, and the number.
    Open(u8, u64),
}

/// The canonical form of one machine.
pub type Form = Vec<Word>;

/// A digest of 128 bits, the same on every machine: two states are one if theirs are.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64, u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    // Multiply and fold, as wyhash does.
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

impl Digest {
    /// Takes in one word.
    pub fn word(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0xa076_1d64_78bd_642f) ^ self.0.rotate_left(23);
        self.1 = fold(self.1 ^ word.rotate_left(32), 0xe703_7ed1_a0b4_28db) ^ self.1.rotate_left(29);
    }

    /// Takes in a value of 128 bits.
    pub fn wide(&mut self, value: u128) {
        self.word(value as u64);
        self.word((value >> 64) as u64);
    }

    /// Takes in bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    /// What it came to.
    #[must_use]
    pub fn end(self) -> u128 {
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

impl std::hash::Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }

    fn write(&mut self, bytes: &[u8]) {
        self.bytes(bytes);
    }

    fn write_u8(&mut self, n: u8) {
        self.word(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.word(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }
}

/// The digest of one value.
pub fn digest(value: &impl std::hash::Hash) -> u128 {
    let mut digest = Digest::default();
    value.hash(&mut digest);
    digest.end()
}

/// What of a value matters: its form, seen at `now` of its own clock. `text` is room to write in.
pub fn form(value: &impl Debug, now: u64, take: impl Fn(&str) -> Take, text: &mut String) -> Form {
    text.clear();
    write!(text, "{value:?}").expect("a string grows");
    let mut scan = Scan { now, take, out: Form::new(), digest: Digest::default(), dirty: false, scope: 0, names: Vec::new() };
    scan.run(text.as_bytes());
    scan.out
}

struct Scan<F> {
    now: u64,
    take: F,
    out: Form,
    digest: Digest,
    dirty: bool,
    scope: u64,
    /// Of which kind, in which scope, which number.
    names: Vec<(Take, u64, u64)>,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl<F: Fn(&str) -> Take> Scan<F> {
    fn run(&mut self, text: &[u8]) {
        // What the last word says of the value behind it; digits that follow no such word are taken as they are.
        let (mut at, mut how) = (0, Take::Plain);
        while at < text.len() {
            let byte = text[at];
            if is_word(byte) {
                let end = text[at..].iter().position(|byte| !is_word(*byte)).map_or(text.len(), |len| at + len);
                let word = std::str::from_utf8(&text[at..end]).expect("ASCII");
                match word.parse::<u64>() {
                    Ok(number) if how != Take::Plain => self.number(number, how),
                    _ => self.plain(&text[at..end]),
                }
                at = end;
                // `Name(7)` and `field: 7`; a word before anything else says nothing of it.
                let before = how;
                how = match &text[at..] {
                    [b'(', ..] | [b':', b' ', ..] => (self.take)(word),
                    _ => Take::Plain,
                };
                if (before, how) == (Take::Due, Take::Instant) {
                    how = Take::Due;
                }
                if how == Take::Skip {
                    at = end_of_value(text, at);
                    how = Take::Plain;
                }
                continue;
            }
            if byte == b'"' {
                let end = end_of_string(text, at);
                self.plain(&text[at..end]);
                at = end;
                continue;
            }
            // A bracket that follows no word is one of a tuple.
            if byte == b'(' && !text[..at].last().is_some_and(|before| is_word(*before)) {
                how = (self.take)("(");
            } else if !matches!(byte, b'(' | b':' | b' ') {
                how = Take::Plain;
            }
            if byte != b' ' {
                self.plain(&[byte]);
            }
            at += 1;
        }
        self.flush();
    }

    fn number(&mut self, number: u64, how: Take) {
        match how {
            Take::Instant => self.word(number.wrapping_sub(self.now)),
            Take::Due => self.word(number.saturating_sub(self.now)),
            Take::Scope => {
                self.scope = number;
                self.word(number);
            }
            Take::Name(_) => self.name((how, 0, number)),
            Take::Scoped => self.name((how, self.scope, number)),
            Take::Open(kind) => {
                self.flush();
                self.out.push(Word::Open(kind, number));
            }
            Take::Plain | Take::Skip => self.word(number),
        }
    }

    fn name(&mut self, name: (Take, u64, u64)) {
        let at = self.names.iter().position(|known| *known == name).unwrap_or(self.names.len());
        if at == self.names.len() {
            self.names.push(name);
        }
        self.word(at as u64);
    }

    fn plain(&mut self, text: &[u8]) {
        self.digest.bytes(text);
        self.dirty = true;
    }

    fn word(&mut self, word: u64) {
        self.digest.word(word);
        self.dirty = true;
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.out.push(Word::Text(std::mem::take(&mut self.digest).end()));
        }
    }
}

/// Where the value that begins at `at` ends: at the comma or bracket that its field ends with.
fn end_of_value(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < text.len() {
        match text[at] {
            b'"' => {
                at = end_of_string(text, at);
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return at,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Behind the string that begins at `at`.
fn end_of_string(text: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < text.len() && text[end] != b'"' {
        end += if text[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone)]
    #[expect(dead_code, reason = "seen by Debug")]
    struct Instant(u64);
    #[derive(Debug, Clone)]
    #[expect(dead_code, reason = "seen by Debug")]
    struct Call(u64);
    #[derive(Debug, Clone)]
    #[expect(dead_code, reason = "seen by Debug")]
    struct Machine {
        due: Option<Instant>,
        calls: Vec<(Call, &'static str)>,
        newest: Call,
        next: u64,
        end: u64,
    }

    fn machine() -> Machine {
        Machine { due: Some(Instant(120)), calls: vec![(Call(7), "a, }b\""), (Call(9), "c")], newest: Call(9), next: 10, end: 3 }
    }

    fn form_at(machine: &Machine, now: u64) -> Form {
        let take = |word: &str| match word {
            "Instant" => Take::Instant,
            "Call" => Take::Name(0),
            "next" => Take::Skip,
            _ => Take::Plain,
        };
        form(machine, now, take, &mut String::new())
    }

    #[test]
    fn what_only_counts_up_and_when_it_is_do_not_matter() {
        let other =
            Machine { due: Some(Instant(220)), calls: vec![(Call(1), "a, }b\""), (Call(5), "c")], newest: Call(5), next: 6, end: 3 };
        assert_eq!(form_at(&machine(), 100), form_at(&other, 200));
    }

    #[test]
    fn what_differs_in_anything_else_is_another_state() {
        let first = form_at(&machine(), 100);
        assert_ne!(first, form_at(&machine(), 101), "it is due sooner");
        assert_ne!(first, form_at(&Machine { newest: Call(7), ..machine() }, 100), "another call is the newest");
        assert_ne!(first, form_at(&Machine { end: 4, ..machine() }, 100));
        assert_ne!(first, form_at(&Machine { due: None, ..machine() }, 100));
        let swapped = vec![(Call(7), "c"), (Call(9), "a, }b\"")];
        assert_ne!(first, form_at(&Machine { calls: swapped, ..machine() }, 100));
    }

    #[test]
    fn what_the_model_resolves_stands_open() {
        let form = form(&(Call(7), Call(8)), 0, |word| if word == "Call" { Take::Open(1) } else { Take::Plain }, &mut String::new());
        let open: Vec<&Word> = form.iter().filter(|word| matches!(word, Word::Open(..))).collect();
        assert_eq!(open, [&Word::Open(1, 7), &Word::Open(1, 8)]);
    }
}
