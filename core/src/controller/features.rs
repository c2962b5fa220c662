//! Plans UpdateFeatures (KIP-584), and the features of a new cluster. Source: Kafka's `FeatureControlManager`.

use super::plan::{Plan, Planner};
use super::record::Record;
use crate::error::ErrorCode;
use crate::wire::api::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};

impl Planner<'_> {
    /// What a controller writes first when it has become the active one: the features of a cluster that has none.
    pub fn activate(&mut self) -> Vec<Record> {
        Vec::new()
    }

    /// Plans new feature levels, all or none.
    pub fn update_features(&mut self, _version: i16, _request: &UpdateFeaturesRequest) -> Plan<UpdateFeaturesResponse> {
        let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        Plan { records: Vec::new(), response: UpdateFeaturesResponse { error_code, ..Default::default() } }
    }
}
