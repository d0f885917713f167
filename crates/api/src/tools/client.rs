//! The calls of `/tools`, for people and their scripts. A refusal is the same error on both sides of the wire.

use super::{
    outcome::CallOutcome,
    wire::{CallAnswer, CallRequest, GrantedPage, Removed, ToolPage, VersionPage},
};
use crate::{
    client::{Client, keyed, read},
    problem::Problem,
};
use maniple_core::{
    Error, Result, Tenant,
    tool::{Registered, ToolVersion},
};
use reqwest::{Method, Response};
use serde_json::Value;

/// How a definition is brought.
#[derive(Debug, Clone, Default)]
pub struct Adding<'a> {
    /// It stays until it is removed, rather than leave when it is silent.
    pub stays: bool,
    /// Why a version is taken in although its compatibility is not proven. Needs `admin`, or `operator`.
    pub override_reason: Option<&'a str>,
}

impl Client {
    /// A page of the catalogue, by name.
    pub async fn tools(&self, limit: usize, cursor: Option<&str>) -> Result<ToolPage> {
        let cursor = cursor.map(|cursor| ("cursor", cursor.to_owned()));
        let query: Vec<(&str, String)> = std::iter::once(("limit", limit.to_string())).chain(cursor).collect();
        self.answer(self.to(Method::GET, &["tools"]).query(&query)).await
    }
    /// Everything that an agent may use now.
    pub async fn tools_of(&self, agent: &str) -> Result<GrantedPage> {
        self.answer(self.to(Method::GET, &["tools"]).query(&[("agent", agent)])).await
    }
    /// One version of a tool; the highest that can be called where none is named.
    pub async fn tool(&self, name: &str, version: Option<&str>) -> Result<ToolVersion> {
        let query: Vec<(&str, &str)> = version.map(|version| ("version", version)).into_iter().collect();
        self.answer(self.to(Method::GET, &["tools", name]).query(&query)).await
    }
    /// All versions of a tool, highest first.
    pub async fn tool_versions(&self, name: &str) -> Result<Vec<ToolVersion>> {
        self.tool_versions_for(name, None).await
    }
    /// As a tenant sees them, which takes the scope `operator` where it is another one than the token's.
    pub(super) async fn tool_versions_for(&self, name: &str, tenant: Option<&Tenant>) -> Result<Vec<ToolVersion>> {
        let (mut versions, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("limit", "200".to_owned())];
            query.extend(tenant.map(|tenant| ("tenant", tenant.to_string())));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: VersionPage = self.answer(self.to(Method::GET, &["tools", name, "versions"]).query(&query)).await?;
            versions.extend(page.versions);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(versions);
            }
        }
    }
    /// Brings a definition, or renews its lease.
    pub async fn add_tool(&self, definition: &Value, how: &Adding<'_>) -> Result<Registered> {
        let mut query: Vec<(&str, &str)> = Vec::new();
        query.extend(how.stays.then_some(("source", "added")));
        query.extend(how.override_reason.map(|reason| ("override", reason)));
        self.answer(self.to(Method::POST, &["tools"]).query(&query).json(definition)).await
    }
    /// Forgets one version of a tool, or all.
    pub async fn remove_tool(&self, name: &str, version: Option<&str>) -> Result<Removed> {
        let query: Vec<(&str, &str)> = version.map(|version| ("version", version)).into_iter().collect();
        self.answer(self.to(Method::DELETE, &["tools", name]).query(&query)).await
    }
    /// Takes one instance out.
    pub async fn withdraw_tool(&self, name: &str, instance: &str) -> Result<()> {
        self.sent(self.to(Method::DELETE, &["tools", name, "instances", instance])).await.map(drop)
    }
    /// Calls a tool on an agent's grant. `Err` is what kept the question from being answered; the outcome of the call itself is in `Ok`.
    pub async fn call_tool(&self, name: &str, request: &CallRequest, key: Option<&str>) -> Result<Result<CallAnswer, CallOutcome>> {
        let request = keyed(self.to(Method::POST, &["tools", name, "invoke"]).json(request), key);
        let response: Response = self.asked(request).await?;
        if response.status().is_success() {
            return Ok(Ok(read(response).await?));
        }
        let status = response.status();
        let problem: Problem = match read(response).await {
            Ok(problem) => problem,
            Err(_) => return Err(Error::unavailable(format!("{} answered {status} without saying why", self.base))),
        };
        match CallOutcome::in_problem(&problem) {
            Some(outcome) => Ok(Err(outcome)),
            None => Err(problem.into()),
        }
    }
}
