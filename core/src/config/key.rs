//! One configuration key: its type, its default, and which values it takes. Judges a value, in Kafka's own words where it refuses.
//!
//! Source: Kafka's `ConfigDef`. Never knows where a value comes from.

use std::fmt;

/// The type of a value, as DescribeConfigs tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// Text.
    String,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// A floating-point number.
    Double,
    /// Values separated by commas.
    List,
    /// A Java class; klamm loads none.
    Class,
    /// A secret, never shown.
    Password,
}

impl Kind {
    /// What a value of it looks like, for an operator who gave another one.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Int | Self::Short | Self::Long => "a whole number, like 1",
            Self::Double => "a number, like 0.5",
            Self::List => "words separated by commas",
            Self::String | Self::Class | Self::Password => "text",
        }
    }

    /// Its number in DescribeConfigs (`DescribeConfigsResponse.ConfigType`).
    #[must_use]
    pub fn wire(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// Which values of its type a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    /// All.
    Any,
    /// This number and above.
    AtLeast(i64),
    /// From the first number to the second.
    Between(i64, i64),
    /// From the first number to the second, or the third.
    BetweenOr(i64, i64, i64),
    /// One of these words, or a list of only these.
    Words(&'static [&'static str]),
    /// `*`, or a list of `partition:broker`.
    Throttled,
}

/// A value that its key takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of `Boolean`.
    Flag(bool),
    /// Of `Int`, `Short` and `Long`.
    Number(i64),
    /// Of `Double`.
    Ratio(f64),
    /// Of `String`, `Class` and `Password`.
    Text(String),
    /// Of `List`.
    List(Vec<String>),
}

/// As Kafka prints it: what DescribeConfigs answers.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            // As Java writes it.
            Self::Ratio(ratio) => f.write_str(&format!("{ratio:?}").replace('e', "E")),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => f.write_str(&items.join(",")),
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What counts where nobody sets it, as text; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// Which values it takes.
    pub valid: Valid,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

impl Key {
    /// The value that `text` means here.
    ///
    /// # Errors
    /// What is wrong, in Kafka's words (`ConfigException`'s message).
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let value = self.read(text)?;
        self.check(&value)?;
        Ok(value)
    }

    /// Its default; `None` where Kafka's is null.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        self.default.map(|text| self.read(text).expect("a default in our own table can be read"))
    }

    /// Whether its value must never be shown.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    fn read(&self, text: &str) -> Result<Value, String> {
        let trimmed = text.trim();
        match self.kind {
            Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Value::Flag(true)),
            Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Value::Flag(false)),
            Kind::Boolean => Err(self.refusal(trimmed, "Expected value to be either true or false")),
            Kind::Int => self.number::<i32>(trimmed, "INT"),
            Kind::Short => self.number::<i16>(trimmed, "SHORT"),
            Kind::Long => self.number::<i64>(trimmed, "LONG"),
            Kind::Double => match java_double(trimmed) {
                Some(ratio) => Ok(Value::Ratio(ratio)),
                None => Err(self.refusal(trimmed, "Not a number of type DOUBLE")),
            },
            Kind::String | Kind::Class => Ok(Value::Text(trimmed.to_owned())),
            Kind::Password => Ok(Value::Text(text.to_owned())),
            Kind::List => self.list(trimmed),
        }
    }

    fn number<T: std::str::FromStr + Into<i64>>(&self, text: &str, kind: &str) -> Result<Value, String> {
        text.parse::<T>().map(|n| Value::Number(n.into())).map_err(|_| self.refusal(text, &format!("Not a number of type {kind}")))
    }

    fn list(&self, text: &str) -> Result<Value, String> {
        if text.is_empty() {
            return Ok(Value::List(Vec::new()));
        }
        let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
        if matches!(self.valid, Valid::Words(_)) && items.iter().any(String::is_empty) {
            return Err(format!("Configuration '{}' values must not be empty.", self.name));
        }
        Ok(Value::List(items))
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        match (self.valid, value) {
            (Valid::AtLeast(low), Value::Number(n)) if *n < low => Err(self.refusal(value, &format!("Value must be at least {low}"))),
            (Valid::Between(low, _), Value::Number(n)) if *n < low => Err(self.refusal(value, &format!("Value must be at least {low}"))),
            (Valid::Between(low, _), Value::Ratio(n)) if *n < low as f64 => Err(self.refusal(value, &format!("Value must be at least {low}"))),
            (Valid::Between(_, high), Value::Number(n)) if *n > high => Err(self.refusal(value, &format!("Value must be no more than {high}"))),
            (Valid::Between(_, high), Value::Ratio(n)) if *n > high as f64 => Err(self.refusal(value, &format!("Value must be no more than {high}"))),
            (Valid::BetweenOr(low, high, other), Value::Number(n)) if (*n < low || *n > high) && *n != other => {
                Err(self.refusal(value, &format!("Value must be between {low} and {high} or equal to {other}")))
            }
            (Valid::Words(words), Value::Text(text)) => self.word(words, text),
            (Valid::Words(words), Value::List(items)) => items.iter().try_for_each(|item| self.word(words, item)),
            (Valid::Throttled, Value::List(items)) if !is_throttled(items) => Err(self.refusal(
                format!("[{}]", items.join(", ")),
                &format!(
                    "{} must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                ),
            )),
            (_, _) => Ok(()),
        }
    }

    fn word(&self, words: &[&str], word: &str) -> Result<(), String> {
        if words.contains(&word) {
            return Ok(());
        }
        Err(self.refusal(word, &format!("String must be one of: {}", words.join(", "))))
    }

    fn refusal(&self, value: impl fmt::Display, why: &str) -> String {
        format!("Invalid value {value} for configuration {}: {why}", self.name)
    }
}

