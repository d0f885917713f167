//! Every backend keeps its seam's contract.

mod fleet;
mod limiter;
mod outages;
mod postgres;
mod store;
mod tools;
