//! Every backend keeps its seam's contract.

mod limiter;
mod postgres;
mod store;
mod tools;
