//! The anomalies by name: Jepsen's, and ours beside them. Decides which of them a test allows, never whether one is there.

use std::fmt;

use super::Options;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal),* $(,)?) => {
        /// One way in which a log can disappoint its clients.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind),* }

        impl Kind {
            /// All of them: Jepsen's first.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name as Jepsen writes it (ours in the same style).
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }
        }
    };
}

kinds! {
    /// One value stands at two or more offsets of a key.
    Duplicate = "duplicate",
    /// One offset of a key holds two or more values.
    InconsistentOffsets = "inconsistent-offsets",
    /// A committed value that nobody read, although a later one of its key was read.
    LostWrite = "lost-write",
    /// An acknowledged value that nobody had read by the end.
    Unseen = "unseen",
    /// A value whose send failed was read (aborted read).
    G1a = "G1a",
    /// A transaction read its own send.
    PrecommittedRead = "precommitted-read",
    /// A consumer's poll jumped over records after its poll before.
    PollSkip = "poll-skip",
    /// A consumer's poll began at or before the end of its poll before.
    NonmonotonicPoll = "nonmonotonic-poll",
    /// Records were jumped over inside one operation.
    IntPollSkip = "int-poll-skip",
    /// Records came out of order, or twice, inside one operation.
    IntNonmonotonicPoll = "int-nonmonotonic-poll",
    /// A producer's send got an offset at or before that of its send before.
    NonmonotonicSend = "nonmonotonic-send",
    /// The sends of one transaction stand out of order.
    IntNonmonotonicSend = "int-nonmonotonic-send",
    /// Others' records stand between two sends of one transaction.
    IntSendSkip = "int-send-skip",
    /// A cycle of write dependencies.
    G0 = "G0",
    /// A cycle of write dependencies and process order.
    G0Process = "G0-process",
    /// A cycle of write dependencies and real time.
    G0Realtime = "G0-realtime",
    /// A cycle of write and read dependencies: information flows in a circle.
    G1c = "G1c",
    /// The same with process order.
    G1cProcess = "G1c-process",
    /// The same with real time.
    G1cRealtime = "G1c-realtime",
    /// No operation could be related to any other: something is wrong with the test.
    EmptyTransactionGraph = "empty-transaction-graph",
    /// Ours: a value was read that nobody ever sent. (Jepsen's checker gives up on such a history.)
    Phantom = "phantom",
    /// Ours: a record does not stand at exactly its acknowledged offset, or not alone there.
    LinearOffset = "linear-offset",
    /// Ours: a send got an offset below one that was known to exist before the send began.
    LinearAppend = "linear-append",
    /// Ours: a poll delivered a record before its send began.
    LinearFuture = "linear-future",
    /// Ours: a poll left out a record of the log's slice.
    LinearGap = "linear-gap",
    /// Ours: a poll delivered a record from before its position.
    LinearRegress = "linear-regress",
    /// Ours: the leader of the newest epoch told an end of the log that had been passed before it was asked.
    LinearStale = "linear-stale",
}

impl Kind {
    /// The anomaly of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether Jepsen's own checker knows it. The others are more than Jepsen demands.
    #[must_use]
    pub fn is_jepsens(self) -> bool {
        self < Self::Phantom
    }

    /// Whether a test under these options is valid in spite of it.
    #[must_use]
    pub(super) fn is_allowed(self, options: &Options, subscribes: bool) -> bool {
        if options.allow.contains(&self) || (options.only_jepsens && !self.is_jepsens()) {
            return true;
        }
        match self {
            // Kafka isolates no writes: other producers' records may stand anywhere between a transaction's own.
            Self::IntSendSkip | Self::G0 | Self::G0Process | Self::G0Realtime => true,
            // A rebalance between two polls may take a partition away and bring it back.
            Self::PollSkip | Self::NonmonotonicPoll => subscribes,
            // Without write isolation, write edges close circles that mean nothing.
            Self::G1c | Self::G1cProcess | Self::G1cRealtime => options.ww_deps,
            Self::Duplicate
            | Self::InconsistentOffsets
            | Self::LostWrite
            | Self::Unseen
            | Self::G1a
            | Self::PrecommittedRead
            | Self::IntPollSkip
            | Self::IntNonmonotonicPoll
            | Self::NonmonotonicSend
            | Self::IntNonmonotonicSend
            | Self::EmptyTransactionGraph
            | Self::Phantom
            | Self::LinearOffset
            | Self::LinearAppend
            | Self::LinearFuture
            | Self::LinearGap
            | Self::LinearRegress
            | Self::LinearStale => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
