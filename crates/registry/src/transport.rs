//! How a call travels.

pub(crate) mod answer;
pub(crate) mod builtin;
pub(crate) mod client;
pub(crate) mod http;
