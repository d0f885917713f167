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

use super::{
    Shared,
    answer::Refusal,
    auth::{Auth, Principal, Who},
};
use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use handler::Handler;
use http::{HeaderMap, header};
use maniple_core::Error;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager};
use std::sync::Arc;

/// One message of a client, and its answer.
pub(super) async fn serve(State(shared): State<Arc<Shared>>, Who(who): Who, request: Request) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    of_no_foreign_page(&shared, &parts.headers)?;
    // Read here, so that it keeps the bounds of every other body.
    let message = shared.read_json(&parts.headers, body).await?;
    let body = serde_json::to_vec(&message).map_err(|error| Error::internal(format!("a message cannot be written: {error}")))?;
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts() // checked above
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

/// Fails for a browser's page from elsewhere, and where there are no tokens for a name that is not this machine's own: a
/// page could have had that name moved to this address.
fn of_no_foreign_page(shared: &Shared, headers: &HeaderMap) -> Result<(), Error> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).and_then(|host| host.parse::<http::uri::Authority>().ok());
    if let Some(origin) = text(header::ORIGIN) {
        let from = origin.parse::<http::Uri>().ok().and_then(|origin| origin.into_parts().authority);
        let own = from.as_ref().is_some_and(|from| is_loopback(from.host()) || host.as_ref() == Some(from));
        if !own {
            return Err(Error::denied(format!("pages of {} may not use this", origin.escape_debug())).at("Origin"));
        }
    }
    let here = host.as_ref().is_none_or(|host| is_loopback(host.host()));
    if matches!(shared.door.auth, Auth::Open) && !here {
        return Err(Error::denied("without tokens this is for clients on this machine: add auth.tokens").at("Host"));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
