//! Tools: the catalogue, who may change it, and calls.
//!
//! | call | scope |
//! |---|---|
//! | what is there | `read` or `tools` |
//! | register, withdraw, remove, call | `tools`, and the agent that it is called as |
//! | take in what is not proven; call for another tenant or principal; say that a run has a person's consent | `admin` too |

mod call;
mod catalog;
mod meant;
mod publish;
mod resolve;
mod run_calls;

pub(super) use run_calls::RunCalls;

use super::{Shared, answer::Refusal};
use axum::{
    Router,
    extract::{FromRequestParts, RawPathParams},
    response::Response,
    routing::{delete, get, post},
};
use http::{StatusCode, request::Parts};
use maniple_api::Problem;
use maniple_core::{AgentName, Error, Principal, Result, Scope, canonical, ports::Idempotency};
use maniple_runtime::desk::IdempotencyKey;
use serde_json::Value;
use std::sync::Arc;

/// The routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
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

/// Fails unless it may look at tools.
fn may_look(who: &Principal) -> Result<()> {
    who.may_either(Scope::Read, Scope::Tools)
}

/// The agent of a request, if this principal may use it.
fn agent(who: &Principal, name: &str) -> Result<AgentName> {
    let agent = AgentName::parse(name).map_err(|error| Error { field: Some("agent".into()), ..error })?;
    who.may_use(&agent)?;
    Ok(agent)
}

impl Shared {
    /// The key with its scope, for a POST with a body that makes no task; fails where it was used for another body.
    async fn keyed(&self, who: &Principal, key: Option<IdempotencyKey>, path: &str, body: &Value) -> Result<Option<Idempotency>> {
        let Some(key) = key else { return Ok(None) };
        let idempotency = Idempotency { scope: path.to_owned(), key: key.as_str().to_owned(), body_hash: canonical::hash(body) };
        self.door.desk.recall(&who.tenant, &idempotency).await?;
        Ok(Some(idempotency))
    }

    /// Remembers the key of a call that made something of that name and is answered with 2xx; whether it was known.
    async fn seen(&self, who: &Principal, key: Option<Idempotency>, made: &str) -> Result<bool> {
        match key {
            Some(key) => Ok(self.door.desk.remember(&who.tenant, &key, made).await?.is_replay()),
            None => Ok(false),
        }
    }
}

/// 204.
fn nothing_more() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
