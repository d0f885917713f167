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
use maniple_api::{Problem, tools::wire::PRINCIPAL_MAX};
use maniple_core::{AgentName, Error, Principal, Result, Scope, Tenant};
use maniple_runtime::desk::{Act, Addressee, Whom};
use serde::Deserialize;
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

/// For whom it is asked, as the query says: a runtime's node asks for those who asked it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct WhomQuery {
    tenant: Option<String>,
    principal: Option<String>,
    scope: Option<String>,
}

impl WhomQuery {
    /// The principal that is meant; `Denied` for whoever may not speak for it.
    fn meant_by(self, who: &Principal) -> Result<Principal> {
        let is_name =
            |name: &String| (1..=PRINCIPAL_MAX).contains(&name.chars().count()) && !name.chars().any(|c| c.is_control() || c == '/');
        if self.principal.as_ref().is_some_and(|name| !is_name(name)) {
            return Err(Error::invalid("principal must be 1 to 255 characters without `/` and control characters").at("principal"));
        }
        let scope = match self.scope.as_deref() {
            None => None,
            Some("admin") => Some(Scope::Admin),
            Some("operator") => Some(Scope::Operator),
            Some(_) => return Err(Error::invalid("scope must be `admin` or `operator`: what the principal has beside `tools`").at("scope")),
        };
        let tenant = self.tenant.as_deref().map(Tenant::parse).transpose()?;
        Whom { tenant, principal: self.principal, scope }.meant_by(who)
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
