//! Tools: the catalogue, who may change it, and calls. Who may what stands at [`maniple_runtime::desk::Act`].

mod call;
mod catalog;
mod publish;
mod resolve;

use super::{Door, answer::Refusal};
use axum::{
    Router,
    extract::{FromRequestParts, RawPathParams},
    response::Response,
    routing::{delete, get, post},
};
use http::{StatusCode, request::Parts};
use maniple_api::Problem;
use maniple_core::{AgentName, Error, Principal, Result};
use maniple_runtime::desk::{Act, Addressee};
use std::sync::Arc;

/// The routes.
pub(super) fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/tools", post(publish::register).get(catalog::list))
        .route("/tools/resolve", post(resolve::resolve).get(catalog::show).delete(publish::remove))
        .route("/tools/{name}", get(catalog::show).delete(publish::remove))
        .route("/tools/{name}/versions", get(catalog::versions))
        .route("/tools/{name}/instances/{instance}", delete(publish::withdraw))
        .route("/tools/{name}/invoke", post(call::invoke))
        .route("/tools/{name}/admit", post(call::admit))
        .route("/tools/{name}/probe", post(call::probe))
}

/// What the path names.
#[derive(Debug, Default)]
pub(super) struct Named {
    tool: String,
    instance: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let named = RawPathParams::from_request_parts(parts, state).await;
        let named = named.map_err(|e| Problem::malformed(format!("the path cannot be read: {e}")))?;
        // `/tools/resolve` is a path of its own, and may be a tool's too.
        let mut found = Self { tool: "resolve".into(), instance: String::new() };
        for (name, value) in &named {
            match name {
                "name" => value.clone_into(&mut found.tool),
                _ => value.clone_into(&mut found.instance),
            }
        }
        Ok(found)
    }
}

/// The agent of a request, for those who may.
fn agent(act: Act, who: &Principal, name: &str) -> Result<AgentName> {
    let agent = AgentName::parse(name).map_err(|error| Error { field: Some("agent".into()), ..error })?;
    act.about(who, &Addressee::Named(agent.clone()))?;
    Ok(agent)
}

/// 204.
fn nothing_more() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
