//! The Model Context Protocol: the catalogue's tools, and each agent as a tool, whatever carries its messages.
//!
//! | tool | scope | is |
//! |---|---|---|
//! | one that an agent of the principal's was granted | `tools` | called on that agent's grant, as `POST /tools/{name}/invoke` does |
//! | `agent_NAME` | `run` | a task of that agent, as `POST /run` does |
//!
//! Every request is served by itself, on every protocol version: there is no session that a replica or a restart could
//! lose, and nothing of one principal that another one could pick up. A client that leaves, or says that it does not wait any
//! more, loses no task. Clients that speak the tasks extension get each task as a task, under its own id.

mod agents;
mod audience;
mod handler;
mod tools;

pub(super) use handler::Handler;

use maniple_core::{Principal, trace::TraceContext};
use std::sync::Arc;

/// Who asks, and the trace of the request that carries the message.
pub(super) struct Caller {
    pub(super) who: Arc<Principal>,
    pub(super) trace: Option<TraceContext>,
}
