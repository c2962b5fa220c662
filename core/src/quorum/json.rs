//! Just enough JSON for one small object of a state file: order, spaces and unknown keys do not matter.

use std::collections::BTreeMap;

/// The fields of a flat object: strings without their quotes, everything else as it is written.
pub(super) fn fields(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut rest = eat(text.trim_start(), '{')?;
    let mut fields = BTreeMap::new();
    if let Ok(after) = eat(rest, '}') {
        return end(after, fields);
    }
    loop {
        let (key, after) = string(rest)?;
        let (value, after) = value(eat(after, ':')?)?;
        fields.insert(key.to_string(), value.to_string());
        match eat(after, ',') {
            Ok(after) => rest = after,
            Err(_) => return end(eat(after, '}')?, fields),
        }
    }
}

fn end(rest: &str, fields: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    if rest.is_empty() { Ok(fields) } else { Err(format!("{rest:?} follows the object")) }
}

fn eat(text: &str, expected: char) -> Result<&str, String> {
    match text.strip_prefix(expected) {
        Some(rest) => Ok(rest.trim_start()),
        None => Err(format!("{:?} where {expected:?} was expected", text.chars().next())),
    }
}

fn string(text: &str) -> Result<(&str, &str), String> {
    let inner = text.strip_prefix('"').ok_or("a string was expected")?;
    let close = inner.find(['"', '\\']).ok_or("a string does not end")?;
    // Nothing that is written here needs an escape.
    if inner[close..].starts_with('\\') {
        return Err("an escape in a string".into());
    }
    Ok((&inner[..close], inner[close + 1..].trim_start()))
}

fn value(text: &str) -> Result<(&str, &str), String> {
    if text.starts_with('"') {
        return string(text);
    }
    if text.starts_with(['[', '{']) {
        return nested(text);
    }
    let close = text.find([',', '}']).ok_or("a value does not end")?;
    let value = text[..close].trim_end();
    if value.is_empty() { Err("a value is missing".into()) } else { Ok((value, &text[close..])) }
}

/// A list or an object as one piece: version 0 of the file lists the voters, which nobody reads.
fn nested(text: &str) -> Result<(&str, &str), String> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += match c {
            '[' | '{' => 1,
            ']' | '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return Ok((&text[..=at], text[at + 1..].trim_start()));
        }
    }
    Err("a list does not end".into())
}
