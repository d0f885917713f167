//! Every backend keeps its seam's contract.

mod bus;
mod limiter;
mod postgres;
mod store;
mod tools;
