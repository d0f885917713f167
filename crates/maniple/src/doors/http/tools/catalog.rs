//! What is there: every tool with its versions and instances, or what one agent may use.

use super::{
    super::{
        Door,
        answer::{self, Refusal},
        auth::Who,
        place::Asked,
    },
    Named, WhomQuery, agent,
};
use axum::{extract::State, response::Response};
use http::StatusCode;
use maniple_api::{
    page,
    tools::{GrantedPage, GrantedTool, ToolPage, VersionPage},
};
use maniple_core::{Error, Result};
use maniple_runtime::desk::{Act, Page};
use semver::Version;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    agent: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    #[serde(flatten)]
    whom: WhomQuery,
}

/// By name, the versions of each highest first; or with `agent` what that one may use, as its model is shown it.
pub(super) async fn list(State(door): State<Arc<Door>>, Who(who): Who, Asked(query): Asked<ListQuery>) -> Result<Response, Refusal> {
    Act::LookAtTools.by(&who)?;
    let who = query.whom.meant_by(&who)?;
    let limit = page::limit(query.limit.as_deref())?;
    if let Some(named) = query.agent {
        let offers = door.desk.granted_to(&who, &agent(Act::LookAtTools, &who, &named)?).await?;
        let tools = offers.iter().map(GrantedTool::from).collect();
        return Ok(answer::json(StatusCode::OK, &GrantedPage { tools, next_cursor: None }));
    }
    let is_name = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if query.cursor.as_deref().is_some_and(|cursor| !is_name(cursor)) {
        return Err(page::not_ours().into());
    }
    let Page { items, next } = door.desk.tools(&who, query.cursor.as_deref(), limit).await?;
    let left_out = if query.cursor.is_none() { door.desk.left_out(&who).await? } else { Vec::new() };
    Ok(answer::json(StatusCode::OK, &ToolPage { tools: items, next_cursor: next, left_out }))
}

#[derive(Deserialize)]
pub(super) struct VersionQuery {
    version: Option<String>,
    #[serde(flatten)]
    whom: WhomQuery,
}

/// One version: the one that is named, or the highest that can be called, or the highest.
pub(super) async fn show(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    named: Named,
    Asked(query): Asked<VersionQuery>,
) -> Result<Response, Refusal> {
    Act::LookAtTools.by(&who)?;
    let who = query.whom.meant_by(&who)?;
    let wanted = query.version.as_deref().map(version).transpose()?;
    let found = door.desk.tool(&who, &named.tool, wanted.as_ref()).await?;
    Ok(answer::json(StatusCode::OK, &found))
}

/// A version of a query.
pub(super) fn version(text: &str) -> Result<Version> {
    Version::parse(text).map_err(|e| Error::invalid(format!("version `{text}` is no SemVer such as 1.2.0: {e}")).at("version"))
}

#[derive(Deserialize)]
pub(super) struct PageQuery {
    limit: Option<String>,
    cursor: Option<String>,
    #[serde(flatten)]
    whom: WhomQuery,
}

/// Highest first.
pub(super) async fn versions(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    named: Named,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Refusal> {
    Act::LookAtTools.by(&who)?;
    let who = query.whom.meant_by(&who)?;
    let limit = page::limit(query.limit.as_deref())?;
    let below = query.cursor.as_deref().map(Version::parse).transpose().map_err(|_| page::not_ours())?;
    let Page { items, next } = door.desk.tool_versions(&who, &named.tool, below.as_ref(), limit).await?;
    Ok(answer::json(StatusCode::OK, &VersionPage { versions: items, next_cursor: next.map(|version| version.to_string()) }))
}
