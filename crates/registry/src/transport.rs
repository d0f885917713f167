//! How a call travels.

mod answer;
pub(crate) mod builtin;
pub(crate) mod client;
pub(crate) mod http;
