//! `POST /mcp`: the Model Context Protocol over HTTP. Every request is served by itself.

use super::{Door, Serves, answer::Refusal, auth::Who, run::trace, visitor};
use crate::doors::mcp::{Caller, Handler};
use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use maniple_core::Error;
use rmcp::model::{ClientJsonRpcMessage, ErrorCode};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager};
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::sync::Arc;

/// One message of a client, and its answer.
pub(super) async fn serve(State(door): State<Arc<Door>>, Who(who): Who, request: Request) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    // The protocol asks for it whoever shows a token.
    visitor::is_no_foreign_page(&parts.headers, &door.cors)?;
    // Read here, so that it keeps the bounds of every other body.
    let message = match door.read_json(&who, &parts.headers, body).await {
        Ok(message) => message,
        Err(Refusal(problem)) if problem.status == 400 => return Ok(no_message(ErrorCode::PARSE_ERROR, Value::Null, &problem.detail)),
        Err(refusal) => return Err(refusal),
    };
    if let Some((id, why)) = is_no_message(&message) {
        return Ok(no_message(ErrorCode::INVALID_REQUEST, id, &why));
    }
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
        called: None,
    };
    let handler = handler.about(&message).await;
    let service = StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), config);
    let answer = service.handle(Request::from_parts(parts, Body::from(body))).await;
    Ok(answer.map(Body::new))
}

/// Why a JSON value is no message that is read here, and the id to say so under.
fn is_no_message(value: &Value) -> Option<(Value, String)> {
    let Value::Object(members) = value else {
        let why = match value {
            Value::Array(_) => "a batch is not read: send one message a request",
            _ => "a message is a JSON object",
        };
        return Some((Value::Null, why.into()));
    };
    let id = members.get("id");
    if id.is_some_and(|id| !id.is_string() && !id.is_i64()) {
        return Some((Value::Null, "`id` must be a text or a whole number; a notification has none".into()));
    }
    let error = ClientJsonRpcMessage::deserialize(value).err()?;
    Some((id.cloned().unwrap_or_default(), format!("this is no message of the protocol: {error}")))
}

/// An answer in the protocol's own words, where it could not be asked.
fn no_message(code: ErrorCode, id: Value, why: &str) -> Response {
    let error = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code.0, "message": why } });
    (StatusCode::BAD_REQUEST, Json(error)).into_response()
}
