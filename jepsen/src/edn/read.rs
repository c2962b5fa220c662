//! Operations from EDN, ours or a foreign test's: maps one after the other, or one vector of maps.

use std::collections::BTreeMap;

use super::{Edn, Forms};
use crate::history::{Action, Key, Malformed, Micro, Mop, Offset, Op, Polled, Process, Record, Stage, Value};

/// Reads operation after operation. Ends after the first error.
#[derive(Clone, Debug)]
pub struct EdnOps<'a> {
    forms: Forms<'a>,
    /// How the list of operations closes, if they stand in one.
    close: Option<u8>,
    begun: bool,
    failed: bool,
    next: u64,
}

impl<'a> EdnOps<'a> {
    /// Reads the operations of `text`. Those without an `:index` get the next one.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { forms: Forms::new(text), close: None, begun: false, failed: false, next: 0 }
    }

    fn read(&mut self) -> Result<Option<Op>, Malformed> {
        if !self.begun {
            self.begun = true;
            self.close = self.forms.step_over(b"[(")?.map(|open| if open == b'[' { b']' } else { b')' });
        }
        if let Some(close) = self.close
            && self.forms.step_over(&[close])?.is_some()
        {
            self.close = None;
        }
        let Some(form) = self.forms.form()? else {
            return if self.close.is_some() { Err(self.forms.malformed("the list of operations does not end")) } else { Ok(None) };
        };
        let op = op(form, self.next).map_err(|why| self.forms.malformed(why))?;
        self.next = op.index.saturating_add(1);
        Ok(Some(op))
    }
}

impl Iterator for EdnOps<'_> {
    type Item = Result<Op, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        read.transpose()
    }
}

type Why = String;

fn op(form: Edn, next: u64) -> Result<Op, Why> {
    let Edn::Map(pairs) = form else { return Err(format!("an operation is a map, not {}", brief(&form))) };
    let mut fields: BTreeMap<String, Edn> = BTreeMap::new();
    for (key, value) in pairs {
        let Edn::Keyword(name) = key else { continue };
        fields.insert(name, value);
    }
    let mut take = |name: &str| fields.remove(name).filter(|value| *value != Edn::Nil);
    let f = take("f").ok_or("an operation has no :f")?;
    let seek = take("seek-to-beginning?") == Some(Edn::Bool(true));
    Ok(Op {
        index: take("index").map_or(Ok(next), |form| natural(&form))?,
        time: take("time").map_or(Ok(0), |form| natural(&form))?,
        process: process(&take("process").ok_or("an operation has no :process")?)?,
        stage: stage(&take("type").ok_or("an operation has no :type")?)?,
        action: action(&name(f), take("value"), seek)?,
        error: take("error").map(name),
        rebalances: take("rebalance-log").map_or(Ok(Vec::new()), rebalances)?,
        ends: take("ends").map_or(Ok(BTreeMap::new()), ends)?,
    })
}

fn process(form: &Edn) -> Result<Process, Why> {
    let nemesis = matches!(form, Edn::Keyword(word) if word == "nemesis");
    if nemesis { Ok(Process::Nemesis) } else { small(form).map(Process::Client) }
}

fn stage(form: &Edn) -> Result<Stage, Why> {
    let Edn::Keyword(word) = form else { return Err(format!("a :type is a keyword, not {}", brief(form))) };
    match word.as_str() {
        "invoke" => Ok(Stage::Invoke),
        "ok" => Ok(Stage::Ok),
        "fail" => Ok(Stage::Fail),
        "info" => Ok(Stage::Info),
        _ => Err(format!("there is no :type :{word}")),
    }
}

fn action(f: &str, value: Option<Edn>, seek_to_beginning: bool) -> Result<Action, Why> {
    let micro = match f {
        "send" => Micro::Send,
        "poll" => Micro::Poll,
        "txn" => Micro::Txn,
        "assign" => return Ok(Action::Assign { keys: keys(value)?, seek_to_beginning }),
        "subscribe" => return Ok(Action::Subscribe { keys: keys(value)? }),
        "debug-topic-partitions" => return Ok(Action::DebugTopicPartitions { keys: keys(value)? }),
        "crash" => return Ok(Action::Crash),
        _ => return Ok(Action::Other { f: f.to_owned(), value: value.map_or_else(String::new, plain) }),
    };
    let mops = sequence(value.ok_or("a send, poll or txn has no :value")?)?;
    Ok(Action::Micro { f: micro, mops: mops.into_iter().map(mop).collect::<Result<_, _>>()? })
}

