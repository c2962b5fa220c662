//! Histories in a few words, for people to read. A case is
//!
//! ```text
//! ## what it shows
//! options: ww-deps sub-via=subscribe          (only where needed)
//! p0 send 0:7@3                               process 0 sends value 7 to key 0, and is told offset 3
//! p1 poll 0:7@3 0:8@4 1:9@0                   process 1 polls, and gets these records
//! p0 txn send 0:1@5 poll 1:2@0 | info         a transaction of unknown outcome, with what was seen of it
//! p2 assign 0 1 seek                          takes keys 0 and 1 from their beginning
//! p0> send 0:5                                begins here …
//! p0< send 0:5@9                              … and ends here
//! p1 poll 0:9@6 | rebalance 0 | end 0=7       the assignment of key 0 changed; the newest leader told its end
//! => invalid: lost-write linear-gap           all that makes it invalid; or `=> valid`, or `=> undecided`
//! allowed: int-send-skip                      all that was found and is allowed (only where there is any)
//! ```

use klamm_jepsen::check::{Kind, Options, Verdict};
use klamm_jepsen::history::{Action, Completion, History, Key, Micro, Mop, Offset, Polled, Process, Record, Recorder, Value};

/// One history with its judgement.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) history: History,
    pub(crate) options: Options,
    pub(crate) verdict: Verdict,
    pub(crate) bad: Vec<Kind>,
    pub(crate) allowed: Vec<Kind>,
}

/// All cases of a file.
pub(crate) fn cases(text: &str) -> Vec<Case> {
    text.split("\n## ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let name = lines.next().expect("a case has a name").to_owned();
    let mut recorder = Recorder::default();
    let mut options = Options::default();
    let (mut verdict, mut bad, mut allowed) = (None, Vec::new(), Vec::new());
    let mut time = 0;
    for line in lines {
        if let Some(words) = line.strip_prefix("options:") {
            options = parse_options(words);
        } else if let Some(expected) = line.strip_prefix("=>") {
            let (word, kinds) = expected.split_once(':').unwrap_or((expected, ""));
            verdict = Some(parse_verdict(word.trim()));
            bad = parse_kinds(kinds);
        } else if let Some(kinds) = line.strip_prefix("allowed:") {
            allowed = parse_kinds(kinds);
        } else {
            entry(line, &mut time, &mut recorder);
        }
    }
    Case { verdict: verdict.unwrap_or_else(|| panic!("{name}: no verdict")), name, history: recorder.finish(), options, bad, allowed }
}

fn parse_options(words: &str) -> Options {
    let mut options = Options::default();
    for word in words.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("ww-deps", "") => options.ww_deps = true,
            ("process-edges", "") => options.process_edges = true,
            ("rebalances-logged", "") => options.rebalances_logged = true,
            ("only-jepsens", "") => options.only_jepsens = true,
            ("sub-via", via) => options.subscribes = Some(via == "subscribe"),
            ("allow", kind) => options.allow.extend(parse_kinds(kind)),
            _ => panic!("no such option: {word}"),
        }
    }
    options
}

fn parse_verdict(word: &str) -> Verdict {
    match word {
        "valid" => Verdict::Valid,
        "invalid" => Verdict::Invalid,
        "undecided" => Verdict::Undecided,
        _ => panic!("no such verdict: {word}"),
    }
}

fn parse_kinds(words: &str) -> Vec<Kind> {
    let mut kinds: Vec<Kind> =
        words.split_whitespace().map(|name| Kind::parse(name).unwrap_or_else(|| panic!("no such anomaly: {name}"))).collect();
    kinds.sort_unstable();
    kinds
}

fn entry(line: &str, time: &mut u64, recorder: &mut Recorder) {
    let (who, what) = line.split_once(' ').unwrap_or((line, ""));
    let (begins, ends) = (!who.ends_with('<'), !who.ends_with('>'));
    let number = who.trim_start_matches('p').trim_end_matches(['<', '>']).parse();
    let process = Process::Client(number.unwrap_or_else(|_| panic!("no process: {line}")));
    let mut parts = what.split('|').map(str::trim);
    let seen = parse_action(parts.next().expect("split yields at least one part"));
    if begins {
        *time += 1;
        recorder.invoke(*time, process, asked(&seen));
    }
    if ends {
        *time += 1;
        recorder.complete(*time, process, completion(seen, parts));
    }
}

