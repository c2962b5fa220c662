//! Reads Java's properties syntax, as `server.properties` uses it. Knows no key.
//!
//! Source: `java.util.Properties.load`. Unlike Java the file is UTF-8, and values lose trailing blanks (Kafka trims them anyway).

/// One `key = value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Unescaped.
    pub key: String,
    /// Unescaped, without blanks at either end.
    pub value: String,
    /// Where it begins, from 1.
    pub line: usize,
}

/// All entries in the order of the file; a key may occur more than once, and then the last one counts.
///
/// # Errors
/// The line of a `\u` that four hexadecimal digits do not follow.
pub fn parse(text: &str) -> Result<Vec<Entry>, usize> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut logical = first.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (key, value) = halves(&logical);
        let line = index + 1;
        let key = unescape(key).ok_or(line)?;
        let value = unescape(value).ok_or(line)?.trim().to_owned();
        entries.push(Entry { key, value, line });
    }
    Ok(entries)
}

/// An odd number of backslashes at the end: the last one joins the next line.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or blank; blanks around one `=` or `:` belong to neither half.
fn halves(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = !escaped && c == '\\';
        ends
    });
    let Some(end) = end else { return (line, "") };
    let rest = line[end..].trim_start();
    (&line[..end], rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits = chars.as_str().get(..4)?;
                let code = u32::from_str_radix(digits, 16).ok()?;
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                chars = chars.as_str()[4..].chars();
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Some(out)
}

/// One line that `parse` reads back as this entry.
#[must_use]
pub fn line(key: &str, value: &str) -> String {
    let escaped = |text: &str, also: &[char]| {
        text.chars().fold(String::new(), |mut out, c| {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\\' => out.push_str("\\\\"),
                c if also.contains(&c) => out.extend(['\\', c]),
                c => out.push(c),
            }
            out
        })
    };
    format!("{}={}\n", escaped(key, &['=', ':', ' ', '#', '!']), escaped(value, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[(&str, &str)]) {
        let got = parse(text).expect("well-formed");
        assert_eq!(got.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect::<Vec<_>>(), want, "{text:?}");
    }

    #[test]
    fn separators_comments_and_blanks() {
        check(
            "# c\n ! c\n\n a=1\nb : 2\nc 3\n d\t=\t4  \ne\nf=\ng==x\n",
            &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", ""), ("f", ""), ("g", "=x")],
        );
    }

    #[test]
    fn a_backslash_joins_lines_unless_it_is_escaped() {
        check("a=1,\\\n   2,\\\r\n\t3\nb=x\\\\\nc=4", &[("a", "1,2,3"), ("b", "x\\"), ("c", "4")]);
        check("# no \\\na=1", &[("a", "1")]);
        check("a=1\\", &[("a", "1")]);
    }

    #[test]
    fn escapes() {
        check("a\\ b\\=c=\\u0041\\t\\q", &[("a b=c", "A\tq")]);
        assert_eq!(parse("ok=1\nbad=\\u00g1"), Err(2));
        assert_eq!(parse("bad=\\u0"), Err(1));
    }

    #[test]
    fn lines_carry_their_number() {
        let entries = parse("#\na=1,\\\n2\nb=3\n").expect("well-formed");
        assert_eq!(entries.iter().map(|e| e.line).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_written_line_reads_back() {
        for (key, value) in [("cluster.id", "a=b:c"), ("odd key", "tab\there"), ("x", "back\\slash # no comment")] {
            check(&line(key, value), &[(key, value)]);
        }
    }
}
