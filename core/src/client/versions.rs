//! Which version of each request to speak on a connection: the newest that both sides know.

use std::collections::BTreeMap;

use crate::error::ErrorCode;
use crate::wire::api::api_versions::ApiVersionsRequest;
use crate::wire::{ApiKey, Request, Response};

/// A request as the client machines speak it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Api {
    key: ApiKey,
    min: i16,
    max: i16,
}

/// What a broker speaks: the range of versions of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versions(BTreeMap<i16, (i16, i16)>);

/// The machines name topics by name, and so stop short of the versions that name them by id.
impl Versions {
    pub(super) const PRODUCE: Api = Api { key: ApiKey::Produce, min: 3, max: 11 };
    pub(super) const FETCH: Api = Api { key: ApiKey::Fetch, min: 4, max: 12 };
    pub(super) const LIST_OFFSETS: Api = Api { key: ApiKey::ListOffsets, min: 1, max: 7 };
    pub(super) const METADATA: Api = Api { key: ApiKey::Metadata, min: 4, max: 12 };
    pub(super) const OFFSET_COMMIT: Api = Api { key: ApiKey::OffsetCommit, min: 2, max: 9 };
    pub(super) const OFFSET_FETCH: Api = Api { key: ApiKey::OffsetFetch, min: 2, max: 7 };
    pub(super) const FIND_COORDINATOR: Api = Api { key: ApiKey::FindCoordinator, min: 0, max: 3 };
    pub(super) const JOIN_GROUP: Api = Api { key: ApiKey::JoinGroup, min: 2, max: 9 };
    pub(super) const HEARTBEAT: Api = Api { key: ApiKey::Heartbeat, min: 0, max: 4 };
    pub(super) const LEAVE_GROUP: Api = Api { key: ApiKey::LeaveGroup, min: 0, max: 5 };
    pub(super) const SYNC_GROUP: Api = Api { key: ApiKey::SyncGroup, min: 0, max: 5 };
    pub(super) const INIT_PRODUCER_ID: Api = Api { key: ApiKey::InitProducerId, min: 0, max: 4 };

    /// The question that opens every connection, in a version that every broker since 2.4 can answer.
    pub(super) fn question() -> (i16, Request) {
        let request =
            ApiVersionsRequest { client_software_name: "klamm".into(), client_software_version: env!("CARGO_PKG_VERSION").into() };
        (3, Request::ApiVersions(request))
    }

    /// What a broker answers to it; `None` if that is an error.
    pub(super) fn read(response: &Response) -> Option<Self> {
        let Response::ApiVersions(response) = response else { return None };
        if response.error_code != ErrorCode::NONE {
            return None;
        }
        Some(Self(response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect()))
    }

    /// The newest version of a request that both sides know; `None` if there is none.
    pub(super) fn pick(&self, api: Api) -> Option<i16> {
        let (min, max) = self.0.get(&api.key.number())?;
        let version = api.max.min(*max);
        (version >= api.min && version >= *min).then_some(version)
    }
}
