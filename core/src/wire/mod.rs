//! Kafka's wire formats, pure: whoever speaks them, in whichever direction, speaks them through here.

pub mod batch;
pub mod compress;
pub mod record;
