//! The words and the rules of Maniple.
//!
//! This crate does no I/O, reads no clock, rolls no dice and knows no async
//! runtime: whoever calls it says what time it is. Everything else in the
//! project knows this crate; it knows no one.

pub mod agent;
pub mod breaker;
pub mod canonical;
pub mod digits;
pub mod error;
pub mod estimate;
pub mod event;
pub mod finding;
pub mod id;
pub mod lenient;
pub mod message;
pub mod model;
pub mod pace;
pub mod ports;
pub mod principal;
pub mod request;
pub mod retry;
pub mod run;
pub mod schema;
pub mod settings;
pub mod signal;
pub mod task;
pub mod time;
pub mod tool;
pub mod trace;
pub mod waits;

pub use error::{Error, Kind, Result};
pub use id::{AgentName, SessionId, SessionKey, TaskId, TaskKey, Tenant};
pub use principal::{Principal, Scope};
pub use time::Time;
