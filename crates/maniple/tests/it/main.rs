//! Drives the built binary from outside. One test binary, because each links for seconds.

mod beside;
mod catalogue;
#[cfg(feature = "redis")]
mod chaos;
mod cli;
mod docs;
mod files;
mod floods;
mod hostile;
mod house;
mod neighbours;
mod node;
mod old_store;
#[cfg(feature = "redis")]
mod over_redis;
mod survival;
mod telemetry;
