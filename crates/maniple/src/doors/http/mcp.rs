//! `POST /mcp`: the Model Context Protocol over HTTP. Every request is served by itself.

use super::{Door, Serves, answer::Refusal, auth::Who, run::trace, visitor};
use crate::doors::mcp::{Caller, Handler};
use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::header;
use maniple_core::Error;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager};
use std::sync::Arc;

/// One message of a client, and its answer.
pub(super) async fn serve(State(door): State<Arc<Door>>, Who(who): Who, request: Request) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    // The protocol asks for it whoever shows a token.
    visitor::is_no_foreign_page(&parts.headers, &door.cors)?;
    // Read here, so that it keeps the bounds of every other body.
    let message = door.read_json(&who, &parts.headers, body).await?;
    let body = serde_json::to_vec(&message).map_err(|error| Error::internal(format!("a message cannot be written: {error}")))?;
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts() // checked with who asks
        .with_max_request_body_bytes(body.len())
        .with_cancellation_token(door.closing.child_token());
    let handler = Handler {
        desk: door.desk.clone(),
        runs_agents: door.serves == Serves::All,
        closing: door.closing.clone(),
        caller: Arc::new(Caller { who, trace: trace(&parts.headers) }),
    };
    let service = StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), config);
    let answer = service.handle(Request::from_parts(parts, Body::from(body))).await;
    Ok(answer.map(Body::new))
}