fn completion<'a>(seen: Action, modifiers: impl Iterator<Item = &'a str>) -> Completion {
    let mut completion = if seen == Action::Crash { Completion::info("crashed") } else { Completion::ok(seen.clone()) };
    for modifier in modifiers {
        let (word, rest) = modifier.split_once(' ').unwrap_or((modifier, ""));
        completion = match word {
            "fail" => Completion::fail("refused").seeing(seen.clone()),
            "info" => Completion::info("timed out").seeing(seen.clone()),
            "rebalance" => completion.rebalanced(parse_keys(rest)),
            "end" => completion.ends(rest.split_whitespace().map(parse_end).collect()),
            _ => panic!("no such modifier: {modifier}"),
        };
    }
    completion
}

fn parse_action(text: &str) -> Action {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "send" => Action::Micro { f: Micro::Send, mops: parse_mops(text) },
        "poll" => Action::Micro { f: Micro::Poll, mops: parse_mops(text) },
        "txn" => Action::Micro { f: Micro::Txn, mops: parse_mops(rest) },
        "assign" => Action::Assign { keys: parse_keys(rest.trim_end_matches("seek")), seek_to_beginning: rest.ends_with("seek") },
        "subscribe" => Action::Subscribe { keys: parse_keys(rest) },
        "debug" => Action::DebugTopicPartitions { keys: parse_keys(rest) },
        "crash" => Action::Crash,
        _ => panic!("no such action: {text}"),
    }
}

/// `send` and `poll` say what the items after them are.
fn parse_mops(text: &str) -> Vec<Mop> {
    let mut mops = Vec::new();
    let mut sending = false;
    for word in text.split_whitespace() {
        match (word, sending) {
            ("send", _) => sending = true,
            ("poll", _) => {
                sending = false;
                mops.push(Mop::Poll(Some(Polled::new())));
            }
            (item, true) => {
                let (key, record) = parse_record(item);
                let Record { offset, value } = record.expect("a send has a value");
                mops.push(Mop::Send { key, offset, value });
            }
            (item, false) => {
                let Some(Mop::Poll(Some(seen))) = mops.last_mut() else { panic!("an item before send or poll: {text}") };
                let (key, record) = parse_record(item);
                seen.entry(key).or_default().extend(record);
            }
        }
    }
    mops
}

/// `key:value@offset`, `key:value`, or `key:` for a key without records.
fn parse_record(item: &str) -> (Key, Option<Record>) {
    let (key, record) = item.split_once(':').unwrap_or_else(|| panic!("no record: {item}"));
    let key = Key(key.parse().expect("a key"));
    if record.is_empty() {
        return (key, None);
    }
    let (value, offset) = record.split_once('@').unwrap_or((record, ""));
    let offset = (!offset.is_empty()).then(|| Offset(offset.parse().expect("an offset")));
    (key, Some(Record { offset, value: Value(value.parse().expect("a value")) }))
}

fn parse_end(item: &str) -> (Key, Offset) {
    let (key, end) = item.split_once('=').expect("key=end");
    (Key(key.parse().expect("a key")), Offset(end.parse().expect("an offset")))
}

fn parse_keys(text: &str) -> Vec<Key> {
    text.split_whitespace().map(|key| Key(key.parse().expect("a key"))).collect()
}

/// What was asked for when this came of it.
fn asked(seen: &Action) -> Action {
    let mut asked = seen.clone();
    if let Action::Micro { mops, .. } = &mut asked {
        for mop in mops {
            match mop {
                Mop::Send { offset, .. } => *offset = None,
                Mop::Poll(seen) => *seen = None,
            }
        }
    }
    asked
}
