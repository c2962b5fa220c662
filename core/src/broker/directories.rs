//! In which of its log directories each replica lies: this broker tells the controller, which counts on it when a directory fails (KIP-858).
//!
//! Source: Kafka's `AssignmentsManager`.

use super::calls::Asker;
use super::io::{Lane, Unreachable};
use super::{Broker, Timer};
use crate::error::ErrorCode;
use crate::id::{PartitionIndex, Uuid};
use crate::partition::{PartitionId, Role};
use crate::probe;
use crate::wire::Response;
use crate::wire::api::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, DirectoryData, PartitionData, TopicData,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Replicas in one request (Kafka's `MAX_ASSIGNMENTS_PER_REQUEST`).
const REPLICAS_MAX: usize = 2250;
/// A question that came to nothing is asked again after so long.
const RETRY: Duration = Duration::from_millis(100);

/// What the controller is to be told.
#[derive(Clone, Debug, Default)]
pub(super) struct Assigning {
    waiting: BTreeSet<PartitionId>,
    sent: BTreeSet<PartitionId>,
    is_open: bool,
}

impl Broker {
    /// The metadata says something of a partition, or its log was opened: it may lie elsewhere than the controller thinks.
    pub(super) fn look_at_directory(&mut self, id: PartitionId) {
        if self.misplaced(id).is_some() && !self.assigning.sent.contains(&id) {
            self.assigning.waiting.insert(id);
            self.assign_directories();
        }
    }

    /// Where the replica lies, if the metadata says otherwise.
    fn misplaced(&self, id: PartitionId) -> Option<Uuid> {
        // Of one in a directory that failed the controller has to know it too.
        let partition = self.partitions.get(&id).filter(|partition| !matches!(partition.role, Role::Opening))?;
        let lies = self.config.broker.dirs.get(usize::from(partition.dir.0)).map(|dir| dir.id)?;
        let decided = self.decided(id)?.directory(self.config.broker.id)?;
        (lies != Uuid::ZERO && lies != decided).then_some(lies)
    }

    /// Tells what waits to be told, one request at a time.
    pub(super) fn assign_directories(&mut self) {
        if self.assigning.is_open || self.assigning.waiting.is_empty() {
            return;
        }
        let Some(broker_epoch) = self.life.epoch else {
            self.timer(RETRY, Timer::Directories);
            return;
        };
        let waiting = std::mem::take(&mut self.assigning.waiting);
        let mut lying = waiting.iter().filter_map(|id| Some((*id, self.misplaced(*id)?)));
        let sent: Vec<(PartitionId, Uuid)> = lying.by_ref().take(REPLICAS_MAX).collect();
        let later = lying.map(|(id, _)| id).collect();
        self.assigning.waiting = later;
        if sent.is_empty() {
            return;
        }
        let request = AssignReplicasToDirsRequest { broker_id: self.config.broker.id, broker_epoch, directories: by_directory(&sent) };
        self.assigning.sent = sent.into_iter().map(|(id, _)| id).collect();
        self.assigning.is_open = self.call_controller(Lane::Control, request.into(), Asker::Directories);
        if !self.assigning.is_open {
            self.assign_again();
        }
    }

    fn assign_again(&mut self) {
        let sent = std::mem::take(&mut self.assigning.sent);
        self.assigning.waiting.extend(sent);
        self.timer(RETRY, Timer::Directories);
    }

    pub(super) fn directories_answered(&mut self, outcome: Result<Response, Unreachable>) {
        self.assigning.is_open = false;
        match outcome {
            Ok(Response::AssignReplicasToDirs(AssignReplicasToDirsResponse { error_code: ErrorCode::NONE, .. })) => {
                probe!("a broker has told in which directory a replica lies");
                // What was refused is not known to the controller any more, or not yet: the metadata that says so is on its way.
                self.assigning.sent.clear();
                self.assign_directories();
            }
            Ok(_) | Err(_) => self.assign_again(),
        }
    }
}

fn by_directory(lying: &[(PartitionId, Uuid)]) -> Vec<DirectoryData> {
    let mut directories: BTreeMap<Uuid, BTreeMap<Uuid, Vec<PartitionIndex>>> = BTreeMap::new();
    for (id, lies) in lying {
        directories.entry(*lies).or_default().entry(id.topic).or_default().push(id.index);
    }
    let partition = |partition_index| PartitionData { partition_index };
    let topic = |(topic_id, partitions): (Uuid, Vec<PartitionIndex>)| TopicData {
        topic_id,
        partitions: partitions.into_iter().map(partition).collect(),
    };
    directories.into_iter().map(|(id, topics)| DirectoryData { id, topics: topics.into_iter().map(topic).collect() }).collect()
}
