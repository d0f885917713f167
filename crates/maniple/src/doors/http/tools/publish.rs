//! Changes of the catalogue: a definition comes, is renewed, leaves, is forgotten.

use super::{
    super::{
        Shared,
        answer::{self, Refusal},
        auth::Who,
        idempotency,
        place::Asked,
    },
    Named, catalog, nothing_more,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::tools::Removed;
use maniple_core::{Error, Scope, ports::Registration, tool::Source};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The longest reason for an override.
const REASON_CHARACTERS: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct RegisterQuery {
    source: Option<String>,
    r#override: Option<String>,
}

/// 201 for a version that was not known, 200 for one that was: its instance joins, or renews its lease.
pub(super) async fn register(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    Asked(query): Asked<RegisterQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    who.may(Scope::Tools)?;
    let source = match query.source.as_deref() {
        None | Some("registered") => Source::Registered,
        Some("added") => Source::Added,
        Some(_) => return Err(Error::invalid("source must be `registered`, which expires, or `added`, which stays").at("source").into()),
    };
    if let Some(reason) = &query.r#override {
        who.may(Scope::Admin)?;
        if reason.trim().is_empty() || reason.chars().count() > REASON_CHARACTERS {
            let message = format!("override must say why, in 1 to {REASON_CHARACTERS} characters: it is recorded with the version");
            return Err(Error::invalid(message).at("override").into());
        }
    }
    let key = idempotency::key(&headers)?;
    let definition = shared.read_json(&headers, body).await?;
    let asked = json!({ "definition": definition, "source": source, "override": query.r#override });
    let key = shared.keyed(&who, key, "/tools", &asked).await?;
    let registration = Registration { definition, by: who.registrant(), source, override_reason: query.r#override };
    let registered = shared.door.registry.register(registration).await?;
    let status = if registered.new_version { StatusCode::CREATED } else { StatusCode::OK };
    let made = format!("{}@{}", registered.definition.name, registered.definition.version);
    let known = shared.seen(&who, key, &made).await?;
    Ok(answer::replayed(answer::json(status, &registered), known))
}

/// Takes one instance out: what a tool does when it stops. Its version stays known.
pub(super) async fn withdraw(State(shared): State<Arc<Shared>>, Who(who): Who, named: Named) -> Result<Response, Refusal> {
    who.may(Scope::Tools)?;
    shared.door.registry.withdraw(&named.tool, &named.instance, &who.registrant()).await?;
    Ok(nothing_more())
}

#[derive(Deserialize)]
pub(super) struct RemoveQuery {
    version: Option<String>,
}

/// Forgets one version, or all of a name.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    named: Named,
    Asked(query): Asked<RemoveQuery>,
) -> Result<Response, Refusal> {
    who.may(Scope::Tools)?;
    let version = query.version.as_deref().map(catalog::version).transpose()?;
    let versions = shared.door.registry.remove(&named.tool, version.as_ref(), &who.registrant()).await?;
    Ok(answer::json(StatusCode::OK, &Removed { name: named.tool, versions }))
}
