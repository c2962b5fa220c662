//! Plans UpdateFeatures (KIP-584), and the features of a new cluster.
//!
//! Source: Kafka's `FeatureControlManager` and `ActivationRecordsGenerator`.

use super::bootstrap::{METADATA_VERSION, METADATA_VERSION_MIN};
use super::image::{ELR_FEATURE, GROUP_FEATURE, Resource};
use super::plan::{Plan, Planner, Refusal, outcome};
use super::record::Record;
use crate::config::topic;
use crate::error::ErrorCode;
use crate::wire::api::update_features::{FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse};
use crate::wire::records::metadata::{ClearElrRecord, ConfigRecord, FeatureLevelRecord};
use std::ops::RangeInclusive;

/// The feature that decides how the metadata log's records are written.
pub const METADATA_FEATURE: &str = "metadata.version";
/// Below it records cannot say who is eligible: `eligible.leader.replicas.version` 1 needs 4.0-IV1.
const METADATA_VERSION_OF_ELR: i16 = 23;
/// In-sync replicas that an acknowledgement needs.
pub(super) const MIN_ISR: &str = "min.insync.replicas";

/// What this build can work with, by name: each node says so when it registers.
pub const SUPPORTED: &[(&str, i16, i16)] =
    &[(ELR_FEATURE, 0, 1), (GROUP_FEATURE, 0, 1), (METADATA_FEATURE, METADATA_VERSION_MIN, METADATA_VERSION)];

/// What is done to a feature (Kafka's `FeatureUpdate.UpgradeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
}

impl Direction {
    fn of(version: i16, update: &FeatureUpdateKey) -> Option<Self> {
        match update.upgrade_type {
            _ if version == 0 => Some(if update.allow_downgrade { Self::SafeDowngrade } else { Self::Upgrade }),
            1 => Some(Self::Upgrade),
            2 => Some(Self::SafeDowngrade),
            3 => Some(Self::UnsafeDowngrade),
            _ => None,
        }
    }
}

