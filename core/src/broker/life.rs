//! This broker's life in the cluster: it registers with the active controller, says by heartbeats that it lives, and serves clients when it is no
//! longer fenced (KIP-631).

use super::boot::Phase;
use super::calls::Asker;
use super::io::{Lane, Level, Unreachable};
use super::refusals::{Refusal, Refusals};
use super::{Broker, Timer, ms};
use crate::controller::features::SUPPORTED;
use crate::error::ErrorCode;
use crate::id::{DirId, Uuid};
use crate::store::{StoreFault, StoreOp, Stored};
use crate::time::Instant;
use crate::wire::Response;
use crate::wire::api::broker_heartbeat::BrokerHeartbeatRequest;
use crate::wire::api::broker_registration::{BrokerRegistrationRequest, Feature, Listener};
use crate::{mutant, probe};
use std::time::Duration;

/// The epoch of this broker's last registration, for the next process: whoever presents it has lost nothing (KIP-966).
pub(super) const EPOCH_FILE: &str = "broker-epoch";
/// While something is not as it should be: no controller known, or still fenced.
const SOON: Duration = Duration::from_millis(20);
const SOON_MAX: Duration = Duration::from_millis(500);

/// Where this broker stands with the controller.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    /// This process.
    pub(super) incarnation: Uuid,
    /// Its registration, once it is known to have one.
    pub(super) epoch: Option<i64>,
    /// The epoch that the process before presents, if it lost nothing.
    pub(super) previous: Option<i64>,
    is_open: bool,
    /// Its epoch is on its way to the disk, and heartbeats wait for it.
    is_keeping: bool,
    /// Its epoch is on the disk.
    is_kept: bool,
    next: Option<Instant>,
    backoff: Duration,
    /// There is something to tell, and an answer is still awaited.
    is_due: bool,
    /// It wants to stop, and the controller has not let it yet.
    pub(super) is_leaving: bool,
    pub(super) refusals: Refusals,
}

impl Life {
    /// A process that begins; the one before it had the registration `previous`, and lost nothing.
    pub(super) fn new(incarnation: Uuid, previous: Option<i64>) -> Self {
        Self { incarnation, previous, ..Self::default() }
    }
}

impl Broker {
    /// Something may have changed for the better: ask at once.
    pub(super) fn beat_now(&mut self) {
        self.beat_in(Duration::ZERO);
    }

    fn beat_in(&mut self, after: Duration) {
        if let Some(at) = self.life.next.take() {
            self.timers.remove(&(at, Timer::Heartbeat));
        }
        self.life.next = Some(self.timer(after, Timer::Heartbeat));
    }

    fn beat_soon(&mut self) {
        self.life.backoff = (self.life.backoff * 2).clamp(SOON, SOON_MAX);
        self.beat_in(self.life.backoff);
    }

    /// Registers, or says that it lives.
    pub(super) fn beat(&mut self) {
        self.life.next = None;
        self.life.is_due = self.life.is_open;
        if self.life.is_open || self.phase == Phase::Loading || !self.config.quorum.roles.broker {
            return;
        }
        let known = match self.life.epoch {
            None => {
                let request = self.registration();
                self.call_controller(Lane::Control, request.into(), Asker::Registration)
            }
            Some(epoch) => {
                let request = BrokerHeartbeatRequest {
                    broker_id: self.config.broker.id,
                    broker_epoch: epoch,
                    current_metadata_offset: crate::id::Offset(self.admin.controller.applied().0 - 1),
                    want_fence: false,
                    want_shut_down: self.life.is_leaving,
                    offline_log_dirs: self.offline_dir_ids(),
                    ..Default::default()
                };
                self.call_controller(Lane::Control, request.into(), Asker::Heartbeat)
            }
        };
        if known {
            self.life.is_open = true;
        } else {
            if self.life.epoch.is_none() {
                self.not_registered(Refusal::NoController);
            }
            self.beat_soon();
        }
    }

    /// The directories that went offline. One that never opened has told nobody its id.
    pub(super) fn offline_dir_ids(&self) -> Vec<Uuid> {
        let id = |dir: DirId| self.config.broker.dirs[usize::from(dir.0)].id;
        self.offline_dirs().map(id).filter(|id| *id != Uuid::ZERO).collect()
    }

    fn registration(&self) -> BrokerRegistrationRequest {
        let config = &self.config.broker;
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
        BrokerRegistrationRequest {
            broker_id: config.id,
            cluster_id: config.cluster.clone(),
            incarnation_id: self.life.incarnation,
            listeners: config.advertised().map(listener).collect(),
            features: SUPPORTED.iter().map(feature).collect(),
            rack: config.rack.clone(),
            log_dirs: config.dirs().filter(|(dir, _)| self.dir_offline(*dir).is_none()).map(|(_, dir)| dir.id).collect(),
            previous_broker_epoch: self.life.previous.unwrap_or(-1),
            ..Default::default()
        }
    }

