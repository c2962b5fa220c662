//! Who may vote. A voter is an id *and* a directory: a wiped disk has forgotten what it voted, and so is another voter (KIP-853).

use crate::client::io::Address;
use crate::id::{BrokerId, Uuid};
use crate::wire::records::raft::{Endpoint, KRaftVersionFeature, VotersRecord, VotersRecordVoter};
use std::collections::BTreeMap;

/// A replica of the metadata log: which node, on which disk. A directory of zero is not known.
pub type Replica = (BrokerId, Uuid);

/// One voter of the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Voter {
    /// Its node.
    pub id: BrokerId,
    /// Its metadata directory; zero where it is not known (yet), as with `controller.quorum.voters`.
    pub directory: Uuid,
    /// Its controller listener.
    pub address: Address,
}

impl Voter {
    /// Whether `replica` is this voter. Where one of both does not know the directory, the id decides.
    #[must_use]
    pub fn is(&self, (id, directory): Replica) -> bool {
        self.id == id && (self.directory == Uuid::ZERO || directory == Uuid::ZERO || self.directory == directory)
    }

    /// The voter as replica.
    #[must_use]
    pub fn replica(&self) -> Replica {
        (self.id, self.directory)
    }
}

/// The voters, in order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Voters(BTreeMap<BrokerId, Voter>);

impl FromIterator<Voter> for Voters {
    fn from_iter<T: IntoIterator<Item = Voter>>(voters: T) -> Self {
        Self(voters.into_iter().map(|voter| (voter.id, voter)).collect())
    }
}

impl Voters {
    /// Each voter.
    pub fn iter(&self) -> impl Iterator<Item = &Voter> + '_ {
        self.0.values()
    }

    /// The voter of that id, on whichever disk.
    #[must_use]
    pub fn get(&self, id: BrokerId) -> Option<&Voter> {
        self.0.get(&id)
    }

    /// Whether `replica` is a voter.
    #[must_use]
    pub fn contains(&self, replica: Replica) -> bool {
        self.get(replica.0).is_some_and(|voter| voter.is(replica))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many voters are more than half.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.len() / 2 + 1
    }

    /// These voters, and one more or one with other data.
    #[must_use]
    pub fn with(&self, voter: Voter) -> Self {
        self.iter().cloned().chain([voter]).collect()
    }

    /// These voters without one.
    #[must_use]
    pub fn without(&self, id: BrokerId) -> Self {
        self.iter().filter(|voter| voter.id != id).cloned().collect()
    }

    /// The control record that makes these the voters; `listener` is the name of the controllers' listener.
    #[must_use]
    pub fn to_record(&self, listener: &str) -> VotersRecord {
        let voter = |voter: &Voter| VotersRecordVoter {
            voter_id: voter.id,
            voter_directory_id: voter.directory,
            endpoints: vec![Endpoint { name: listener.into(), host: voter.address.host.clone(), port: voter.address.port }],
            k_raft_version_feature: KRaftVersionFeature { min_supported_version: 0, max_supported_version: 1 },
        };
        VotersRecord { version: 0, voters: self.iter().map(voter).collect() }
    }

    /// The voters of a control record: of each its endpoint of that name, else its first. `None` if one has no endpoint at all.
    #[must_use]
    pub fn from_record(record: &VotersRecord, listener: &str) -> Option<Self> {
        let voter = |voter: &VotersRecordVoter| {
            let named = voter.endpoints.iter().find(|endpoint| endpoint.name == listener);
            let endpoint = named.or(voter.endpoints.first())?;
            let address = Address { host: endpoint.host.clone(), port: endpoint.port };
            Some(Voter { id: voter.voter_id, directory: voter.voter_directory_id, address })
        };
        record.voters.iter().map(voter).collect()
    }
}
