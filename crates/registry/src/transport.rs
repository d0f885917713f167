//! How a call travels.

pub(crate) mod answer;
pub(crate) mod builtin;
pub(crate) mod client;
mod decoded;
pub(crate) mod http;
pub(crate) mod media;
pub(crate) mod waits;
