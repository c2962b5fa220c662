//! Plans AssignReplicasToDirs (KIP-858): a broker says in which of its directories a replica lies.

use super::plan::{Plan, Planner};
use crate::error::ErrorCode;
use crate::wire::api::assign_replicas_to_dirs::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};

impl Planner<'_> {
    /// Plans where the broker's replicas lie.
    pub fn assign_replicas_to_dirs(&mut self, _request: &AssignReplicasToDirsRequest) -> Plan<AssignReplicasToDirsResponse> {
        let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        Plan { records: Vec::new(), response: AssignReplicasToDirsResponse { error_code, ..Default::default() } }
    }
}
