//! Every backend keeps its seam's contract.

mod limiter;
mod store;
mod tools;
