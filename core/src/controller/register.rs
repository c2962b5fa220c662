//! Plans a broker's and a controller's registration, and a broker's leave. Source: Kafka's `ClusterControlManager` (KIP-631, KIP-919, KIP-966).

use super::draft::{Draft, directory};
use super::image::Registration;
use super::plan::{Plan, Planner};
use super::record::Record;
use crate::error::ErrorCode;
use crate::id::{BrokerId, Offset, Uuid};
use crate::wire::api::broker_registration::{self as api, BrokerRegistrationRequest, BrokerRegistrationResponse};
use crate::wire::api::controller_registration::{self as controller_api, ControllerRegistrationRequest, ControllerRegistrationResponse};
use crate::wire::api::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use crate::wire::records::metadata::{
    BrokerEndpoint, BrokerFeature, ControllerEndpoint, ControllerFeature, RegisterBrokerRecord, RegisterControllerRecord,
    UnregisterBrokerRecord,
};
use crate::{mutant, probe};
use std::collections::BTreeSet;

impl Planner<'_> {
    /// Plans a registration. `at` is where the first record will stand: a new registration's epoch is its record's offset.
    /// `is_live` says whether the broker that holds the id has a session ([`super::Liveness::has_session`]).
    ///
    /// A new process is fenced until its heartbeats say that it has caught up. What its former life held counts on only if it
    /// presents that registration's epoch, or the last one's that was unfenced, else its records may be lost (KIP-966).
    pub fn register_broker(&mut self, request: &BrokerRegistrationRequest, at: Offset, is_live: bool) -> Plan<BrokerRegistrationResponse> {
        if let Err(error_code) = self.judge_registration(request, is_live) {
            return Plan { records: Vec::new(), response: BrokerRegistrationResponse { error_code, ..Default::default() } };
        }
        let mut draft = Draft::new(self);
        let existing = self.image.brokers().get(&request.broker_id);
        let record = match existing.filter(|known| known.incarnation == request.incarnation_id) {
            Some(same) => RegisterBrokerRecord {
                broker_epoch: same.epoch,
                fenced: same.is_fenced,
                in_controlled_shutdown: same.is_stopping,
                ..registration(request)
            },
            None => {
                draft.succeed(request, existing);
                let epoch = at.plus(i64::try_from(draft.len()).expect("bounded by the partitions")).0;
                RegisterBrokerRecord { broker_epoch: epoch, fenced: true, ..registration(request) }
            }
        };
        let broker_epoch = record.broker_epoch;
        draft.push(Record::RegisterBroker(record));
        Plan { records: draft.finish(), response: BrokerRegistrationResponse { broker_epoch, ..Default::default() } }
    }

    fn judge_registration(&self, request: &BrokerRegistrationRequest, is_live: bool) -> Result<(), ErrorCode> {
        if request.cluster_id != self.config.cluster {
            return Err(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let id = request.broker_id;
        let is_other = self.image.brokers().get(&id).is_some_and(|known| known.incarnation != request.incarnation_id);
        if is_other && is_live {
            return Err(ErrorCode::DUPLICATE_BROKER_REGISTRATION);
        }
        if request.is_migrating_zk_broker {
            return Err(ErrorCode::BROKER_ID_NOT_REGISTERED);
        }
        self.judge_directories(id, &request.log_dirs)?;
        self.judge_features(&request.features)
    }

    fn judge_directories(&self, id: BrokerId, dirs: &[Uuid]) -> Result<(), ErrorCode> {
        let is_twice = |(at, dir): (usize, &Uuid)| dirs[..at].contains(dir);
        let is_anothers = |dir: &Uuid| self.image.brokers().iter().any(|(other, b)| *other != id && b.directories.contains(dir));
        let is_wrong = dirs.is_empty()
            || dirs.iter().any(|dir| directory::is_reserved(*dir))
            || dirs.iter().enumerate().any(is_twice)
            || dirs.iter().any(is_anothers);
        if is_wrong { Err(ErrorCode::INVALID_REGISTRATION) } else { Ok(()) }
    }

    /// Whoever registers must work with every level that the cluster has decided on. What it does not name it has at level 0.
    fn judge_features(&self, features: &[api::Feature]) -> Result<(), ErrorCode> {
        for (name, level) in self.image.features() {
            let supported = features.iter().find(|f| f.name == *name).map_or(0..=0, |f| f.min_supported_version..=f.max_supported_version);
            if !supported.contains(level) {
                return Err(ErrorCode::UNSUPPORTED_VERSION);
            }
        }
        Ok(())
    }

    /// Plans that a broker is forgotten: it leaves every ISR and ELR, for it will not come back as the same.
    pub fn unregister_broker(&mut self, request: &UnregisterBrokerRequest) -> Plan<UnregisterBrokerResponse> {
        let id = request.broker_id;
        let Some(registration) = self.image.brokers().get(&id) else {
            let error_message = Some(format!("Broker ID {id} is not currently registered"));
            let response =
                UnregisterBrokerResponse { error_code: ErrorCode::BROKER_ID_NOT_REGISTERED, error_message, ..Default::default() };
            return Plan { records: Vec::new(), response };
        };
        let mut draft = Draft::new(self);
        draft.count_as(id, Registration { is_fenced: true, ..registration.clone() });
        draft.lose(id);
        draft.push(Record::UnregisterBroker(UnregisterBrokerRecord { broker_id: id, broker_epoch: registration.epoch }));
        Plan { records: draft.finish(), response: UnregisterBrokerResponse { error_message: None, ..Default::default() } }
    }

    /// Plans a controller's registration: what it can work with, and where it is found.
    pub fn register_controller(&mut self, request: &ControllerRegistrationRequest) -> Plan<ControllerRegistrationResponse> {
        let record = controller_registration(request);
        Plan {
            records: vec![Record::RegisterController(record)],
            response: ControllerRegistrationResponse { error_message: None, ..Default::default() },
        }
    }
}

impl Draft<'_> {
    /// A new process takes a broker's place: the former one counts for nothing more.
    fn succeed(&mut self, request: &BrokerRegistrationRequest, former: Option<&Registration>) {
        let id = request.broker_id;
        if let Some(former) = former {
            self.count_as(id, Registration { is_fenced: true, ..former.clone() });
        }
        let is_clean = former.is_some_and(|former| former.is_kept_by(request.previous_broker_epoch)) || mutant!(UncleanKeepsIsr);
        if is_clean {
            let sorted = |dirs: &[Uuid]| dirs.iter().copied().collect::<BTreeSet<Uuid>>();
            if former.is_some_and(|former| sorted(&former.directories) != sorted(&request.log_dirs)) {
                probe!("a broker registers with other directories than before");
                self.lose_untold(id);
            }
            self.leave(id);
        } else {
            probe!("a broker registers that may have lost records");
            self.lose(id);
        }
    }
}

