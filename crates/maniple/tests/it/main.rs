//! Drives the built binary from outside. One test binary, because each links for seconds.

mod catalogue;
mod cli;
mod docs;
mod house;
mod node;
mod old_store;
mod survival;
mod telemetry;
