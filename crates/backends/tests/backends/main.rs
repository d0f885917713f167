//! Every backend keeps its seam's contract.

mod events;
mod limiter;
mod postgres;
mod store;
mod tools;