fn registration(request: &BrokerRegistrationRequest) -> RegisterBrokerRecord {
    let endpoint = |l: &api::Listener| BrokerEndpoint {
        name: l.name.clone(),
        host: l.host.clone(),
        port: l.port,
        security_protocol: l.security_protocol,
    };
    let feature = |f: &api::Feature| BrokerFeature {
        name: f.name.clone(),
        min_supported_version: f.min_supported_version,
        max_supported_version: f.max_supported_version,
    };
    RegisterBrokerRecord {
        broker_id: request.broker_id,
        incarnation_id: request.incarnation_id,
        end_points: request.listeners.iter().map(endpoint).collect(),
        features: request.features.iter().map(feature).collect(),
        rack: request.rack.clone(),
        log_dirs: request.log_dirs.clone(),
        ..Default::default()
    }
}

fn controller_registration(request: &ControllerRegistrationRequest) -> RegisterControllerRecord {
    let endpoint = |l: &controller_api::Listener| ControllerEndpoint {
        name: l.name.clone(),
        host: l.host.clone(),
        port: l.port,
        security_protocol: l.security_protocol,
    };
    let feature = |f: &controller_api::Feature| ControllerFeature {
        name: f.name.clone(),
        min_supported_version: f.min_supported_version,
        max_supported_version: f.max_supported_version,
    };
    RegisterControllerRecord {
        controller_id: request.controller_id,
        incarnation_id: request.incarnation_id,
        zk_migration_ready: false,
        end_points: request.listeners.iter().map(endpoint).collect(),
        features: request.features.iter().map(feature).collect(),
    }
}
