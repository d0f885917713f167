//! Every backend keeps its seam's contract.

mod events;
mod fleet;
mod limiter;
mod outages;
mod postgres;
mod store;
mod tools;
