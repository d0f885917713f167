//! The catalogue's tools: those that an agent of the principal's was granted, each called on that agent's grant.

use super::{Caller, handler::refused};
use crate::doors::http::{Shared, run};
use maniple_api::tools::CallOutcome;
use maniple_core::{
    AgentName, Error, Kind, Principal, Result, Scope,
    ports::{DirectCall, Invocation, RefusalKind},
    tool::{Effect, Offer, shown},
    trace::TraceContext,
};
use maniple_runtime::desk::{self, IdempotencyKey};
use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolResult, ContentBlock, Tool, ToolAnnotations},
    service::RequestContext,
};
use semver::VersionReq;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use uuid::Uuid;

/// Where a client may name its call, so that one sent again is not made again.
pub(super) const KEY: &str = maniple_registry::mcp::IDEMPOTENCY_KEY;

/// Every tool of the principal, as a client reads it. None without the scope `tools`.
pub(super) async fn listed(shared: &Shared, who: &Principal) -> Result<Vec<Tool>> {
    if who.may(Scope::Tools).is_err() {
        return Ok(Vec::new());
    }
    Ok(offers(shared, who).await?.into_values().map(|(_, offer)| described(offer)).collect())
}

/// By name, with the agent on whose grant it is called: the first by name of those that have it.
async fn offers(shared: &Shared, who: &Principal) -> Result<BTreeMap<String, (AgentName, Offer)>> {
    let mut found = BTreeMap::new();
    for agent in shared.door.agents.all().keys().filter(|agent| who.uses(agent)) {
        let granted = match shared.door.registry.granted(agent).await {
            Ok(granted) => granted,
            Err(error) if error.kind == Kind::NotFound => continue, // it has just gone
            Err(error) => return Err(error),
        };
        for offer in granted {
            found.entry(offer.definition.name.clone()).or_insert_with(|| (agent.clone(), offer));
        }
    }
    Ok(found)
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
    shared: &Shared,
    caller: &Caller,
    name: &str,
    arguments: Map<String, Value>,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    caller.who.may(Scope::Tools).map_err(refused)?;
    let unknown = || refused(Error::not_found(format!("there is no tool `{name}` for you: tools/list says which there are")));
    let (agent, _) = offers(shared, &caller.who).await.map_err(refused)?.remove(name).ok_or_else(unknown)?;
    let outcome = match shared.door.registry.pick(&agent, name, &VersionReq::STAR).await {
        Ok(offer) => CallOutcome::of(shared.call(direct_call(caller, agent, offer, arguments, context)).await.invoked),
        Err(refusal) if matches!(refusal.kind, RefusalKind::NotFound | RefusalKind::NotGranted) => return Err(unknown()),
        Err(refusal) => Err(refusal.into()),
    };
    Ok(match outcome {
        Ok(result) => {
            let mut told = CallToolResult::success(vec![ContentBlock::text(shown(&result))]);
            told.structured_content = result.is_object().then_some(result);
            told
        }
        Err(outcome) => {
            let problem = outcome.problem();
            let mut told = CallToolResult::error(vec![ContentBlock::text(problem.detail.clone())]);
            told.structured_content = serde_json::to_value(&problem).ok();
            told
        }
    })
}

fn direct_call(
    caller: &Caller,
    agent: AgentName,
    offer: Offer,
    arguments: Map<String, Value>,
    context: &RequestContext<RoleServer>,
) -> DirectCall {
    let invocation = Invocation {
        timeout: Duration::from_millis(offer.definition.timeout_ms),
        tool: Arc::new(offer.definition),
        trusted: offer.trusted,
        arguments: Value::Object(arguments),
        key: key(context).map_or_else(|| Uuid::now_v7().to_string(), |key| key.as_str().to_owned()),
        send: Uuid::now_v7().to_string(),
        agent,
        tenant: caller.who.tenant.clone(),
        trace: Some(desk::traced(trace(caller, context))),
    };
    DirectCall::new(&caller.who.name, invocation)
}

/// The client's own name of a call; one that cannot be one is none.
pub(super) fn key(context: &RequestContext<RoleServer>) -> Option<IdempotencyKey> {
    IdempotencyKey::parse(context.meta.get(KEY)?.as_str()?).ok()
}

/// The trace of the message, else of the request that carries it.
pub(super) fn trace(caller: &Caller, context: &RequestContext<RoleServer>) -> Option<TraceContext> {
    let of_message = context.meta.get_traceparent().and_then(|parent| TraceContext::parse(parent, context.meta.get_tracestate()));
    of_message.or_else(|| run::trace(&caller.headers))
}