    pub(super) fn registered(&mut self, outcome: Result<Response, Unreachable>) {
        let refusal = match outcome {
            Ok(Response::BrokerRegistration(response)) if response.error_code == ErrorCode::NONE => {
                self.has_registered(response.broker_epoch);
                self.life.epoch = Some(response.broker_epoch);
                self.life.backoff = Duration::ZERO;
                (self.life.is_keeping, self.life.is_kept) = (true, false);
                self.keep_epoch(response.broker_epoch);
                let leaders: Vec<_> = self.fetchers.keys().copied().collect();
                return leaders.into_iter().for_each(|leader| self.fetch_next(leader));
            }
            Ok(Response::BrokerRegistration(response)) => Refusal::Code(response.error_code),
            Ok(_) => Refusal::Code(ErrorCode::UNKNOWN_SERVER_ERROR),
            Err(why) => Refusal::Unanswered(why),
        };
        self.life.is_open = false;
        self.not_registered(refusal);
        self.beat_soon();
    }

    /// What the next process may present: only where nothing can have been lost by then. Before it is on the disk no heartbeat asks to be unfenced:
    /// what this registration is given, the next process could not prove to have kept.
    fn keep_epoch(&mut self, epoch: i64) {
        let durability = self.config.broker.durability;
        let bytes = format!("{epoch} {durability:?}\n").into();
        let (dir, name) = (self.config.quorum.dir, EPOCH_FILE.to_owned());
        self.store(StoreOp::Save { dir, name, bytes }, super::stored::Pending::Epoch);
    }

    /// Something was lost since the epoch was written down: were this process stopped cleanly before it has registered, the next one would present it.
    pub(super) fn withdraw_epoch(&mut self) {
        if self.life.previous.is_none() && self.saved.contains_key(EPOCH_FILE) && !mutant!(LossForgotten) {
            let (dir, name) = (self.config.quorum.dir, EPOCH_FILE.to_owned());
            self.store(StoreOp::Save { dir, name, bytes: "none\n".into() }, super::stored::Pending::Small { dir });
        }
    }

    /// The epoch is on the disk. Or the disk is full: so long as it is, the next process would count as one that lost something, yet without this one no
    /// client could make room.
    pub(super) fn epoch_kept(&mut self, outcome: &Result<Stored, StoreFault>) {
        self.life.is_kept = outcome.is_ok();
        if *outcome == Err(StoreFault::Full) {
            self.mark_full(self.config.quorum.dir);
        }
        if std::mem::take(&mut self.life.is_keeping) {
            self.life.is_open = false;
            self.beat_now();
        }
    }

    /// A log directory has room again.
    pub(super) fn keep_epoch_at_last(&mut self) {
        if let Some(epoch) = self.life.epoch.filter(|_| !self.life.is_kept && !self.life.is_keeping) {
            probe!("a broker writes down its epoch when its disk has room again");
            self.keep_epoch(epoch);
        }
    }

    pub(super) fn heartbeat_answered(&mut self, outcome: Result<Response, Unreachable>) {
        self.life.is_open = false;
        let response = match outcome {
            Ok(Response::BrokerHeartbeat(response)) => response,
            Ok(_) | Err(_) => return self.beat_soon(),
        };
        match response.error_code {
            ErrorCode::NONE => {}
            // The controller knows of no such registration: this process begins anew.
            ErrorCode::STALE_BROKER_EPOCH | ErrorCode::BROKER_ID_NOT_REGISTERED => {
                let text = format!("the controller knows this broker's registration no more ({}): it registers anew", response.error_code);
                self.note(Level::Warn, text);
                self.life.previous = self.life.epoch.take().or(self.life.previous);
                return self.beat_soon();
            }
            _ => return self.beat_soon(),
        }
        if self.life.is_leaving && response.should_shut_down {
            self.life.is_leaving = false;
            return self.leave();
        }
        if response.is_fenced || self.life.is_leaving {
            return self.beat_soon();
        }
        self.life.backoff = Duration::ZERO;
        self.look_for_myself();
        let interval = ms(self.config.broker.heartbeat_interval_ms.into());
        let is_due = std::mem::take(&mut self.life.is_due);
        self.beat_in(if is_due { Duration::ZERO } else { interval });
    }

    /// The committed metadata has moved. Who wants to stop may do so when all others have told that they know of its last hand-over: they need not wait
    /// for their next heartbeats.
    pub(super) fn tell_who_leaves(&mut self) {
        if self.image().brokers().values().any(|broker| broker.is_stopping && !broker.is_fenced) {
            probe!("a broker tells at once that it knows who is about to stop");
            self.beat_now();
        }
    }

    /// The committed metadata has moved: this broker may be in it now.
    pub(super) fn look_for_myself(&mut self) {
        if self.phase != Phase::Joining {
            return;
        }
        let me = self.config.broker.id;
        let is_in = self.image().brokers().get(&me).is_some_and(|b| Some(b.epoch) == self.life.epoch && !b.is_fenced);
        if is_in {
            self.serve();
        }
    }
}