fn mop(form: Edn) -> Result<Mop, Why> {
    let mut parts = sequence(form)?.into_iter();
    let word = parts.next().map(name).unwrap_or_default();
    let mop = match (word.as_str(), parts.next(), parts.next()) {
        ("send", Some(key), Some(sent)) => {
            let Record { offset, value } =
                if matches!(sent, Edn::Int(_)) { Record { offset: None, value: Value(int(&sent)?) } } else { record(sent)? };
            Mop::Send { key: Key(small(&key)?), offset, value }
        }
        ("poll", None | Some(Edn::Nil), None) => Mop::Poll(None),
        ("poll", Some(seen), None) => Mop::Poll(Some(polled(seen)?)),
        (_, _, _) => return Err(format!("neither [:send key value] nor [:poll records]: [:{word} …]")),
    };
    if parts.next().is_some() {
        return Err(format!("too much in [:{word} …]"));
    }
    Ok(mop)
}

fn polled(form: Edn) -> Result<Polled, Why> {
    let Edn::Map(pairs) = form else { return Err(format!("what a poll saw is a map, not {}", brief(&form))) };
    let mut seen = Polled::new();
    for (key, records) in pairs {
        let records = sequence(records)?.into_iter().map(record).collect::<Result<_, _>>()?;
        if seen.insert(Key(small(&key)?), records).is_some() {
            return Err(format!("a poll saw key {key} twice"));
        }
    }
    Ok(seen)
}

fn record(form: Edn) -> Result<Record, Why> {
    match sequence(form)?.as_slice() {
        [Edn::Nil, value] => Ok(Record { offset: None, value: Value(int(value)?) }),
        [offset, value] => Ok(Record { offset: Some(Offset(int(offset)?)), value: Value(int(value)?) }),
        _ => Err("a record is a pair of offset and value".to_owned()),
    }
}

fn keys(form: Option<Edn>) -> Result<Vec<Key>, Why> {
    let forms = form.map_or(Ok(Vec::new()), sequence)?;
    forms.iter().map(|key| small(key).map(Key)).collect()
}

fn rebalances(form: Edn) -> Result<Vec<Vec<Key>>, Why> {
    let change = |form: Edn| {
        let Edn::Map(pairs) = form else { return Err(format!("a change of assignment is a map, not {}", brief(&form))) };
        keys(pairs.into_iter().find(|(name, _)| *name == Edn::Keyword("keys".to_owned())).map(|(_, keys)| keys))
    };
    sequence(form)?.into_iter().map(change).collect()
}

fn ends(form: Edn) -> Result<BTreeMap<Key, Offset>, Why> {
    let Edn::Map(pairs) = form else { return Err(format!(":ends is a map, not {}", brief(&form))) };
    pairs.iter().map(|(key, end)| Ok((Key(small(key)?), Offset(int(end)?)))).collect()
}

fn sequence(form: Edn) -> Result<Vec<Edn>, Why> {
    if let Edn::List(forms) | Edn::Vector(forms) | Edn::Set(forms) = form {
        return Ok(forms);
    }
    Err(format!("a sequence was expected, not {}", brief(&form)))
}

fn int(form: &Edn) -> Result<i64, Why> {
    if let Edn::Int(number) = form { Ok(*number) } else { Err(format!("an integer was expected, not {}", brief(form))) }
}

fn natural(form: &Edn) -> Result<u64, Why> {
    u64::try_from(int(form)?).map_err(|_| format!("{form} is negative"))
}

fn small(form: &Edn) -> Result<u32, Why> {
    u32::try_from(int(form)?).map_err(|_| format!("{form} is no number of a key or process"))
}

/// A keyword or a string as its bare text; anything else as it is written.
fn name(form: Edn) -> String {
    if let Edn::Keyword(word) | Edn::Text(word) = form { word } else { form.to_string() }
}

/// As [`name`], but a keyword keeps its colon.
fn plain(form: Edn) -> String {
    if let Edn::Text(text) = form { text } else { form.to_string() }
}

/// The beginning of a form, for messages.
fn brief(form: &Edn) -> String {
    let text = form.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
