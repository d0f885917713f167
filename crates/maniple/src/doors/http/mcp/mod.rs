//! `POST /mcp`: the catalogue's tools, and each agent as a tool, for clients of the Model Context Protocol.
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
mod handler;
mod tools;

use super::{Shared, answer::Refusal, auth::Who, visitor};
use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use handler::Handler;
use http::{HeaderMap, header};
use maniple_core::{Error, Principal};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager};
use std::sync::Arc;

/// One message of a client, and its answer.
pub(super) async fn serve(State(shared): State<Arc<Shared>>, Who(who): Who, request: Request) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    // The protocol asks for it whoever shows a token.
    visitor::is_no_foreign_page(&parts.headers)?;
    // Read here, so that it keeps the bounds of every other body.
    let message = shared.read_json(&parts.headers, body).await?;
    let body = serde_json::to_vec(&message).map_err(|error| Error::internal(format!("a message cannot be written: {error}")))?;
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts() // checked with who asks
        .with_max_request_body_bytes(body.len())
        .with_cancellation_token(shared.door.closing.child_token());
    let caller = Caller { who, headers: parts.headers.clone() };
    let handler = Handler { shared: shared.clone(), caller: Arc::new(caller) };
    let service = StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), config);
    let answer = service.handle(Request::from_parts(parts, Body::from(body))).await;
    Ok(answer.map(Body::new))
}

/// Who asks, and the head of the request.
struct Caller {
    who: Arc<Principal>,
    headers: HeaderMap,
}
