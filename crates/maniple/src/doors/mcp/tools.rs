//! The catalogue's tools: those that an agent of the principal's was granted, each called on that agent's grant.

use super::{
    Caller,
    audience::{Listener, listened},
    handler::{Handler, refused},
};
use crate::doors::told;
use maniple_core::{
    AgentName, Error, Result,
    ports::{Invoked, RefusalKind},
    tool::{Effect, Offer, shown},
    trace::TraceContext,
};
use maniple_runtime::desk::{Act, Called, Direct, IdempotencyKey, NoResult, ToolCall};
use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolResult, ContentBlock, MetaObject, Tool, ToolAnnotations},
    service::RequestContext,
};
use semver::{Comparator, Op, Version, VersionReq};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Where a client may name its call, so that one sent again is not made again.
pub(super) const KEY: &str = maniple_registry::mcp::IDEMPOTENCY_KEY;

/// Where a failed call's problem stands beside its text.
const PROBLEM: &str = "io.maniple/problem";

/// A result that says what went wrong, with more of it for programs in `_meta`.
pub(super) fn failed(why: String, name: &str, more: Option<Value>) -> CallToolResult {
    let mut told = CallToolResult::error(vec![ContentBlock::text(why)]);
    told.meta = more.map(|more| {
        let mut meta = MetaObject::new();
        meta.insert(name.to_owned(), more);
        meta
    });
    told
}

/// The very version that is listed.
fn exactly(version: &Version) -> VersionReq {
    let Version { major, minor, patch, .. } = *version;
    let comparator = Comparator { op: Op::Exact, major, minor: Some(minor), patch: Some(patch), pre: version.pre.clone() };
    VersionReq { comparators: vec![comparator] }
}

/// A tool that the principal may call.
#[derive(Clone)]
pub(in crate::doors) struct Found {
    /// On whose grant.
    agent: AgentName,
    version: Version,
    /// As a client reads it.
    pub(super) tool: Tool,
}

/// The tool behind a name.
pub(super) async fn named(at: &Handler, name: &str) -> Result<Option<Found>> {
    let found = at.desk.callable(&at.caller.who).await?.remove(name);
    Ok(found.map(|(agent, offer)| Found { agent, version: offer.definition.version.clone(), tool: described(offer) }))
}

/// Every tool of the principal, as a client reads it.
pub(super) async fn listed(at: &Handler) -> Result<Vec<Tool>> {
    Ok(at.desk.callable(&at.caller.who).await?.into_values().map(|(_, offer)| described(offer)).collect())
}

fn described(Offer { definition, .. }: Offer) -> Tool {
    let effect = definition.effect();
    let object = |schema: Value| match schema {
        Value::Object(members) => Some(Arc::new(members)),
        _ => None,
    };
    let is_object = |schema: &Value| schema.get("type").and_then(Value::as_str) == Some("object");
    let annotations = ToolAnnotations::new().read_only(effect == Effect::Pure).idempotent(effect != Effect::AtMostOnce);
    let mut tool = Tool::new(definition.name, definition.description, object(definition.parameters).unwrap_or_default());
    tool.output_schema = definition.returns.filter(is_object).and_then(object);
    tool.annotate(annotations)
}

/// Calls a tool once. What the tool or the registry says against it is a result that a model can read.
pub(super) async fn call(
    at: &Handler,
    name: &str,
    arguments: Map<String, Value>,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let (desk, who) = (&at.desk, &at.caller.who);
    Act::UseTools.by(who).map_err(refused)?;
    let unknown = || refused(Error::not_found(format!("there is no tool `{name}` for you: tools/list says which there are")));
    let found = match at.called.clone().filter(|found| found.tool.name == name) {
        Some(found) => found,
        None => named(at, name).await.map_err(refused)?.ok_or_else(unknown)?,
    };
    let (audience, told_progress) = Listener::new();
    let call = ToolCall {
        tool: name.to_owned(),
        agent: found.agent,
        arguments,
        range: exactly(&found.version),
        contract: None,
        tenant: None,
        timeout: None,
        trace: trace(&at.caller, context),
        audience: Some(audience.clone()),
    };
    match listened(desk.call(who, call, Direct { principal: None, key: key(context) }), told_progress, context).await {
        Ok(Called { result, .. }) => {
            let content = audience.pieces().unwrap_or_else(|| vec![ContentBlock::text(shown(&result))]);
            let mut told = CallToolResult::success(content);
            told.structured_content = result.is_object().then_some(result);
            Ok(told)
        }
        Err(NoResult::Refused(error)) => Err(refused(error)),
        Err(NoResult::Went(Invoked::Refused(no))) if matches!(no.kind, RefusalKind::NotFound | RefusalKind::NotGranted) => Err(unknown()),
        Err(NoResult::Went(outcome)) => {
            let problem = told(outcome);
            // Not as structured content: that would have to fit what the tool promises.
            Ok(failed(problem.detail.clone(), PROBLEM, serde_json::to_value(&problem).ok()))
        }
    }
}

/// The client's own name of a call; one that cannot be one is none.
pub(super) fn key(context: &RequestContext<RoleServer>) -> Option<IdempotencyKey> {
    IdempotencyKey::parse(context.meta.get(KEY)?.as_str()?).ok()
}

/// The trace of the message, else of the request that carries it.
pub(super) fn trace(caller: &Caller, context: &RequestContext<RoleServer>) -> Option<TraceContext> {
    let of_message = context.meta.get_traceparent().and_then(|parent| TraceContext::parse(parent, context.meta.get_tracestate()));
    of_message.or_else(|| caller.trace.clone())
}