/// A number as Java's `Double.parseDouble` reads it: an `f` or `d` may follow.
fn java_double(text: &str) -> Option<f64> {
    let digits = text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text);
    // Rust reads "inf" and "nan" in any case; Java knows only these two words.
    let is_word = digits.bytes().any(|b| b.is_ascii_alphabetic() && !matches!(b, b'e' | b'E'));
    if is_word && !matches!(text.trim_start_matches(['+', '-']), "Infinity" | "NaN") {
        return None;
    }
    if is_word { text.parse().ok() } else { digits.parse().ok() }
}

/// Kafka's `ThrottledReplicaListValidator`.
fn is_throttled(items: &[String]) -> bool {
    let is_pair = |item: &String| {
        let mut parts = item.split(':');
        let is_number = |part: Option<&str>| part.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
        is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none()
    };
    matches!(items, [only] if only == "*") || items.iter().all(is_pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, valid: Valid) -> Key {
        Key { name: "k", kind, default: None, valid, doc: "" }
    }

    #[test]
    fn numbers_are_read_as_java_does() {
        let int = key(Kind::Int, Valid::AtLeast(5));
        assert_eq!(int.parse(" +7 "), Ok(Value::Number(7)));
        assert_eq!(int.parse("+4").expect_err("below"), "Invalid value 4 for configuration k: Value must be at least 5");
        for bad in ["abc", "", "1.5", "0x10", "1_000", "9223372036854775807"] {
            assert_eq!(int.parse(bad).expect_err("no int"), format!("Invalid value {bad} for configuration k: Not a number of type INT"));
        }
        let ratio = key(Kind::Double, Valid::Between(0, 1));
        for (text, shown) in [("0.5f", "0.5"), ("1d", "1.0"), ("1e-1", "0.1"), ("0", "0.0"), ("NaN", "NaN")] {
            assert_eq!(ratio.parse(text).expect("a ratio").to_string(), shown);
        }
        assert_eq!(ratio.parse("2").expect_err("above"), "Invalid value 2.0 for configuration k: Value must be no more than 1");
        assert_eq!(ratio.parse("inf").expect_err("no Java word"), "Invalid value inf for configuration k: Not a number of type DOUBLE");
    }

    #[test]
    fn lists_trim_their_items_and_refuse_empty_words() {
        let list = key(Kind::List, Valid::Words(&["compact", "delete"]));
        assert_eq!(list.parse(" compact, delete").expect("two words").to_string(), "compact,delete");
        assert_eq!(list.parse(""), Ok(Value::List(vec![])));
        assert_eq!(list.parse("compact,").expect_err("an empty word"), "Configuration 'k' values must not be empty.");
        assert_eq!(
            list.parse("foo").expect_err("no such word"),
            "Invalid value foo for configuration k: String must be one of: compact, delete"
        );
    }

    #[test]
    fn throttled_replicas_are_pairs_or_a_star() {
        let throttled = key(Kind::List, Valid::Throttled);
        for good in ["*", "", "0:1, 1:2"] {
            assert!(throttled.parse(good).is_ok(), "{good}");
        }
        for bad in ["foo", "*,0:1", "1", "a:b", ":", "0:1:2"] {
            assert!(throttled.parse(bad).is_err(), "{bad}");
        }
        assert!(
            throttled.parse("*,0:1").expect_err("a star among pairs").starts_with("Invalid value [*, 0:1] for configuration k: k must be")
        );
    }

    #[test]
    fn a_level_may_be_the_default_or_within_a_range() {
        let gzip = key(Kind::Int, Valid::BetweenOr(1, 9, -1));
        assert!(gzip.parse("-1").is_ok() && gzip.parse("9").is_ok());
        assert_eq!(
            gzip.parse("0").expect_err("neither"),
            "Invalid value 0 for configuration k: Value must be between 1 and 9 or equal to -1"
        );
    }
}
