//! What is there: every tool with its versions and instances, or what one agent may use.

use super::{
    super::{
        Shared,
        answer::{self, Refusal},
        auth::Who,
        place::Asked,
    },
    Named, agent, may_look,
};
use axum::{extract::State, response::Response};
use http::StatusCode;
use maniple_api::{
    Malformed, page,
    tools::{GrantedPage, GrantedTool, ToolPage, VersionPage},
};
use maniple_core::{
    Error, Result,
    tool::{ToolState, ToolVersion},
};
use semver::Version;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    agent: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// By name, the versions of each highest first; or with `agent` what that one may use, as its model is shown it.
pub(super) async fn list(State(shared): State<Arc<Shared>>, Who(who): Who, Asked(query): Asked<ListQuery>) -> Result<Response, Refusal> {
    may_look(&who)?;
    let limit = page::limit(query.limit.as_deref())?;
    if let Some(named) = query.agent {
        let offers = shared.door.registry.granted(&agent(&who, &named)?).await?;
        let tools = offers.iter().map(GrantedTool::from).collect();
        return Ok(answer::json(StatusCode::OK, &GrantedPage { tools, next_cursor: None }));
    }
    let bad_cursor = || Malformed("cursor is not one of ours: pass `next_cursor` on as it was, or leave it out".into());
    let is_name = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if query.cursor.as_deref().is_some_and(|cursor| !is_name(cursor)) {
        return Err(bad_cursor().into());
    }
    // One name more than the page holds tells whether there is another page.
    let mut tools = shared.door.registry.list(query.cursor.as_deref(), limit + 1).await?;
    let name = |tool: &ToolVersion| tool.definition.name.clone();
    let mut names: Vec<String> = tools.iter().map(name).collect();
    names.dedup();
    let next_cursor = (names.len() > limit).then(|| names[limit - 1].clone());
    if next_cursor.is_some() {
        tools.retain(|tool| tool.definition.name != names[limit]);
    }
    Ok(answer::json(StatusCode::OK, &ToolPage { tools, next_cursor }))
}

#[derive(Deserialize)]
pub(super) struct VersionQuery {
    version: Option<String>,
}

/// One version: the one that is named, or the highest that can be called, or the highest.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    named: Named,
    Asked(query): Asked<VersionQuery>,
) -> Result<Response, Refusal> {
    may_look(&who)?;
    let wanted = query.version.as_deref().map(version).transpose()?;
    let versions = shared.door.registry.versions(&named.tool).await?;
    let found = match &wanted {
        Some(version) => versions.iter().find(|known| known.definition.version == *version),
        None => versions.iter().find(|known| known.state == ToolState::Healthy).or(versions.first()),
    };
    let found = found.ok_or_else(|| no_version(&named.tool, wanted.as_ref(), &versions))?;
    Ok(answer::json(StatusCode::OK, found))
}

/// A version of a query.
pub(super) fn version(text: &str) -> Result<Version> {
    Version::parse(text).map_err(|e| Error::invalid(format!("version `{text}` is no SemVer such as 1.2.0: {e}")).at("version"))
}

fn no_version(name: &str, wanted: Option<&Version>, versions: &[ToolVersion]) -> Error {
    let known = versions.iter().take(20).map(|known| known.definition.version.to_string()).collect::<Vec<_>>().join(", ");
    match wanted {
        Some(version) if !versions.is_empty() => Error::not_found(format!("tool `{name}` has no version {version}: there are {known}")),
        _ => Error::not_found(format!("there is no tool `{name}`")),
    }
}

#[derive(Deserialize)]
pub(super) struct PageQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

/// Highest first.
pub(super) async fn versions(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    named: Named,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Refusal> {
    may_look(&who)?;
    let limit = page::limit(query.limit.as_deref())?;
    let bad_cursor = |_| Malformed("cursor is not one of ours: pass `next_cursor` on as it was, or leave it out".into());
    let after = query.cursor.as_deref().map(Version::parse).transpose().map_err(bad_cursor)?;
    let all = shared.door.registry.versions(&named.tool).await?;
    let mut rest = all.into_iter().filter(|known| after.as_ref().is_none_or(|after| known.definition.version < *after));
    let versions: Vec<ToolVersion> = rest.by_ref().take(limit).collect();
    let next_cursor = rest.next().and(versions.last()).map(|last| last.definition.version.to_string());
    Ok(answer::json(StatusCode::OK, &VersionPage { versions, next_cursor }))
}
