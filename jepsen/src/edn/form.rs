//! A small reader of EDN forms for text of any origin: bounded in depth, linear in time, and never at a loss for an error.
//! Knows nothing of histories.

use std::fmt;

use crate::history::Malformed;

/// How deep forms may nest.
const DEPTH_MAX: usize = 128;

/// One form. Tags and discarded forms leave no trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Edn {
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// Any other number, as it was written.
    Number(String),
    /// `"text"`
    Text(String),
    /// `\c`
    Char(char),
    /// `:word`, without its colon.
    Keyword(String),
    /// `word`
    Symbol(String),
    /// `(a b)`
    List(Vec<Edn>),
    /// `[a b]`
    Vector(Vec<Edn>),
    /// `#{a b}`
    Set(Vec<Edn>),
    /// `{a b, c d}`, in the order written.
    Map(Vec<(Edn, Edn)>),
}

/// Reads form after form from a text.
#[derive(Clone, Debug)]
pub struct Forms<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Forms<'a> {
    /// Reads `text` from its beginning.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next form; `None` at the end of the text.
    ///
    /// # Errors
    /// Where no whole form follows.
    pub fn form(&mut self) -> Result<Option<Edn>, Malformed> {
        self.skip_blank(0)?;
        if self.peek().is_none() { Ok(None) } else { self.read(0).map(Some) }
    }

    /// Steps over `open` if it comes next.
    ///
    /// # Errors
    /// Where what stands before it is malformed.
    pub(super) fn step_over(&mut self, open: &[u8]) -> Result<Option<u8>, Malformed> {
        self.skip_blank(0)?;
        let next = self.peek().filter(|byte| open.contains(byte));
        self.at += usize::from(next.is_some());
        Ok(next)
    }

    /// What is wrong with the place where the reader stands.
    pub(super) fn malformed(&self, why: impl Into<String>) -> Malformed {
        let line = 1 + self.text.as_bytes()[..self.at].iter().filter(|byte| **byte == b'\n').count();
        Malformed { line, why: why.into() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Passes white space, commas, comments and discarded forms.
    fn skip_blank(&mut self, depth: usize) -> Result<(), Malformed> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',').len();
            self.at += blank;
            if self.rest().starts_with(';') {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if self.rest().starts_with("#_") {
                self.at += 2;
                self.read(depth + 1)?;
            } else if blank == 0 {
                return Ok(());
            }
        }
    }

    fn read(&mut self, depth: usize) -> Result<Edn, Malformed> {
        if depth > DEPTH_MAX {
            return Err(self.malformed(format!("forms nest deeper than {DEPTH_MAX}")));
        }
        self.skip_blank(depth)?;
        let Some(first) = self.peek() else { return Err(self.malformed("the text ends within a form")) };
        match first {
            b'(' => self.sequence(1, b')', depth).map(Edn::List),
            b'[' => self.sequence(1, b']', depth).map(Edn::Vector),
            b'{' => self.map(depth),
            b'"' => self.string().map(Edn::Text),
            b'\\' => self.character(),
            b'#' => self.dispatch(depth),
            b')' | b']' | b'}' => Err(self.malformed(format!("`{}` closes nothing", char::from(first)))),
            _ => self.atom(),
        }
    }

    /// The forms up to `close`; the opening is `open` bytes long.
    fn sequence(&mut self, open: usize, close: u8, depth: usize) -> Result<Vec<Edn>, Malformed> {
        self.at += open;
        let mut forms = Vec::new();
        loop {
            self.skip_blank(depth)?;
            if self.peek() == Some(close) {
                self.at += 1;
                return Ok(forms);
            }
            forms.push(self.read(depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Edn, Malformed> {
        let mut forms = self.sequence(1, b'}', depth)?.into_iter();
        let mut pairs = Vec::with_capacity(forms.len() / 2);
        while let Some(key) = forms.next() {
            let Some(value) = forms.next() else { return Err(self.malformed("a map's last key has no value")) };
            pairs.push((key, value));
        }
        Ok(Edn::Map(pairs))
    }

    fn dispatch(&mut self, depth: usize) -> Result<Edn, Malformed> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'{') => self.sequence(2, b'}', depth).map(Edn::Set),
            Some(b'#') => {
                self.at += 2;
                Ok(Edn::Number(format!("##{}", self.word())))
            }
            Some(tag) if tag.is_ascii_alphabetic() => {
                self.at += 1;
                self.word();
                self.read(depth + 1)
            }
            Some(_) | None => Err(self.malformed("`#` begins nothing known")),
        }
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => text.push(escaped(&mut chars).ok_or_else(|| self.malformed("an unknown escape in a string"))?),
                _ => text.push(c),
            }
        }
        Err(self.malformed("a string does not end"))
    }

    fn character(&mut self) -> Result<Edn, Malformed> {
        self.at += 1;
        let Some(first) = self.rest().chars().next() else { return Err(self.malformed("the text ends within a character")) };
        self.at += first.len_utf8();
        let more = self.word();
        let c = match (first, more) {
            (_, "") => Some(first),
            ('n', "ewline") => Some('\n'),
            ('r', "eturn") => Some('\r'),
            ('s', "pace") => Some(' '),
            ('t', "ab") => Some('\t'),
            ('u', hex) => u32::from_str_radix(hex, 16).ok().and_then(char::from_u32),
            (_, _) => None,
        };
        c.map(Edn::Char).ok_or_else(|| self.malformed("an unknown character"))
    }

    /// The bytes up to the next delimiter.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || ",;\"()[]{}\\".contains(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn atom(&mut self) -> Result<Edn, Malformed> {
        let word = self.word();
        if let Some(keyword) = word.strip_prefix(':') {
            if keyword.is_empty() {
                return Err(self.malformed("a keyword without a name"));
            }
            return Ok(Edn::Keyword(keyword.to_owned()));
        }
        let digits = word.trim_start_matches(['+', '-']);
        if digits.starts_with(|c: char| c.is_ascii_digit()) {
            let number = word.strip_suffix('N').unwrap_or(word).parse();
            return Ok(number.map_or_else(|_| Edn::Number(word.to_owned()), Edn::Int));
        }
        Ok(match word {
            "nil" => Edn::Nil,
            "true" => Edn::Bool(true),
            "false" => Edn::Bool(false),
            _ => Edn::Symbol(word.to_owned()),
        })
    }
}

