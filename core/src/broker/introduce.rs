//! A controller makes itself known to the active one: what it can work with (KIP-919), and where the quorum finds it if that has changed (KIP-853).
//!
//! Source: Kafka's `ControllerRegistrationManager`, and `KafkaRaftClient`'s UpdateRaftVoter.

use super::calls::Asker;
use super::io::Lane;
use super::{Broker, Timer};
use crate::config::quorum::KRAFT_VERSIONS;
use crate::controller::features::SUPPORTED;
use crate::id::Uuid;
use crate::probe;
use crate::quorum::Voter;
use crate::wire::Request;
use crate::wire::api::controller_registration::{ControllerRegistrationRequest, Feature, Listener};
use crate::wire::api::update_raft_voter::{self as update, UpdateRaftVoterRequest};
use std::time::Duration;

/// While the others do not know this controller.
const SOON: Duration = Duration::from_millis(100);
/// Else it is looked at from time to time.
const LATER: Duration = Duration::from_secs(3);

impl Broker {
    /// Looks whether the metadata and the voters say of this controller what is true.
    pub(super) fn introduce(&mut self) {
        let may = self.config.quorum.roles.controller && !self.config.broker.controllers.is_empty();
        if !may || self.is_introducing {
            return;
        }
        let Some(request) = self.introduction() else {
            self.timer(LATER, Timer::Introduction);
            return;
        };
        self.is_introducing = self.call_controller(Lane::Control, request, Asker::Introduction);
        if !self.is_introducing {
            self.timer(SOON, Timer::Introduction);
        }
    }

    /// Whatever came of it: the metadata tells.
    pub(super) fn introduced(&mut self) {
        self.is_introducing = false;
        self.timer(SOON, Timer::Introduction);
    }

    fn introduction(&self) -> Option<Request> {
        let me = self.config.broker.id;
        let is_known = self.image().controllers().get(&me).is_some_and(|known| known.incarnation == self.life.incarnation);
        if !is_known {
            probe!("a controller registers");
            return Some(self.controller_registration().into());
        }
        let quorum = self.quorum.as_ref()?;
        let known = quorum.voters().get(me).filter(|voter| is_ours(voter, self.config.quorum.directory))?;
        let listener = self.controller_listener();
        let mine = self.config.broker.controllers.iter().find(|endpoint| endpoint.name == listener)?;
        if (known.address.host.as_str(), known.address.port) == (mine.host.as_str(), mine.port) {
            return None;
        }
        probe!("a voter listens elsewhere than the others think");
        Some(self.voter_update(quorum.epoch()).into())
    }

    fn controller_registration(&self) -> ControllerRegistrationRequest {
        let listener = |e: &crate::config::Endpoint| Listener {
            name: e.name.clone(),
            host: e.host.clone(),
            port: e.port,
            security_protocol: e.security,
        };
        let feature = |(name, min, max): &(&str, i16, i16)| Feature {
            name: (*name).to_owned(),
            min_supported_version: *min,
            max_supported_version: *max,
        };
        ControllerRegistrationRequest {
            controller_id: self.config.broker.id,
            incarnation_id: self.life.incarnation,
            zk_migration_ready: false,
            listeners: self.config.broker.controllers.iter().map(listener).collect(),
            features: SUPPORTED.iter().map(feature).collect(),
        }
    }

    fn voter_update(&self, epoch: crate::id::LeaderEpoch) -> UpdateRaftVoterRequest {
        let listener = |e: &crate::config::Endpoint| update::Listener { name: e.name.clone(), host: e.host.clone(), port: e.port };
        UpdateRaftVoterRequest {
            cluster_id: Some(self.config.broker.cluster.clone()),
            current_leader_epoch: epoch,
            voter_id: self.config.broker.id,
            voter_directory_id: self.config.quorum.directory,
            listeners: self.config.broker.controllers.iter().map(listener).collect(),
            k_raft_version_feature: update::KRaftVersionFeature {
                min_supported_version: KRAFT_VERSIONS.min_supported_version,
                max_supported_version: KRAFT_VERSIONS.max_supported_version,
            },
        }
    }
}

/// Whether a voter is this very disk. Voters without directory ids cannot be changed.
fn is_ours(voter: &Voter, directory: Uuid) -> bool {
    voter.directory != Uuid::ZERO && voter.directory == directory
}
