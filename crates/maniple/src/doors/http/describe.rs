//! What the node says of itself: health, readiness, agents, metrics, and the API's own description.

use super::{
    Door,
    answer::{self, Refusal},
    auth::Who,
    place::Asked,
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maniple_api::{
    Problem, openapi as description,
    page::{self, Agent, AgentPage},
    probe::{Health, PartState, Readiness},
};
use maniple_core::{AgentName, Error, ports::Waiting};
use maniple_runtime::desk::{Act, Page};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

/// Self-contained: style, script and markup in one file.
const PAGE: &str = include_str!("docs.html");
const TOOLS_PAGE: &str = include_str!("tools.html");
/// How long `/ready` waits for its parts.
const READY_MAX: Duration = Duration::from_secs(5);

/// How long `/metrics` waits for what a store counts: less than a collector waits for `/metrics`.
const COUNTED_MAX: Duration = Duration::from_secs(3);

/// Never shed, asks nobody.
pub(super) async fn health() -> Response {
    answer::json(StatusCode::OK, &Health { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into() })
}

/// 200, or 503. Whoever may see what the node is made of is told of each part, and others of what kind they are.
pub(super) async fn ready(State(door): State<Arc<Door>>, headers: HeaderMap) -> Result<Response, Refusal> {
    if door.leaving.is_cancelled() || door.closing.is_cancelled() {
        return Err(Problem::from(Error::unavailable("this node is leaving: use another")).into());
    }
    let Ok(parts) = tokio::time::timeout(READY_MAX, door.readiness.parts()).await else {
        return Err(Problem::from(Error::unavailable("the parts of this node do not say how they are")).into());
    };
    let readiness = Readiness::of(parts);
    let readiness = if door.shows_itself(&headers) { readiness } else { readiness.kinds() };
    if readiness.status != PartState::Failed {
        return Ok(answer::json(StatusCode::OK, &readiness));
    }
    let failed = readiness.parts.iter().filter(|part| part.state == PartState::Failed);
    let named = failed.map(|part| match &part.detail {
        Some(detail) => format!("{}: {detail}", part.name),
        None => part.name.clone(),
    });
    let detail = format!("not ready: {}", named.collect::<Vec<_>>().join("; "));
    let parts = serde_json::to_value(&readiness.parts).unwrap_or_default();
    Err(Problem::from(Error::unavailable(detail)).with("parts", parts).into())
}

/// Prometheus text. What it shows is everybody's: it is for those who may see what the node is made of.
pub(super) async fn metrics(State(door): State<Arc<Door>>, Who(who): Who) -> Result<Response, Refusal> {
    Act::LookAtNode.by(&who)?;
    // Asked for when somebody looks, so that what is shown is what is.
    let served = door.agents.all();
    let counted = tokio::time::timeout(COUNTED_MAX, door.upkeep.waiting()).await.ok().and_then(Result::ok);
    metrics::gauge!("maniple_store_up").set(if counted.is_some() { 1.0 } else { 0.0 });
    match counted {
        Some(waiting) => with_idle(served.keys(), waiting).iter().for_each(|waiting| {
            show(&waiting.agent, [waiting.ready as f64, waiting.running as f64, waiting.oldest.as_secs_f64()]);
        }),
        // What this process knows is told all the same; a number that was right before would be taken for one that is.
        None => served.keys().for_each(|agent| show(agent, [f64::NAN; 3])),
    }
    let text = (door.metrics)();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// How many wait, how many run, and how long the oldest has waited, in seconds.
fn show(agent: &AgentName, [waiting, running, oldest]: [f64; 3]) {
    let agent = agent.to_string();
    metrics::gauge!("maniple_tasks_waiting", "agent" => agent.clone()).set(waiting);
    metrics::gauge!("maniple_tasks_running", "agent" => agent.clone()).set(running);
    metrics::gauge!("maniple_oldest_waiting_seconds", "agent" => agent).set(oldest);
}

/// A store names only agents that have something; a gauge nobody sets again would show its last value for ever.
fn with_idle<'a>(served: impl Iterator<Item = &'a AgentName>, mut waiting: Vec<Waiting>) -> Vec<Waiting> {
    let idle = |agent: &AgentName| Waiting { agent: agent.clone(), ready: 0, oldest: Duration::ZERO, running: 0 };
    let missing: Vec<Waiting> = served.filter(|agent| waiting.iter().all(|known| known.agent != **agent)).map(idle).collect();
    waiting.extend(missing);
    waiting
}

#[derive(Deserialize)]
pub(super) struct AgentsQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

/// By name; those the caller may use.
pub(super) async fn agents(State(door): State<Arc<Door>>, Who(who): Who, Asked(query): Asked<AgentsQuery>) -> Result<Response, Refusal> {
    Act::Look.by(&who)?;
    let limit = page::limit(query.limit.as_deref())?;
    let Page { items, next } = door.desk.agents(&who, &query.cursor.unwrap_or_default(), limit)?;
    let agents = items.iter().map(|agent| Agent::from(&**agent)).collect();
    Ok(answer::json(StatusCode::OK, &AgentPage { agents, next_cursor: next.map(|agent| agent.to_string()) }))
}

/// The description of this node, which is written once.
pub(super) fn openapi(door: &Door) -> impl Fn() -> std::future::Ready<Response> + Clone + Send + Sync + 'static {
    let ceilings = door.desk.ceilings();
    let text: Arc<OnceLock<Bytes>> = Arc::default();
    move || {
        let text = text.get_or_init(|| description::document(ceilings).to_string().into());
        std::future::ready(([(header::CONTENT_TYPE, "application/json")], text.clone()).into_response())
    }
}

/// Whoever comes to the node itself is shown what it offers.
pub(super) async fn home() -> Response {
    // Not from the root: in front of the node there may be a path.
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "docs")]).into_response()
}

/// What the node offers.
pub(super) async fn docs() -> Response {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy(PAGE));
    shown(PAGE, &POLICY)
}

/// Which tools there are; the page asks `/tools`, with a token where one is needed.
pub(super) async fn tool_docs() -> Response {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy(TOOLS_PAGE));
    shown(TOOLS_PAGE, &POLICY)
}

/// A page may run its own script and ask its own node; everything else is forbidden to it.
fn policy(page: &str) -> HeaderValue {
    let script = page.split_once("<script>").and_then(|(_, rest)| rest.split_once("</script>")).map_or("", |(script, _)| script);
    let hash = BASE64_STANDARD.encode(Sha256::digest(script.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

fn shown(page: &'static str, policy: &HeaderValue) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_has_nothing_left_is_shown_with_nothing() {
        let agents = ["busy", "idle"].map(|name| AgentName::parse(name).unwrap());
        let busy = Waiting { agent: agents[0].clone(), ready: 3, oldest: Duration::from_secs(9), running: 1 };
        let idle = Waiting { agent: agents[1].clone(), ready: 0, oldest: Duration::ZERO, running: 0 };
        assert_eq!(with_idle(agents.iter(), vec![busy.clone()]), [busy, idle]);
    }
}
