//! The way of a call to a tool.
//!
//! ```text
//! a direct call ─► known? ─► arguments ─► grant ─► consent ─► ledger ─┐
//! a run's call ───────────────────────────────────────────────────────┴► pins ─► cache ─► rate ─► instance, breaker ─► credential ─► send
//! ```
//! Every stage before *send* ends a call without a byte written. One call is one send: whoever calls decides
//! by the outcome whether to call again.

mod cache;
pub(crate) mod ledger;
mod way;

use crate::{
    Grants, Transports,
    catalog::{Catalog, Entry, complaint},
    transport::{answer::FAILURE_BYTES, client::connect_within},
};
use cache::Cache;
use futures::{StreamExt, stream};
use ledger::{Ledger, Sending};
use maniple_core::{
    AgentName,
    ports::{Admission, DirectCall, DirectOutcome, Invocation, Invoked, Probed, RateLimiter, Refusal, RefusalKind, RunCall},
    schema::Validator,
    tool::{Effect, ToolDefinition, ToolState},
};
use serde_json::json;
use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
use way::Definition;

/// The window in which calls are counted.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(60);

/// How many instances are asked about a doubt at once.
const PROBES_AT_ONCE: usize = 16;

/// What a call passes through.
pub(crate) struct Gateway {
    catalog: Arc<Catalog>,
    transports: Transports,
    limiter: Arc<dyn RateLimiter>,
    grants: Arc<dyn Grants>,
    ledger: Ledger,
    cache: Cache,
    turn: AtomicUsize,
}

