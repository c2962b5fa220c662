//! Where a reader reads that stands in a rack (KIP-392), as Kafka's consumer does it: it asks who leads, fetches there, goes to the replica that the leader
//! names, and back to the leader when that one fails it, or after a while.
//!
//! It names the newest leader epoch that it has heard of in each fetch (KIP-320), and so never takes the word of whoever was deposed and does not know.

use super::place;
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, LeaderEpoch};
use klamm_core::time::Instant;
use klamm_core::wire::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use klamm_jepsen::history::Key;
use std::time::Duration;

/// Then it asks the leader again who is near: Kafka's `metadata.max.age.ms`, in a run that is short.
const LEASE: Duration = Duration::from_secs(4);

/// A rack, and who stands where.
#[derive(Clone, Debug)]
pub struct Racks {
    /// The reader's own, its `client.rack`.
    pub own: String,
    /// Who listens at each of the reader's addresses, and in which rack.
    pub brokers: Vec<(BrokerId, String)>,
}

/// Whom a reader in a rack reads from.
#[derive(Debug)]
pub struct Nearby {
    racks: Racks,
    key: Key,
    /// Who leads; `None` until it is asked, or asked anew.
    leader: Option<BrokerId>,
    /// The newest epoch that it has heard of.
    epoch: LeaderEpoch,
    /// The replica that the leader named, and until when it is read from.
    replica: Option<(BrokerId, Instant)>,
}

impl Nearby {
    /// A reader of `key` that knows nobody yet.
    #[must_use]
    pub fn new(racks: Racks, key: Key) -> Self {
        Self { racks, key, leader: None, epoch: LeaderEpoch(-1), replica: None }
    }

    /// What it says of itself.
    #[must_use]
    pub fn rack(&self) -> &str {
        &self.racks.own
    }

    /// The epoch to name in a fetch.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Whether it must be asked first who leads.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.leader.is_none()
    }

    /// Whether it reads from a follower.
    #[must_use]
    pub fn is_at_replica(&self) -> bool {
        self.replica.is_some()
    }

    /// Who leads?
    #[must_use]
    pub fn question(&self) -> MetadataRequest {
        let topic = MetadataRequestTopic { name: Some(place(self.key).0), ..Default::default() };
        MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() }
    }

    /// A node tells who leads; what is older than what is known does not count.
    pub fn told(&mut self, response: &MetadataResponse) {
        let (name, index) = place(self.key);
        let topic = response.topics.iter().find(|topic| topic.name.as_ref() == Some(&name));
        let partition = topic.and_then(|topic| topic.partitions.iter().find(|partition| partition.partition_index.0 == index));
        let Some(partition) = partition.filter(|partition| partition.error_code == ErrorCode::NONE) else { return };
        if partition.leader_epoch >= self.epoch && self.address_of(partition.leader_id).is_some() {
            (self.leader, self.epoch) = (Some(partition.leader_id), partition.leader_epoch);
        }
    }

    /// The leader names a nearer replica.
    ///
    /// # Errors
    /// It may not name that one.
    pub fn sent_to(&mut self, now: Instant, replica: BrokerId) -> Result<(), String> {
        if let Some((at, _)) = self.replica {
            return Err(format!("the follower {at} sends its clients to {replica}"));
        }
        let rack = self.racks.brokers.iter().find(|(id, _)| *id == replica).map(|(_, rack)| rack);
        if rack != Some(&self.racks.own) || self.leader == Some(replica) {
            return Err(format!("a client in {} is sent by {:?} to {replica}, which is in {rack:?}", self.racks.own, self.leader));
        }
        self.replica = Some((replica, now.after(LEASE)));
        Ok(())
    }

    /// The replica has been read from for long enough. Says whether it was just left.
    pub fn ends_lease(&mut self, now: Instant) -> bool {
        self.replica.take_if(|(_, until)| *until <= now).is_some()
    }

    /// Who was asked did not serve it: a replica is left for its leader; who leads is asked anew.
    pub fn failed(&mut self) {
        if self.replica.take().is_none() {
            self.leader = None;
        }
    }

    /// At which address it reads; `None` while it knows nobody.
    #[must_use]
    pub fn address(&self) -> Option<usize> {
        self.address_of(self.replica.map(|(replica, _)| replica).or(self.leader)?)
    }

    fn address_of(&self, broker: BrokerId) -> Option<usize> {
        self.racks.brokers.iter().position(|(id, _)| *id == broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_core::wire::api::metadata::{MetadataResponsePartition, MetadataResponseTopic};

    fn nearby() -> Nearby {
        let brokers = [(1, "r1"), (2, "r0"), (3, "r1")].map(|(id, rack)| (BrokerId(id), rack.to_owned()));
        Nearby::new(Racks { own: "r1".to_owned(), brokers: brokers.to_vec() }, Key(0))
    }

    fn led_by(leader: i32, epoch: i32) -> MetadataResponse {
        let partition = MetadataResponsePartition { leader_id: BrokerId(leader), leader_epoch: LeaderEpoch(epoch), ..Default::default() };
        let topic = MetadataResponseTopic { name: Some("t0".to_owned()), partitions: vec![partition], ..Default::default() };
        MetadataResponse { topics: vec![topic], ..Default::default() }
    }

    #[test]
    fn it_goes_to_the_leader_then_to_the_replica_and_back() {
        let mut nearby = nearby();
        assert_eq!((nearby.is_lost(), nearby.address()), (true, None));
        nearby.told(&led_by(2, 5));
        assert_eq!((nearby.address(), nearby.epoch()), (Some(1), LeaderEpoch(5)));
        let now = Instant::default();
        nearby.sent_to(now, BrokerId(3)).unwrap();
        assert_eq!((nearby.address(), nearby.is_at_replica()), (Some(2), true));
        assert!(!nearby.ends_lease(now));
        assert!(nearby.ends_lease(now.after(LEASE)));
        assert_eq!(nearby.address(), Some(1));
        nearby.sent_to(now, BrokerId(1)).unwrap();
        nearby.failed();
        assert_eq!((nearby.address(), nearby.is_lost()), (Some(1), false), "the leader is asked before anybody else");
        nearby.failed();
        assert!(nearby.is_lost());
    }

    #[test]
    fn what_is_older_than_what_it_knows_does_not_count() {
        let mut nearby = nearby();
        nearby.told(&led_by(2, 5));
        nearby.failed();
        nearby.told(&led_by(1, 4));
        assert!(nearby.is_lost());
        nearby.told(&led_by(-1, 6));
        assert!(nearby.is_lost());
        nearby.told(&led_by(3, 6));
        assert_eq!((nearby.address(), nearby.epoch()), (Some(2), LeaderEpoch(6)));
    }

    #[test]
    fn nobody_is_sent_to_another_rack_nor_on_by_a_follower() {
        let mut nearby = nearby();
        nearby.told(&led_by(1, 5));
        nearby.sent_to(Instant::default(), BrokerId(2)).unwrap_err();
        nearby.sent_to(Instant::default(), BrokerId(1)).unwrap_err();
        nearby.sent_to(Instant::default(), BrokerId(9)).unwrap_err();
        nearby.sent_to(Instant::default(), BrokerId(3)).unwrap();
        nearby.sent_to(Instant::default(), BrokerId(1)).unwrap_err();
    }
}
