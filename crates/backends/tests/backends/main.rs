//! Every backend keeps its seam's contract.

mod fleet;
mod limiter;
mod postgres;
mod store;
mod tools;