impl Gateway {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        transports: Transports,
        limiter: Arc<dyn RateLimiter>,
        grants: Arc<dyn Grants>,
        ledger: Ledger,
        cache_bytes: u64,
    ) -> Self {
        Self { catalog, transports, limiter, grants, ledger, cache: Cache::new(cache_bytes), turn: AtomicUsize::new(0) }
    }

    /// Takes a place under the tool's rate for one send.
    pub(crate) async fn admit(&self, call: &Invocation) -> Admission {
        // The strictest of those that may get the call: it is not known yet which one will.
        let entry = self.entry(&call.tool).filter(|entry| !entry.instances.is_empty());
        let limit = match entry {
            Some(entry) => entry.instances.iter().filter_map(|instance| instance.definition.rate_limit).min(),
            None => call.tool.rate_limit,
        };
        let Some(most) = limit else { return Admission::Now };
        let bucket = format!("{}/{}/{}", call.tenant, call.agent, call.tool.name);
        // A send belongs to its call: another call under the same name is another one.
        self.limiter.take(&bucket, most, RATE_WINDOW, &format!("{}\n{}", call.key, call.send)).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the rate limiter does not answer: calls of limited tools wait");
            Admission::After(Duration::from_secs(1))
        })
    }

    /// Calls for a run, once.
    pub(crate) async fn invoke(&self, RunCall(call): &RunCall) -> Invoked {
        let entry = self.entry(&call.tool);
        // A file may have moved on, and a run ends on what it began with; nobody but an operator is trusted to have meant that.
        let outcome = match entry.as_deref() {
            Some(entry) if !call.trusted || !entry.instances.is_empty() => self.pass(Definition::Published(entry), call).await,
            Some(_) | None if call.trusted => self.pass(Definition::OfTheRun, call).await,
            Some(_) | None => Invoked::Refused(self.unknown(&call.tool)),
        };
        counted(outcome)
    }

    /// Calls for whoever came through a door: recorded before it is sent, and answered from the record where it was made before.
    pub(crate) async fn call(self: &Arc<Self>, call: &DirectCall) -> DirectOutcome {
        let tool = &call.invocation().tool;
        let entry = match self.check(call.invocation()) {
            Ok(entry) if !tool.requires_approval => entry,
            Ok(_) => return counted(Invoked::Refused(needs_consent(tool))).into(),
            Err(refusal) => return counted(Invoked::Refused(refusal)).into(),
        };
        let (gateway, mut owned) = (self.clone(), call.invocation().clone());
        let send = move |Sending { is_again, key, timeout }| async move {
            if is_again {
                // It arrives at the tool once more, whatever its caller calls this send.
                owned.send = format!("{}:again:{:x}", owned.send, fastrand::u64(..));
            }
            owned.key = key.unwrap_or(owned.key);
            owned.timeout = timeout;
            gateway.pass(Definition::Published(&entry), &owned).await
        };
        let outcome = self.ledger.once(call, send).await;
        DirectOutcome { invoked: counted(outcome.invoked), ..outcome }
    }

    /// Asks whether a call in doubt happened: every instance that it may have gone to. It did where one says so, and did not
    /// only where all of them do.
    pub(crate) async fn probe(&self, call: &Invocation) -> Probed {
        let mut places = vec![(call.tool.clone(), call.trusted)];
        for instance in self.entry(&call.tool).iter().flat_map(|entry| &entry.instances) {
            if !places
                .iter()
                .any(|(known, _)| (&known.endpoint, &known.probe_url) == (&instance.definition.endpoint, &instance.definition.probe_url))
            {
                places.push((instance.definition.clone(), instance.trusted));
            }
        }
        let asked = stream::iter(places).map(|(tool, trusted)| async move {
            let Some(url) = tool.probe_url.clone() else { return Probed::Unknown };
            self.transports.probe(&url, &Invocation { tool, trusted, ..call.clone() }).await
        });
        let mut all_deny = true;
        let mut answers = asked.buffer_unordered(PROBES_AT_ONCE);
        while let Some(answer) = answers.next().await {
            match answer {
                Probed::Happened(_) => return answer,
                Probed::Unknown => all_deny = false,
                Probed::DidNot => {}
            }
        }
        if all_deny { Probed::DidNot } else { Probed::Unknown }
    }

    /// What a run's journal has seen to: the tool is known, the arguments fit, the agent was granted it.
    pub(crate) fn check(&self, call: &Invocation) -> Result<Arc<Entry>, Refusal> {
        let tool = &call.tool;
        let entry = self.entry(tool).ok_or_else(|| self.unknown(tool))?;
        let validator = entry.validator().map_err(|why| refused(RefusalKind::NotFound, format!("tool `{}`: {why}", tool.name)))?;
        validator.check(&call.arguments).map_err(|complaint| {
            refused(RefusalKind::Arguments, format!("the arguments do not fit the parameters of `{}`: {complaint}", tool.name))
        })?;
        self.granted(&call.agent, tool)?;
        Ok(entry)
    }

    fn granted(&self, agent: &AgentName, tool: &ToolDefinition) -> Result<(), Refusal> {
        let wishes = self.grants.of(agent).ok_or_else(|| refused(RefusalKind::NotGranted, format!("there is no agent `{agent}`")))?;
        if wishes.iter().any(|wish| wish.name == tool.name && wish.range.matches(&tool.version)) {
            return Ok(());
        }
        let told = format!("agent `{agent}` was not granted `{}` {}: list it under `tools` in the agent's file", tool.name, tool.version);
        Err(refused(RefusalKind::NotGranted, told))
    }

    async fn pass(&self, definition: Definition<'_>, call: &Invocation) -> Invoked {
        let entry = definition.published();
        if let Some((ToolState::Quarantined, why)) = entry.map(|entry| entry.state(&self.catalog.pins())) {
            let told = format!("tool `{}` is quarantined: {}", call.tool.name, why.unwrap_or_default());
            return Invoked::Refused(refused(RefusalKind::Quarantined, told));
        }
        let caching = self.cache.of(call);
        if let Some(known) = self.cache.get(caching.as_ref()).await {
            return Invoked::Ok(known);
        }
        let way = match self.way(definition, call) {
            Ok(way) => way,
            Err(outcome) => return outcome,
        };
        if let Admission::After(wait) = self.admit(call).await {
            let told = format!("agent `{}` has made all the calls of `{}` that it may make in 60 s", call.agent, call.tool.name);
            return Invoked::Wait(told, wait);
        }
        let outcome = match way::take(way, call) {
            Ok(target) => promised(entry, &call.tool, self.send(target, call).await),
            Err(outcome) => return outcome,
        };
        if let (Invoked::Ok(result), Some(caching)) = (&outcome, caching) {
            self.cache.put(caching, result.clone()).await;
        }
        outcome
    }

    /// Sends once; once more where the token was refused, a new one can be had, and the call may be sent again.
    async fn send(&self, target: way::Target, call: &Invocation) -> Invoked {
        let began = tokio::time::Instant::now();
        let given = call.timeout;
        let mut call = Invocation { tool: target.definition, trusted: target.trusted, ..call.clone() };
        let mut sent = self.transports.call(&call).await;
        if sent.token_thrown_away && call.tool.effect() != Effect::AtMostOnce {
            call.timeout = call.timeout.saturating_sub(began.elapsed());
            call.send.push_str(":with a new token");
            // It arrives at the tool like any other send, so it is counted like one.
            if self.admit(&call).await == Admission::Now {
                sent = self.transports.call(&call).await;
            }
        }
        // Whoever had less time than the tool takes for itself, and ran out of it, has learnt nothing about the tool.
        let own = Duration::from_millis(call.tool.timeout_ms);
        let was_cut = given < own && began.elapsed() >= given.min(connect_within(given));
        // What a built-in does is known, and where it leads its caller says: one broken host must not stop all others.
        let is_ours = call.tool.endpoint.starts_with("builtin:");
        if let Some(hand) = target.hand.filter(|_| !is_ours) {
            match &sent.outcome {
                Invoked::Ok(_) => hand.went(true),
                Invoked::Failed(failure) => hand.went(failure["status"].as_u64().is_none_or(|status| status < 500)),
                Invoked::NotSent(_) | Invoked::Unknown(_) if !was_cut => hand.went(false),
                // Letting go of it gives the place of a trial back.
                Invoked::NotSent(_) | Invoked::Unknown(_) | Invoked::Wait(..) | Invoked::Refused(_) => {}
            }
        }
        sent.outcome
    }

    /// The version with the very contract that the caller means.
    fn entry(&self, tool: &ToolDefinition) -> Option<Arc<Entry>> {
        self.catalog.find(&tool.name, &tool.version).filter(|entry| same_contract(&entry.published.definition, tool))
    }
    fn unknown(&self, tool: &ToolDefinition) -> Refusal {
        refused(RefusalKind::NotFound, format!("there is no tool `{}` {} with that contract any more", tool.name, tool.version))
    }
}

