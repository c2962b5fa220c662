//! Where new replicas go: leaders in turn over the active brokers, replicas over the racks, fenced brokers last.
//!
//! ```text
//!   racks a: 1 4   b: 2 5   c: 3      in turn 1 2 3 4 5
//!   partition 0: 1 2 3    1: 2 3 4    2: 3 4 5 …        each leads once, no two replicas in one rack
//! ```
//!
//! Never moves a replica that exists. Source: KIP-36 for the turn; Kafka's `StripedReplicaPlacer` for who is usable, and for the words.

use super::image::Image;
use super::plan::Refusal;
use crate::error::ErrorCode;
use crate::id::BrokerId;
use crate::rng::Rng;
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};

/// A broker that may be given a replica, and its rack.
type Candidate<'a> = (BrokerId, Option<&'a str>);

/// The replicas of `partitions` new partitions with `factor` replicas each. The first of each is an active broker.
///
/// # Errors
/// Why so many replicas cannot be had, in Kafka's words.
pub fn place(image: &Image, partitions: usize, factor: i16, rng: &mut Rng) -> Result<Vec<Vec<BrokerId>>, String> {
    let active = in_turn(image, |b| b.is_active());
    // A fenced broker may come back; one that stops will not wait for a new replica.
    let fenced = in_turn(image, |b| b.is_fenced && !b.is_stopping);
    if active.is_empty() {
        return Err("All brokers are currently fenced or have all their log directories cordoned.".to_owned());
    }
    let factor = usize::try_from(factor).expect("judged before");
    let usable = active.len() + fenced.len();
    if factor > usable {
        return Err(format!(
            "The target replication factor of {factor} cannot be reached because only {usable} broker(s) are registered or some brokers have \
             all their log directories cordoned."
        ));
    }
    let start: usize = rng.random_range(0..active.len());
    Ok((0..partitions).map(|partition| spread(&active, &fenced, start + partition, factor)).collect())
}

/// The brokers for which `is_meant` holds, one of each rack in turn.
fn in_turn(image: &Image, is_meant: impl Fn(&super::image::Registration) -> bool) -> Vec<Candidate<'_>> {
    let mut racks: BTreeMap<Option<&str>, Vec<BrokerId>> = BTreeMap::new();
    for (id, broker) in image.brokers().iter().filter(|(_, b)| is_meant(b)) {
        racks.entry(broker.rack.as_deref()).or_default().push(*id);
    }
    let longest = racks.values().map(Vec::len).max().unwrap_or(0);
    let round = |at: usize| racks.iter().filter_map(move |(rack, ids)| ids.get(at).map(|id| (*id, *rack)));
    (0..longest).flat_map(round).collect()
}

/// The replicas of the partition whose turn is `turn`: its leader in turn, then the next ones of other racks, then of any.
fn spread(active: &[Candidate<'_>], fenced: &[Candidate<'_>], turn: usize, factor: usize) -> Vec<BrokerId> {
    let (count, leader) = (active.len(), turn % active.len());
    // Each time round the followers begin one further on: else one broker's partitions would all have the same followers.
    let shift = turn / count;
    let follower = |step: usize| active[(leader + 1 + (shift + step) % (count - 1).max(1)) % count];
    let followers = (0..count - 1).map(follower);
    let spare = (0..fenced.len()).map(|step| fenced[(turn + step) % fenced.len()]);
    let mut left: Vec<Candidate<'_>> = followers.chain(spare).collect();
    let mut chosen = vec![active[leader].0];
    let mut racks = BTreeSet::from([active[leader].1]);
    while chosen.len() < factor {
        let at = left.iter().position(|(_, rack)| !racks.contains(rack)).unwrap_or_else(|| {
            racks.clear();
            0
        });
        let (id, rack) = left.remove(at);
        racks.insert(rack);
        chosen.push(id);
    }
    chosen
}

/// Judges replicas that a client chose itself; `factor` is how many the other partitions of the topic have.
///
/// # Errors
/// INVALID_REPLICA_ASSIGNMENT.
pub fn judge(image: &Image, replicas: &[BrokerId], factor: Option<usize>) -> Result<(), Refusal> {
    let no = |why: String| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
    if replicas.is_empty() {
        return no("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for (at, id) in sorted.iter().enumerate() {
        if !image.brokers().contains_key(id) {
            return no(format!("The manual partition assignment includes broker {id}, but no such broker is registered."));
        }
        if at > 0 && sorted[at - 1] == *id {
            return no(format!("The manual partition assignment includes the broker {id} more than once."));
        }
    }
    match factor {
        Some(factor) if factor != replicas.len() => no(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous partitions, \
             which have {factor} replica(s).",
            replicas.len()
        )),
        Some(_) | None => Ok(()),
    }
}