fn escaped(chars: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    match chars.next()?.1 {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'u' => {
            let digits = chars.by_ref().take(4).try_fold(0, |code, (_, c)| Some(code * 16 + c.to_digit(16)?));
            digits.and_then(char::from_u32)
        }
        c @ ('"' | '\\') => Some(c),
        _ => None,
    }
}

impl fmt::Display for Edn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Number(word) | Self::Symbol(word) => f.write_str(word),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Char(c) => write!(f, "\\u{:04x}", u32::from(*c)),
            Self::Keyword(word) => write!(f, ":{word}"),
            Self::List(forms) => all(f, "(", forms, ")"),
            Self::Vector(forms) => all(f, "[", forms, "]"),
            Self::Set(forms) => all(f, "#{", forms, "}"),
            Self::Map(pairs) => {
                f.write_str("{")?;
                for (nth, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key} {value}", if nth == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

fn all(f: &mut fmt::Formatter<'_>, open: &str, forms: &[Edn], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (nth, form) in forms.iter().enumerate() {
        write!(f, "{}{form}", if nth == 0 { "" } else { " " })?;
    }
    f.write_str(close)
}

/// A text as an EDN string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<Edn, String> {
        match Forms::new(text).form() {
            Ok(form) => Ok(form.expect("a form")),
            Err(malformed) => Err(malformed.to_string()),
        }
    }

    #[test]
    fn forms_print_as_they_were_read() {
        for text in [
            "nil",
            "true",
            "-5",
            "1.5",
            "1/2",
            "##Inf",
            "\"a \\\"b\\\" \\\\ \\n\"",
            ":a.b/c",
            "sym",
            "(1 2)",
            "[]",
            "#{1 :a}",
            "{:a 1, [2] {}}",
        ] {
            assert_eq!(one(text).map(|form| form.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn blanks_comments_discards_and_tags_are_passed_over() {
        assert_eq!(one(" ; a comment\n , #_ {:not [this]} #inst #my/tag [1, 2 #_3]"), Ok(Edn::Vector(vec![Edn::Int(1), Edn::Int(2)])));
        assert_eq!(one("12N"), Ok(Edn::Int(12)));
        assert_eq!(one("99999999999999999999"), Ok(Edn::Number("99999999999999999999".to_owned())));
        assert_eq!(one("\\newline"), Ok(Edn::Char('\n')));
        assert_eq!(one("\"\\u0041\""), Ok(Edn::Text("A".to_owned())));
    }

    #[test]
    fn what_is_no_form_is_refused_with_its_line() {
        let refused = |text: &str| one(text).expect_err("must be refused");
        assert_eq!(refused("\n\n[1 2"), "line 3: the text ends within a form");
        assert_eq!(refused("]"), "line 1: `]` closes nothing");
        assert_eq!(refused("[1}"), "line 1: `}` closes nothing");
        assert_eq!(refused("{1}"), "line 1: a map's last key has no value");
        assert_eq!(refused("\"x"), "line 1: a string does not end");
        assert_eq!(refused("\"\\q\""), "line 1: an unknown escape in a string");
        assert_eq!(refused(":"), "line 1: a keyword without a name");
        assert_eq!(refused("#"), "line 1: `#` begins nothing known");
        assert_eq!(refused("\\nothing"), "line 1: an unknown character");
        for deep in ["[", "#_", "#a ", "{:a ", "#{"] {
            assert_eq!(refused(&deep.repeat(100_000)), format!("line 1: forms nest deeper than {DEPTH_MAX}"));
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_hostile(text in "[\\[\\](){}#_:;\"\\\\ 0-9a-z,\n-]{0,200}") {
            let mut forms = Forms::new(&text);
            while let Ok(Some(_)) = forms.form() {}
        }

        #[test]
        fn nor_any_other(text in any::<String>()) {
            let mut forms = Forms::new(&text);
            while let Ok(Some(_)) = forms.form() {}
        }
    }
}