/// A result that breaks the tool's own `returns` is a failure that says the call was carried out, so that a model does not simply repeat it.
fn promised(entry: Option<&Entry>, tool: &ToolDefinition, outcome: Invoked) -> Invoked {
    let Invoked::Ok(result) = outcome else { return outcome };
    let complaint = match entry {
        Some(entry) => entry.complaint(&result),
        None => tool.returns.as_ref().and_then(|schema| complaint(Validator::compile(schema).as_ref(), &result)),
    };
    let Some(why) = complaint else { return Invoked::Ok(result) };
    let note = format!("the call was carried out, but its result does not fit what the tool promises: {why}");
    let mut body = result.to_string();
    body.truncate(body.floor_char_boundary(FAILURE_BYTES));
    Invoked::Failed(json!({ "error": note, "body": body }))
}

/// Whether two definitions have one contract, without the cost of its hash.
fn same_contract(a: &ToolDefinition, b: &ToolDefinition) -> bool {
    (&a.name, &a.version, &a.description, a.method, a.requires_approval)
        == (&b.name, &b.version, &b.description, b.method, b.requires_approval)
        && (a.effect(), &a.scopes, &a.returns, &a.parameters) == (b.effect(), &b.scopes, &b.returns, &b.parameters)
}

fn needs_consent(tool: &ToolDefinition) -> Refusal {
    let told =
        format!("`{}` needs a person's consent to each call: ask the agent to do it, and the call waits in GET /approvals", tool.name);
    refused(RefusalKind::NeedsApproval, told)
}

fn counted(outcome: Invoked) -> Invoked {
    if let Invoked::Refused(refusal) = &outcome {
        metrics::counter!("maniple_tool_refusals_total", "reason" => reason(refusal.kind)).increment(1);
    }
    outcome
}

pub(crate) fn refused(kind: RefusalKind, message: String) -> Refusal {
    Refusal { kind, message }
}

fn reason(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Arguments => "arguments",
        RefusalKind::NotGranted => "not_granted",
        RefusalKind::NotFound => "not_found",
        RefusalKind::Quarantined => "quarantined",
        RefusalKind::KeyReused => "key_reused",
        RefusalKind::Forbidden => "forbidden",
        RefusalKind::NeedsApproval => "needs_approval",
    }
}

/// Whether the result of a call may be used again.
pub(crate) fn may_cache(tool: &ToolDefinition) -> Option<Duration> {
    tool.cache_ttl_ms.filter(|_| tool.effect() == Effect::Pure).map(Duration::from_millis)
}
