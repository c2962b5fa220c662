//! A correct log in memory, with concurrent clients driven by the library's own workload: whatever history it makes is valid.

use std::collections::BTreeMap;

use klamm_jepsen::history::{Action, Completion, History, Key, Micro, Mop, Offset, Polled, Process, Record, Recorder, Value};
use klamm_jepsen::workload::{Options, Workload};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// At most so many records of a key in one poll.
const RECORDS_MAX: usize = 5;

/// The history of `ops` operations and a last phase.
pub(crate) fn history(options: Options, ops: usize, seed: u64) -> History {
    let clients = (0..options.threads).map(|t| (t, Client::new(Process::Client(t)))).collect();
    let mut model = Model {
        rng: ChaCha8Rng::seed_from_u64(seed),
        workload: Workload::new(options),
        recorder: Recorder::default(),
        time: 0,
        logs: BTreeMap::new(),
        committed: BTreeMap::new(),
        clients,
    };
    model.run(ops);
    model.recorder.finish()
}

struct Model {
    rng: ChaCha8Rng,
    workload: Workload,
    recorder: Recorder,
    time: u64,
    logs: BTreeMap<Key, Log>,
    /// The group's positions.
    committed: BTreeMap<Key, Offset>,
    clients: BTreeMap<u32, Client>,
}

#[derive(Default)]
struct Log {
    records: Vec<(Offset, Value)>,
    end: i64,
}

struct Client {
    process: Process,
    subscribed: bool,
    positions: BTreeMap<Key, Offset>,
    open: Open,
}

/// An operation takes effect at one instant between its begin and its end.
enum Open {
    Idle,
    Begun(Action),
    Effected(Completion),
    Done,
}

impl Client {
    fn new(process: Process) -> Self {
        Self { process, subscribed: false, positions: BTreeMap::new(), open: Open::Idle }
    }
}

impl Model {
    fn run(&mut self, ops: usize) {
        let mut begun = 0;
        let mut last = false;
        while self.clients.values().any(|client| !matches!(client.open, Open::Done)) {
            if begun >= ops && !last && self.clients.values().all(|client| matches!(client.open, Open::Idle)) {
                self.workload.begin_last_phase();
                last = true;
            }
            let thread = self.rng.random_range(0..self.clients.len() as u32);
            let mut client = self.clients.remove(&thread).expect("a thread's client");
            let waits = begun >= ops && !last && matches!(client.open, Open::Idle);
            if !waits {
                begun += usize::from(matches!(client.open, Open::Idle));
                self.step(&mut client, last);
            }
            self.clients.insert(thread, client);
        }
    }

    fn step(&mut self, client: &mut Client, last: bool) {
        self.time += self.rng.random_range(0..1000);
        client.open = match std::mem::replace(&mut client.open, Open::Idle) {
            Open::Done => Open::Done,
            Open::Idle => match self.workload.next(client.process, &mut self.rng) {
                None => Open::Done,
                Some(action) => {
                    self.recorder.invoke(self.time, client.process, action.clone());
                    Open::Begun(action)
                }
            },
            Open::Begun(action) => Open::Effected(self.effect(client, action, last)),
            Open::Effected(completion) => {
                let op = self.recorder.complete(self.time, client.process, completion).clone();
                self.workload.completed(&op);
                if self.recorder.is_retired(client.process) {
                    *client = Client::new(self.workload.successor(client.process));
                }
                Open::Idle
            }
        };
    }

    fn effect(&mut self, client: &mut Client, action: Action, last: bool) -> Completion {
        // In the last phase all is well.
        let fate = if last { 9 } else { self.rng.random_range(0..40) };
        match &action {
            Action::Crash => Completion::info("crashed"),
            Action::Assign { keys, seek_to_beginning } => {
                let held = if client.subscribed || *seek_to_beginning { BTreeMap::new() } else { std::mem::take(&mut client.positions) };
                client.subscribed = false;
                let position = |key| if *seek_to_beginning { None } else { held.get(key).or_else(|| self.committed.get(key)).copied() };
                client.positions = keys.iter().map(|key| (*key, position(key).unwrap_or_default())).collect();
                Completion::ok(action)
            }
            Action::Subscribe { keys } => {
                client.subscribed = true;
                client.positions = keys.iter().map(|key| (*key, self.committed.get(key).copied().unwrap_or_default())).collect();
                Completion::ok(action)
            }
            Action::Micro { f, mops } => self.micro(client, *f, mops, fate, last),
            Action::DebugTopicPartitions { .. } | Action::Other { .. } => Completion::ok(action),
        }
    }

    fn micro(&mut self, client: &mut Client, f: Micro, mops: &[Mop], fate: u32, last_phase: bool) -> Completion {
        let before = client.positions.clone();
        let mut rebalanced = Vec::new();
        if client.subscribed && self.rng.random_ratio(1, 6) {
            rebalanced = client.positions.keys().copied().collect();
            client.positions = rebalanced.iter().map(|key| (*key, self.committed.get(key).copied().unwrap_or_default())).collect();
        }
        // Polls come first: nobody sees what is not yet committed, not even who sends it.
        let polled: Vec<Option<Polled>> = mops.iter().map(|mop| matches!(mop, Mop::Poll(_)).then(|| self.poll(client))).collect();
        let polls = polled.iter().any(Option::is_some);
        let takes_effect = fate > 1;
        let seen = mops.iter().zip(polled).map(|(mop, polled)| match mop {
            Mop::Send { key, value, .. } if takes_effect => Mop::Send { key: *key, offset: Some(self.append(*key, *value)), value: *value },
            Mop::Send { .. } => mop.clone(),
            Mop::Poll(_) => Mop::Poll(polled),
        });
        let seen: Vec<Mop> = seen.collect();
        let seen = Action::Micro { f, mops: seen };
        let told = self.rng.random();
        let ends = client
            .positions
            .keys()
            .filter(|_| told && polls)
            .map(|key| (*key, Offset(self.logs.get(key).map_or(0, |log| log.end))))
            .collect();
        let completion = match fate {
            0 => Completion::fail("aborted").seeing(seen),
            1 | 2 => Completion::info("timed out"),
            3 => Completion::info("timed out").seeing(seen),
            _ => Completion::ok(seen),
        };
        if fate == 0 {
            client.positions = before;
            client.positions.retain(|key, _| !rebalanced.contains(key));
        } else if !last_phase {
            self.committed.extend(&client.positions);
        }
        let completion = if rebalanced.is_empty() { completion } else { completion.rebalanced(rebalanced) };
        completion.ends(ends)
    }

    fn append(&mut self, key: Key, value: Value) -> Offset {
        let log = self.logs.entry(key).or_default();
        // Now and then a marker takes an offset.
        log.end += i64::from(self.rng.random_ratio(1, 10));
        let offset = Offset(log.end);
        log.records.push((offset, value));
        log.end += 1;
        offset
    }

    fn poll(&mut self, client: &mut Client) -> Polled {
        let mut seen = Polled::new();
        for (key, position) in &mut client.positions {
            let Some(log) = self.logs.get(key) else { continue };
            let from = log.records.partition_point(|(offset, _)| offset < position);
            let take = self.rng.random_range(0..=RECORDS_MAX);
            let records: Vec<Record> = log.records[from..].iter().take(take).map(|(offset, value)| Record::at(*offset, *value)).collect();
            if let Some(last) = records.last() {
                *position = Offset(last.offset.expect("a log knows its offsets").0 + 1);
                seen.insert(*key, records);
            }
        }
        seen
    }
}
