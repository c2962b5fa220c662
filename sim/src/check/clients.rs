//! What a node may tell whoever fetches: which replica is nearer (KIP-392), and up to where a follower knows records to be committed.

use klamm_core::broker::View;
use klamm_core::error::ErrorCode;
use klamm_core::id::Uuid;
use klamm_core::invariant::Verdict;
use klamm_core::partition::{Partition, PartitionId};
use klamm_core::wire::Chunk;
use klamm_core::wire::api::fetch::{FetchResponse, PartitionData};

/// Judges each partition of an answer that was decided just now. What waited for the store was decided earlier, when all may have been different.
pub(super) fn fetched<'a>(view: View<'a>, response: &'a FetchResponse) -> impl Iterator<Item = Verdict> + use<'a> {
    let has_waited = response.responses.iter().flat_map(|topic| &topic.partitions).any(is_from_store);
    let topics = response.responses.iter().filter(move |_| !has_waited);
    topics.flat_map(move |topic| {
        let named = || view.image().topic(&topic.topic).map(|found| found.id);
        let id = if topic.topic_id == Uuid::ZERO { named() } else { Some(topic.topic_id) };
        topic.partitions.iter().filter_map(move |answer| {
            let id = PartitionId { topic: id?, index: answer.partition_index };
            let partition = view.partitions().find(|partition| partition.id == id)?;
            Some(judge(view, partition, answer).map_err(|what| format!("{}: {what}", partition.folder())))
        })
    })
}

fn is_from_store(answer: &PartitionData) -> bool {
    let pieces = answer.records.iter().flat_map(|records| &records.0);
    answer.error_code == ErrorCode::KAFKA_STORAGE_ERROR || pieces.into_iter().any(|piece| matches!(piece, Chunk::Region(_)))
}

fn judge(view: View<'_>, partition: &Partition, answer: &PartitionData) -> Verdict {
    let high = partition.high();
    if partition.follower().is_some() && answer.error_code == ErrorCode::NONE && answer.high_watermark > high {
        return Err(format!("a follower tells a client that all below {} is committed, and knows it of {high}", answer.high_watermark));
    }
    let nearer = answer.preferred_read_replica;
    if nearer.0 < 0 {
        return Ok(());
    }
    let Some(isr) = partition.leader().and_then(|leader| leader.isr()) else {
        return Err(format!("a client is sent to {nearer} by a replica that does not lead"));
    };
    let broker = view.image().brokers().get(&nearer);
    if nearer == view.id() || !isr.confirmed().contains(&nearer) || broker.is_none_or(|broker| broker.is_fenced) {
        return Err(format!("a client is sent to {nearer}, which is {broker:?}, and in sync are {:?}", isr.confirmed()));
    }
    Ok(())
}