impl Planner<'_> {
    /// What a controller writes first when it has become the active one: the features of a cluster that has none.
    pub fn activate(&mut self) -> Vec<Record> {
        if !self.image.features().is_empty() {
            return Vec::new();
        }
        let mut records = vec![level(METADATA_FEATURE, METADATA_VERSION), level(ELR_FEATURE, 1), level(GROUP_FEATURE, 1)];
        records.extend(self.one_min_isr());
        records
    }

    /// Under ELR every broker must go by the same `min.insync.replicas`: a leader that goes by a lower one than the controller would
    /// acknowledge what an eligible replica has not got. So the controller's is set for all, and no broker keeps its own.
    fn one_min_isr(&self) -> Vec<Record> {
        let record = |resource: Resource, value: Option<String>| {
            let (resource_type, resource_name) = (resource.kind.wire(), resource.name);
            Record::Config(ConfigRecord { resource_type, resource_name, name: MIN_ISR.to_owned(), value })
        };
        let own = self.image.brokers().keys().map(|id| Resource::broker(*id));
        let mut records: Vec<Record> = own.filter(|r| self.image.properties(r).contains_key(MIN_ISR)).map(|r| record(r, None)).collect();
        if !self.image.properties(&Resource::all_brokers()).contains_key(MIN_ISR) {
            let key = topic::key(MIN_ISR).expect("a name of our own table");
            let value = key.effective(&crate::config::Properties::new(), self.image.layers(self.config)).0;
            records.push(record(Resource::all_brokers(), Some(value.map_or_else(|| "1".to_owned(), |v| v.to_string()))));
        }
        records
    }

    /// Plans new feature levels, all or none.
    pub fn update_features(&mut self, version: i16, request: &UpdateFeaturesRequest) -> Plan<UpdateFeaturesResponse> {
        let mut records = Vec::new();
        for update in &request.feature_updates {
            match self.update_feature(version, update, &request.feature_updates) {
                Ok(more) => records.extend(more),
                Err(refusal) => return Plan { records: Vec::new(), response: refused(refusal) },
            }
        }
        if request.validate_only {
            records.clear();
        }
        let result = |update: &FeatureUpdateKey| UpdatableFeatureResult {
            feature: update.feature.clone(),
            error_code: ErrorCode::NONE,
            error_message: None,
        };
        let results = if version <= 1 { request.feature_updates.iter().map(result).collect() } else { Vec::new() };
        Plan { records, response: UpdateFeaturesResponse { error_message: None, results, ..Default::default() } }
    }

    fn update_feature(&self, version: i16, update: &FeatureUpdateKey, all: &[FeatureUpdateKey]) -> Result<Vec<Record>, Refusal> {
        let (name, wanted) = (update.feature.as_str(), update.max_version_level);
        let no = |why: String| {
            Err(Refusal::new(ErrorCode::INVALID_UPDATE_VERSION, format!("Invalid update version {wanted} for feature {name}. {why}")))
        };
        let Some(direction) = Direction::of(version, update) else {
            return no("The controller does not support the given upgrade type.".to_owned());
        };
        if wanted < 0 {
            return no("A feature version cannot be less than 0.".to_owned());
        }
        if let Some(why) = self.reason_not_supported(name, wanted) {
            return no(why);
        }
        let now = self.image.features().get(name).copied().unwrap_or(0);
        if wanted < now && direction == Direction::Upgrade {
            let why = "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.";
            return no(why.to_owned());
        }
        if wanted > now && direction != Direction::Upgrade {
            return no("Can't downgrade to a newer version.".to_owned());
        }
        if name == METADATA_FEATURE {
            return self.judge_metadata_version(now, wanted, direction).map(|()| vec![level(name, wanted)]);
        }
        let metadata = all.iter().find(|u| u.feature == METADATA_FEATURE).map(|u| u.max_version_level);
        let metadata = metadata.or_else(|| self.image.features().get(METADATA_FEATURE).copied()).unwrap_or(0);
        if name == ELR_FEATURE && wanted > 0 && metadata < METADATA_VERSION_OF_ELR {
            return no(format!(
                "{name} could not be set to {wanted} because it depends on {METADATA_FEATURE} level {METADATA_VERSION_OF_ELR}"
            ));
        }
        Ok(self.switch(name, now, wanted))
    }

    /// Why somebody could not work with the level.
    fn reason_not_supported(&self, name: &str, level: i16) -> Option<String> {
        let ours = SUPPORTED.iter().find(|(feature, _, _)| *feature == name).map(|(_, min, max)| *min..=*max);
        let of = |features: &std::collections::BTreeMap<String, (i16, i16)>| features.get(name).map(|(min, max)| *min..=*max);
        let local = (format!("Local controller {}", self.config.id), ours);
        let brokers = self.image.brokers().iter().map(|(id, b)| (format!("Broker {id}"), of(&b.features)));
        let others = self.image.controllers().iter().filter(|(id, _)| **id != self.config.id);
        let controllers = others.map(|(id, c)| (format!("Controller {id}"), of(&c.features)));
        std::iter::once(local).chain(brokers).chain(controllers).find_map(|(who, range)| lacks(&who, range, level))
    }

    /// Going back is possible where no record is written otherwise; klamm writes one level only.
    fn judge_metadata_version(&self, now: i16, wanted: i16, direction: Direction) -> Result<(), Refusal> {
        if wanted >= now {
            return Ok(());
        }
        let why = match direction {
            Direction::UnsafeDowngrade => "Unsafe metadata downgrade is not supported in this version.",
            Direction::Upgrade | Direction::SafeDowngrade => {
                "Refusing to perform the requested downgrade because it might delete metadata information."
            }
        };
        Err(Refusal::new(ErrorCode::INVALID_UPDATE_VERSION, format!("Invalid metadata.version {wanted}. {why}")))
    }

    fn switch(&self, name: &str, now: i16, wanted: i16) -> Vec<Record> {
        let mut records = vec![level(name, wanted)];
        match (name == ELR_FEATURE, now, wanted) {
            (true, 0, 1..) => records.extend(self.one_min_isr()),
            // Nobody keeps it from here on: what is left of it would be believed later.
            (true, 1.., 0) => records.push(Record::ClearElr(ClearElrRecord::default())),
            _ => {}
        }
        records
    }
}

fn lacks(who: &str, range: Option<RangeInclusive<i16>>, level: i16) -> Option<String> {
    match range {
        None if level == 0 => None,
        None => Some(format!("{who} does not support this feature.")),
        Some(range) if range.contains(&level) => None,
        Some(range) => Some(format!("{who} only supports versions {}-{}", range.start(), range.end())),
    }
}

fn level(name: &str, feature_level: i16) -> Record {
    Record::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), feature_level })
}

fn refused(refusal: Refusal) -> UpdateFeaturesResponse {
    let (error_code, words) = outcome(Err(refusal));
    let words = words.unwrap_or_default();
    let error_message = Some(format!("The update failed for all features since the following feature had an error: {words}"));
    UpdateFeaturesResponse { error_code, error_message, ..Default::default() }
}
