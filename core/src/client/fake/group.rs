//! A pretended group coordinator.

use super::broker::Served;
use crate::wire::{Request, RequestHeader};

pub(crate) struct Group {
    pub(crate) coordinator: i32,
}

impl Group {
    pub(super) fn new(coordinator: i32) -> Self {
        Self { coordinator }
    }

    pub(super) fn serve(&mut self, _now: u64, _broker: i32, header: &RequestHeader, _request: Request) -> Served {
        panic!("{} is not expected here", header.api.name());
    }
}
