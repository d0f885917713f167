//! Wire formats of the HTTP door: what a request must look like, what an answer looks like, and a client.
//!
//! Nothing here listens, stores or decides; it turns bytes into checked words of
//! [`maniple_core`] and back. The door in the binary and the command line both speak through it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod approvals;
pub mod client;
pub mod event;
pub mod json;
pub mod openapi;
pub mod page;
pub mod probe;
pub mod problem;
pub mod request;
mod strict;
pub mod tool_pages;
pub mod tools;

pub use json::Malformed;
pub use problem::Problem;
pub use request::TaskRequest;
