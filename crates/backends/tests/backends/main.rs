//! Every backend keeps its seam's contract.

mod bus;
mod limiter;
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod store;
mod tools;
