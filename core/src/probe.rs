//! Probes mark rare branches, which simulation must reach; mutants put a historic bug back, which simulation must find.
//! Both are thread-local (a simulation runs on one thread) and compiled to nothing without the feature `sim`.

/// Marks a rare branch. The text is its name in the coverage table, unique in the code.
#[macro_export]
macro_rules! probe {
    ($name:literal) => {
        $crate::probe::hit($name)
    };
}

/// Whether the named guard is taken away in this run: `if mutant!(TornTailKept) { … }`. Always false without the feature `sim`.
#[macro_export]
macro_rules! mutant {
    ($which:ident) => {
        $crate::probe::is_on($crate::probe::Mutant::$which)
    };
}

macro_rules! mutants {
    ($($(#[$doc:meta])* $which:ident = $name:literal),* $(,)?) => {
        /// A guard that can be taken away: one historic bug each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant { $($(#[$doc])* $which),* }

        impl Mutant {
            /// Every mutant.
            pub const ALL: &[Self] = &[$(Self::$which),*];

            /// Its name on the command line and in tables.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$which => $name),* }
            }
        }
    };
}

mutants! {
    /// Recovery trusts the last bytes of a log instead of scanning and cutting them.
    TornTailKept = "torn-tail-kept",
    /// Under fsync an append is acknowledged before its sync.
    FlushAckNone = "flush-ack-none",
    /// Only the last batch of a producer is remembered, instead of five (KAFKA-5494).
    WindowOne = "window-one",
    /// A missing producer snapshot is not replaced by a replay of the log.
    SnapshotLostNoReplay = "snapshot-lost-no-replay",
    /// A failed sync is taken for a success.
    FsyncErrorIgnored = "fsync-error-ignored",
    /// After a create or rename the directory is not synced.
    RenameNoDirsync = "rename-no-dirsync",
    /// A duplicate is answered with the newest batch's offset instead of its own.
    DupWrongOffset = "dup-wrong-offset",
    /// A fetch takes its bounds later than its data (KAFKA-7104).
    FetchMixedState = "fetch-mixed-state",
    /// The time index keeps entries of a part of the log that was cut.
    TimeIndexStale = "time-index-stale",
    /// A bumped producer epoch goes on with the old sequence (KIP-360).
    EpochBumpKeepsSeq = "epoch-bump-keeps-seq",
    /// A producer counts only what is in flight: it sends so much behind a batch in doubt that brokers no longer know that one again.
    SpanUnbounded = "span-unbounded",
    /// A vote is given before it is durable, and so perhaps twice in an epoch (KIP-595).
    VoteForgotten = "vote-forgotten",
    /// A leader that restarts goes on leading its epoch, though it lost the log's unsynced tail (KAFKA-10527).
    SameEpochLeader = "same-epoch-leader",
    /// A leader's high watermark passes records of older epochs before one of its own holds them (KIP-595).
    CommitOldEpoch = "commit-old-epoch",
    /// Observers, removed voters and a leader that is none count for the high watermark (KAFKA-16530, KIP-853).
    HwNotVoters = "hw-not-voters",
    /// A node on a new disk votes, and counts, as the voter that it was on its old one, whose votes it has forgotten (KIP-853).
    WipedVotesTwice = "wiped-votes-twice",
    /// Voters change again before the last change is committed, or before a record of the leader's own epoch is: two majorities without a common
    /// voter (Ongaro on raft-dev, 2015: "bug in single-server membership changes"; KIP-853).
    TwoChangesAtOnce = "two-changes-at-once",
    /// A controller does not compare partition epochs: it takes an ISR that was made from another state (KAFKA-14154).
    AlterpartNoEpoch = "alterpart-no-epoch",
    /// A broker joins an ISR by a request that was made for its former life (KIP-903).
    IsrStaleBroker = "isr-stale-broker",
    /// The last member stays in the ISR though it lost its tail, and leads again (KIP-966).
    LastReplicaStanding = "last-replica-standing",
    /// A broker that may have lost records stays in ISR and ELR (KIP-966).
    UncleanKeepsIsr = "unclean-keeps-isr",
    /// A broker that starts leads what its former life led, before it has registered (KIP-966).
    FormerLifeLeads = "former-life-leads",
    /// A broker that lost records and is stopped cleanly before it has registered, then counts as one that lost nothing (KIP-966).
    LossForgotten = "loss-forgotten",
    /// Leader epochs that recovery had no room to save count as saved.
    EpochsTakenForSaved = "epochs-taken-for-saved",
    /// A damaged copy is given up though the minimum needs it while another replica is on its way back.
    GivenUpInNeed = "given-up-in-need",
    /// A damaged log that was given up follows in the new epoch until the answer that grants it, and is emptied then.
    GivenUpFollows = "given-up-follows",
    /// A fenced or stopping broker joins an ISR (KIP-841).
    FencedInIsr = "fenced-in-isr",
    /// A preferred leader, or the end of a move, takes a replica that is not in sync (KIP-455).
    PreferredNotInIsr = "preferred-not-in-isr",
    /// A follower cuts its log to its own high watermark, which lags, instead of to where its epoch ended (KIP-101).
    TruncToHw = "trunc-to-hw",
    /// A leader that does not know the follower's epoch tells where the next one begins, as if that were the end of the asked one (KIP-279, KAFKA-6361).
    EpochUnknownFallback = "epoch-unknown-fallback",
    /// A cut leaves leader epochs behind that have no record any more (KAFKA-10706).
    EpochCacheNotCut = "epoch-cache-not-cut",
    /// A leader answers whoever names another epoch than its own (KIP-320).
    FetchWithoutEpoch = "fetch-without-epoch",
    /// The fetch offset of a follower that is told to cut counts as what it has (KAFKA-13141).
    DivergingMovesLeo = "diverging-moves-leo",
    /// Only the confirmed ISR counts for the high watermark while a change of it is under way (KIP-497).
    HwCommittedIsr = "hw-committed-isr",
    /// The high watermark is not looked at when a shrunk ISR is confirmed (KAFKA-13091).
    HwStuckAfterShrink = "hw-stuck-after-shrink",
    /// A follower joins the ISR at the high watermark, though that may lag behind the start of the leader's epoch (KAFKA-7128).
    IsrJoinBelowEpochStart = "isr-join-below-epoch-start",
    /// Something is committed though too few are in sync, so that whoever is eligible beside them does not have it (KIP-966).
    HwUnderMin = "hw-under-min",
    /// A leader is not told of the epochs that move as ELRs are cleared: it asks for its ISR from one that is out of date, for good (KIP-966).
    ElrClearedUntold = "elr-cleared-untold",
    /// A leader takes a smaller ISR from the controller's answer, ahead of the metadata by which it was decided: it may go by a minimum of before then.
    GrantedAhead = "isr-granted-ahead",
    /// A leader whose log is opened anew forgets what it had asked the controller for, and so whom that may have taken in (KIP-497).
    LedForgotten = "led-forgotten",
    /// A proposal that is refused, and of which an older copy may yet be granted, is asked for again and again instead of being taken back.
    ProposalNotTakenBack = "proposal-not-taken-back",
    /// A proposal that is asked for again names the registration under which a member fetched last, not the one under which it had caught up (KIP-903).
    ProposalNamesNewest = "proposal-names-newest",
    /// KAFKA-18723: what names an epoch that cannot be is read, copied and replicated, since no checksum covers it.
    RottenEpochTaken = "rotten-epoch-taken",
    /// A follower that begins behind the end of an unclean leader cuts to its own start, again and again.
    DivergedCutToStart = "diverged-cut-to-start",
    /// acks=all is answered when `min.insync.replicas` members have the records, instead of the whole ISR.
    AckMinIsrOnly = "ack-min-isr-only",
    /// acks=all is answered when the leader has written the records.
    AckBeforeHw = "ack-before-hw",
    /// Produce requests that still wait when a leadership ends are acknowledged.
    AckAfterStepdown = "ack-after-stepdown",
    /// A new leader tells a high watermark that may lag behind what was told before it (KIP-207).
    ElectServesLowHw = "elect-serves-low-hw",
    /// Consumers see what the leader has written, committed or not (KAFKA-725).
    ReadAboveHw = "read-above-hw",
    /// A follower takes up the leader's high watermark before it has cut what diverges (KAFKA-14704).
    HwBeforeTrunc = "hw-before-trunc",
    /// A follower shows clients all that it has written, committed or not (KIP-392).
    FollowerServesEnd = "follower-serves-end",
    /// A follower answers a client that names another leader epoch than its own (KIP-392, KIP-320).
    FollowerAnyEpoch = "follower-any-epoch",
    /// A follower takes in nothing of the answers of a leader that has no room for a fetch session (KIP-227).
    SessionlessForgotten = "sessionless-forgotten",
    /// A leader sends clients to a replica that is near, in sync or not, there or not (KAFKA-14372).
    PreferredNotInSync = "preferred-not-in-sync",
    /// Retention deletes records that are not committed yet.
    RetentionPastHw = "retention-past-hw",
    /// No producer snapshot is saved, and segments go all the same.
    DiscardUnremembered = "discard-unremembered",
    /// A log in a directory that went offline while it was void counts again when the directory is back.
    VoidForgotten = "void-forgotten",
    /// A log that was moved away from is forgotten as soon as it is gone, before the controller knows where the replica lies.
    MoveUntold = "move-untold",
    /// What a replica left in a directory that is offline counts beside its new log.
    OfflineLogCounts = "offline-log-counts",
    /// The last leader is elected with the new, empty log that it has on another disk (KIP-966).
    EmptiedLeads = "emptied-leads",
    /// A controller that is connected to and hung up on by a process that is being torn down asks no more, and waits for the broker's session to end.
    DialOnce = "dial-once",
    /// A node carries out metadata as soon as it is in its log, committed or not.
    ActBeforeCommit = "act-before-commit",
    /// A commit of an older generation is stored.
    StaleGenerationCommit = "stale-generation-commit",
    /// A static member that comes back shares the id of its former self, which so is not fenced (KAFKA-8500, KAFKA-8225).
    StaticNotFenced = "static-not-fenced",
    /// What a member says that it owned is believed, however old its generation (KAFKA-12984, KAFKA-13419).
    OwnedOfOldGeneration = "owned-of-old-generation",
    /// Offsets of groups that live or rebalance expire (KAFKA-8069, KAFKA-13636).
    OffsetsExpireLive = "offsets-expire-live",
    /// A coordinator that still loads a group answers that nothing was committed.
    LoadNotFinished = "load-not-finished",
    /// A controller that loses leadership keeps what it had planned, if a control batch was committed last (KAFKA-17608).
    RenounceNoSnapshot = "renounce-no-snapshot",
    /// An active controller's snapshot holds all that is planned, committed or not (KIP-630).
    SnapshotAboveHigh = "snapshot-above-high",
    /// A snapshot lacks which producer ids were given out (KIP-630).
    SnapshotForgetsIds = "snapshot-forgets-ids",
    /// A leader's snapshot is taken up, and the old log stays below it (KIP-630).
    SnapshotKeepsLog = "snapshot-keeps-log",
    /// A tombstone goes in the first cleaning that finds it (KAFKA-8522, KAFKA-4545).
    TombstoneEarly = "tombstone-early",
    /// The segments that a cleaning replaces go before the new one is sure to be there.
    SwapUnsure = "swap-unsure",
    /// A small file gets its name before its bytes are durable.
    RenameNoSync = "rename-no-sync",
}

#[cfg(feature = "sim")]
mod on {
    use super::Mutant;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    thread_local! {
        static HITS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
        static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
        static RECENT: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    /// So many probes are kept for `drain_recent`.
    const RECENT_MAX: usize = 64;

    /// Counts one pass of the branch `name` on this thread.
    pub fn hit(name: &'static str) {
        HITS.with_borrow_mut(|hits| *hits.entry(name).or_default() += 1);
        RECENT.with_borrow_mut(|recent| {
            if recent.len() < RECENT_MAX {
                recent.push(name);
            }
        });
    }

    /// The probes passed on this thread since the last call, in order: what may strike just then looks here.
    pub fn drain_recent(each: impl FnMut(&'static str)) {
        RECENT.with_borrow_mut(|recent| recent.drain(..).for_each(each));
    }

    /// The passes counted on this thread since the last call, by probe.
    pub fn take_hits() -> BTreeMap<&'static str, u64> {
        HITS.with_borrow_mut(std::mem::take)
    }

    /// Takes one guard away on this thread (`None`: all guards stand).
    pub fn switch(mutant: Option<Mutant>) {
        MUTANT.set(mutant);
    }

    /// Whether `mutant` is switched on, on this thread.
    pub fn is_on(mutant: Mutant) -> bool {
        MUTANT.get() == Some(mutant)
    }
}

#[cfg(feature = "sim")]
pub use on::{drain_recent, hit, is_on, switch, take_hits};

/// Counts nothing without the feature `sim`.
#[cfg(not(feature = "sim"))]
#[inline(always)]
pub fn hit(_: &'static str) {}

/// Nothing is passed without the feature `sim`.
#[cfg(not(feature = "sim"))]
#[inline(always)]
pub fn drain_recent(_: impl FnMut(&'static str)) {}

/// Every guard stands without the feature `sim`.
#[cfg(not(feature = "sim"))]
#[inline(always)]
#[must_use]
pub fn is_on(_: Mutant) -> bool {
    false
}
