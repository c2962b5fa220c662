//! The one integration-test binary of `klamm-core`.
mod frames;
