//! Writes a history down while a test runs. A caller that breaks a rule of histories has a bug, and stops here.

use std::collections::BTreeMap;

use super::{Action, History, Key, Offset, Op, Process, Rules, Stage};

/// A history under construction.
///
/// ```
/// use klamm_jepsen::history::{Action, Completion, Key, Offset, Process, Recorder, Value};
/// let mut recorder = Recorder::default();
/// let client = Process::Client(0);
/// recorder.invoke(10, client, Action::send(Key(1), Value(7)));
/// recorder.complete(25, client, Completion::ok(Action::sent(Key(1), Offset(0), Value(7))));
/// recorder.invoke(30, client, Action::poll());
/// recorder.complete(99, client, Completion::info("timed out"));
/// assert!(recorder.is_retired(client));
/// assert_eq!(recorder.finish().ops().len(), 4);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    history: History,
    rules: Rules,
    open: BTreeMap<Process, Action>,
}

/// How an operation ended.
#[derive(Clone, Debug)]
pub struct Completion {
    stage: Stage,
    action: Option<Action>,
    error: Option<String>,
    rebalances: Vec<Vec<Key>>,
    ends: BTreeMap<Key, Offset>,
}

impl Completion {
    /// It took effect, and this is what was seen.
    #[must_use]
    pub fn ok(seen: Action) -> Self {
        Self::new(Stage::Ok, Some(seen), None)
    }

    /// It certainly had no effect.
    #[must_use]
    pub fn fail(error: impl Into<String>) -> Self {
        Self::new(Stage::Fail, None, Some(error.into()))
    }

    /// Nobody knows whether it took effect.
    #[must_use]
    pub fn info(error: impl Into<String>) -> Self {
        Self::new(Stage::Info, None, Some(error.into()))
    }

    /// With what was nevertheless seen of a failed or unknown operation; without it the invocation is repeated.
    #[must_use]
    pub fn seeing(mut self, seen: Action) -> Self {
        self.action = Some(seen);
        self
    }

    /// With one change of assignment that touched these keys while it ran.
    #[must_use]
    pub fn rebalanced(mut self, keys: Vec<Key>) -> Self {
        self.rebalances.push(keys);
        self
    }

    /// With the high watermarks that leaders of the newest epoch told; see [`Op::ends`].
    #[must_use]
    pub fn ends(mut self, ends: BTreeMap<Key, Offset>) -> Self {
        self.ends = ends;
        self
    }

    fn new(stage: Stage, action: Option<Action>, error: Option<String>) -> Self {
        Self { stage, action, error, rebalances: Vec::new(), ends: BTreeMap::new() }
    }
}

impl Recorder {
    /// Notes that `process` begins `action` at `time` (nanoseconds since the test began, never going back).
    ///
    /// # Panics
    /// If the caller breaks a rule of histories.
    pub fn invoke(&mut self, time: u64, process: Process, action: Action) -> &Op {
        self.open.insert(process, action.clone());
        self.push(time, process, Completion::new(Stage::Invoke, Some(action), None))
    }

    /// Notes how the open operation of `process` ended.
    ///
    /// # Panics
    /// If the caller breaks a rule of histories.
    pub fn complete(&mut self, time: u64, process: Process, completion: Completion) -> &Op {
        self.push(time, process, completion)
    }

    /// Notes what the nemesis did.
    pub fn nemesis(&mut self, time: u64, f: impl Into<String>, value: impl Into<String>) -> &Op {
        let action = Action::Other { f: f.into(), value: value.into() };
        self.push(time, Process::Nemesis, Completion::new(Stage::Info, Some(action), None))
    }

    /// Whether this process number may not be used again; its thread goes on under another.
    #[must_use]
    pub fn is_retired(&self, process: Process) -> bool {
        self.rules.is_retired(process)
    }

    /// The history so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The history. Operations still open stay so, which is one more way of being unknown.
    #[must_use]
    pub fn finish(self) -> History {
        self.history
    }

    fn push(&mut self, time: u64, process: Process, completion: Completion) -> &Op {
        let Completion { stage, action, error, rebalances, ends } = completion;
        let invoked = if stage == Stage::Invoke { None } else { self.open.remove(&process) };
        let action = action.or(invoked).expect("an operation ends only after it began");
        let op = Op { index: self.rules.next_index(), time, process, stage, action, error, rebalances, ends };
        if let Err(broken) = self.rules.admit(&op) {
            panic!("the recorder was misused: {broken}");
        }
        self.history.ops.push(op);
        self.history.ops.last().expect("just pushed")
    }
}
