//! Where new replicas go: over the active brokers in turn, so that leaders and replicas are even.
//!
//! Never moves a replica that exists. Racks count when there is more than one broker (the cluster's work).

use super::image::Image;
use super::plan::Refusal;
use crate::error::ErrorCode;
use crate::id::BrokerId;
use crate::rng::Rng;
use rand::Rng as _;

/// The replicas of `partitions` new partitions with `factor` replicas each. The first of each is an active broker.
///
/// # Errors
/// Why so many replicas cannot be had, in Kafka's words (`StripedReplicaPlacer`).
pub fn place(image: &Image, partitions: usize, factor: i16, rng: &mut Rng) -> Result<Vec<Vec<BrokerId>>, String> {
    let active: Vec<BrokerId> = image.brokers().keys().copied().filter(|id| image.is_active(*id)).collect();
    let idle = image.brokers().keys().copied().filter(|id| !image.is_active(*id));
    if active.is_empty() {
        return Err("All brokers are currently fenced or have all their log directories cordoned.".to_owned());
    }
    let factor = usize::try_from(factor).expect("judged before");
    if factor > image.brokers().len() {
        return Err(format!(
            "The target replication factor of {factor} cannot be reached because only {} broker(s) are registered or some brokers have all their \
             log directories cordoned.",
            image.brokers().len()
        ));
    }
    // Fenced brokers come last: they hold a replica only where the active ones are too few.
    let idle: Vec<BrokerId> = idle.collect();
    let start: usize = rng.random_range(0..active.len());
    let count = active.len();
    let replicas = |partition: usize| {
        let turn = (0..count).map(|step| (start + partition + step) % count);
        turn.map(|at| active[at]).chain(idle.iter().copied()).take(factor).collect()
    };
    Ok((0..partitions).map(replicas).collect())
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
