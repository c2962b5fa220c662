//! The groups of a run, and how their members live.

use super::{pick, words};
use klamm_core::client::assign::Assignor;
use klamm_core::rng::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupKnobs {
    /// How many members it has, at most.
    pub members: u32,
    /// The first so many are static.
    pub statics: u32,
    /// One more has the instance of the first: they fence each other.
    pub rival: bool,
    /// `partition.assignment.strategy`
    #[serde(with = "words::assignors")]
    pub assignors: Vec<Assignor>,
    /// `session.timeout.ms`
    #[serde(with = "words::ns")]
    pub session: Duration,
    /// `max.poll.interval.ms`
    #[serde(with = "words::ns")]
    pub max_poll_interval: Duration,
    /// `auto.commit.interval.ms`
    #[serde(with = "words::maybe_ns")]
    pub auto_commit: Option<Duration>,
    /// `max.poll.records`
    pub max_records: usize,
    /// An application works up to so long on what it was given.
    #[serde(with = "words::ns")]
    pub think: Duration,
    /// About so often a member does something odd.
    #[serde(with = "words::ns")]
    pub mood: Duration,
}

/// None in a quarter of the runs, else one or two.
pub(super) fn groups(rng: &mut Rng) -> Vec<GroupKnobs> {
    let count = *pick(rng, &[0, 1, 1, 2]);
    (0..count).map(|_| group(rng)).collect()
}

fn group(rng: &mut Rng) -> GroupKnobs {
    let members = rng.random_range(1..=4);
    let session = Duration::from_millis(*pick(rng, &[600, 1_500, 4_000, 10_000]));
    GroupKnobs {
        members,
        statics: *pick(rng, &[0, 0, 1, members]),
        rival: rng.random_ratio(1, 4),
        assignors: pick(
            rng,
            &[
                vec![Assignor::Range],
                vec![Assignor::RoundRobin],
                vec![Assignor::Sticky],
                vec![Assignor::CooperativeSticky],
                vec![Assignor::CooperativeSticky],
                vec![Assignor::Range, Assignor::CooperativeSticky],
            ],
        )
        .clone(),
        session,
        max_poll_interval: Duration::from_millis(*pick(rng, &[1_000, 3_000, 8_000])),
        auto_commit: *pick(rng, &[None, Some(Duration::from_millis(300)), Some(Duration::from_secs(2))]),
        max_records: *pick(rng, &[1, 10, 500]),
        think: Duration::from_millis(*pick(rng, &[5, 50, 400])),
        mood: Duration::from_millis(*pick(rng, &[1_500, 5_000, 20_000])),
    }
}
