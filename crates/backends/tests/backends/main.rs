//! Every backend keeps its seam's contract.

mod bus;
mod events;
mod fleet;
mod limiter;
mod outages;
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod store;
mod times;
mod together;
mod tools;
