//! Changes of the catalogue: a definition comes, is renewed, leaves, is forgotten.

use super::{
    super::{
        Door,
        answer::{self, Refusal},
        auth::Who,
        idempotency,
        place::Asked,
    },
    Named, WhomQuery, catalog, nothing_more,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::tools::Removed;
use maniple_core::{Error, tool::Source};
use maniple_runtime::desk::{Act, Definition, Reason};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
pub(super) struct RegisterQuery {
    source: Option<String>,
    r#override: Option<String>,
    #[serde(flatten)]
    whom: WhomQuery,
}

/// 201 for a version that was not known, 200 for one that was: its instance joins, or renews its lease.
pub(super) async fn register(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    Asked(query): Asked<RegisterQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Act::UseTools.by(&who)?;
    let who = query.whom.meant_by(&who)?;
    let source = match query.source.as_deref() {
        None | Some("registered") => Source::Registered,
        Some("added") => Source::Added,
        Some(_) => return Err(Error::invalid("source must be `registered`, which expires, or `added`, which stays").at("source").into()),
    };
    if query.r#override.is_some() {
        Act::Vouch.by(&who)?;
    }
    let unproven_because = query.r#override.as_deref().map(Reason::parse).transpose()?;
    let key = idempotency::key(&headers)?;
    let definition = door.read_json(&who, &headers, body).await?;
    let (registered, was) = door.desk.register(&who, Definition { definition, source, unproven_because }, key).await?;
    let status = if registered.new_version { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer::replayed(answer::json(status, &registered), was.is_replay()))
}

/// Takes one instance out: what a tool does when it stops. Its version stays known.
pub(super) async fn withdraw(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    named: Named,
    Asked(whom): Asked<WhomQuery>,
) -> Result<Response, Refusal> {
    Act::UseTools.by(&who)?;
    let who = whom.meant_by(&who)?;
    door.desk.withdraw(&who, &named.tool, &named.instance).await?;
    Ok(nothing_more())
}

#[derive(Deserialize)]
pub(super) struct RemoveQuery {
    version: Option<String>,
    #[serde(flatten)]
    whom: WhomQuery,
}

/// Forgets one version, or all of a name.
pub(super) async fn remove(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    named: Named,
    Asked(query): Asked<RemoveQuery>,
) -> Result<Response, Refusal> {
    Act::UseTools.by(&who)?;
    let who = query.whom.meant_by(&who)?;
    let version = query.version.as_deref().map(catalog::version).transpose()?;
    let versions = door.desk.remove(&who, &named.tool, version.as_ref()).await?;
    Ok(answer::json(StatusCode::OK, &Removed { name: named.tool, versions }))
}
