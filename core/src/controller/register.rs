//! Plans a broker's and a controller's registration, and a broker's leave. Source: Kafka's `ClusterControlManager` (KIP-631, KIP-966).

use super::plan::{Plan, Planner};
use crate::error::ErrorCode;
use crate::id::Offset;
use crate::wire::api::broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse};
use crate::wire::api::controller_registration::{ControllerRegistrationRequest, ControllerRegistrationResponse};
use crate::wire::api::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

impl Planner<'_> {
    /// Plans a registration. `at` is where the first record will stand: the broker's epoch is its record's offset.
    /// `is_live` says whether the broker that holds the id has a session ([`super::Liveness::has_session`]).
    pub fn register_broker(
        &mut self,
        _request: &BrokerRegistrationRequest,
        _at: Offset,
        _is_live: bool,
    ) -> Plan<BrokerRegistrationResponse> {
        let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        Plan { records: Vec::new(), response: BrokerRegistrationResponse { error_code, ..Default::default() } }
    }

    /// Plans that a broker is forgotten: it leaves every ISR and ELR first.
    pub fn unregister_broker(&mut self, _request: &UnregisterBrokerRequest) -> Plan<UnregisterBrokerResponse> {
        let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        Plan { records: Vec::new(), response: UnregisterBrokerResponse { error_code, ..Default::default() } }
    }

    /// Plans a controller's registration (KIP-919).
    pub fn register_controller(&mut self, _request: &ControllerRegistrationRequest) -> Plan<ControllerRegistrationResponse> {
        let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        Plan { records: Vec::new(), response: ControllerRegistrationResponse { error_code, ..Default::default() } }
    }
}
