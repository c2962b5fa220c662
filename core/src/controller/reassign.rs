//! Plans AlterPartitionReassignments (KIP-455). A move completes when all that come are in the ISR: see `change.rs`.

use super::plan::{Plan, Planner};
use crate::error::ErrorCode;
use crate::wire::api::alter_partition_reassignments::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

impl Planner<'_> {
    /// Plans the moves that can be made, and the end of those that are to be given up.
    pub fn alter_partition_reassignments(
        &mut self,
        _request: &AlterPartitionReassignmentsRequest,
    ) -> Plan<AlterPartitionReassignmentsResponse> {
        let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        Plan { records: Vec::new(), response: AlterPartitionReassignmentsResponse { error_code, ..Default::default() } }
    }
}
