//! The way of a call to a tool.
//!
//! ```text
//! a direct call ─► known? ─► arguments ─► grant ─► consent ─► ledger ─┐
//! a run's call ───────────────────────────────────────────────────────┴► pins ─► cache ─► rate ─► instance, breaker ─► credential ─► send
//! ```
//! Every stage before *send* ends a call without a byte written. One call is one send: whoever calls decides
//! by the outcome whether to call again.

mod cache;
mod doubts;
pub(crate) mod ledger;
mod validators;
mod way;

use crate::{
    GatewaySettings, Grants, Transports,
    catalog::{Catalog, Entry},
    transport::{answer::FAILURE_BYTES, client::connect_within},
};
use cache::Cache;
use doubts::{Doubts, Place};
use futures::{StreamExt, stream};
use ledger::{Ledger, Sending};
use maniple_aside::Aside;
use maniple_core::{
    AgentName, canonical, digits,
    ports::{Admission, DirectCall, DirectOutcome, Invocation, Invoked, Probed, RateLimiter, Refusal, RefusalKind, RunCall},
    tool::{Effect, Realm, ToolDefinition, ToolState},
};
use semver::VersionReq;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
use validators::{Part, Validators};
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
    doubts: Doubts,
    validators: Validators,
    turn: AtomicUsize,
    tells_reasons: bool,
}

impl Gateway {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        transports: Transports,
        limiter: Arc<dyn RateLimiter>,
        grants: Arc<dyn Grants>,
        ledger: Ledger,
        aside: Aside,
        settings: &GatewaySettings,
    ) -> Self {
        let (cache, validators) = (Cache::new(settings.cache_bytes), Validators::new(aside, settings.schemas_bytes));
        Self {
            catalog,
            transports,
            limiter,
            grants,
            ledger,
            cache,
            doubts: Doubts::new(),
            validators,
            turn: AtomicUsize::new(0),
            tells_reasons: settings.tells_reasons,
        }
    }

    /// Takes a place under the tool's rate for one send.
    pub(crate) async fn admit(&self, call: &Invocation) -> Admission {
        // The strictest of those that may get the call: it is not known yet which one will.
        let entry = self.entry(call).filter(|entry| !entry.instances.is_empty());
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
        if call.tool.requires_approval && call.agreed.is_none() {
            let told = format!("a person agrees to each call of `{}`, and nobody says to which way", call.tool.name);
            return counted(Invoked::Refused(refused(RefusalKind::NeedsApproval, told)));
        }
        let entry = self.entry(call);
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
        let entry = match self.check(call.invocation()).await {
            Ok(Ok(entry)) if !tool.requires_approval => entry,
            Ok(Ok(_)) => return counted(Invoked::Refused(needs_consent(tool))).into(),
            Ok(Err(refusal)) => return counted(Invoked::Refused(refusal)).into(),
            Err(busy) => return Invoked::Wait(busy.message.into_owned(), busy.retry_after.unwrap_or_default()).into(),
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

    /// Asks whether a call in doubt happened: every instance that it may have gone to, and where it is known to have gone, whoever
    /// has left since. It did where one says so, and did not only where all of them do.
    pub(crate) async fn probe(&self, call: &Invocation) -> Probed {
        let mut places = self.doubts.of(call).await;
        let entry = self.entry(call);
        let instances = entry.iter().flat_map(|entry| &entry.instances).map(|instance| Place {
            definition: instance.definition.clone(),
            trusted: instance.trusted,
            realm: instance.realm.clone(),
        });
        // Where it began, if nobody is there any more.
        let began = if call.trusted { Realm::Node } else { Realm::Of(call.tenant.clone()) };
        places.extend(instances.chain([Place { definition: call.tool.clone(), trusted: call.trusted, realm: began }]));
        let mut known = HashSet::new();
        places.retain(|place| known.insert((place.definition.endpoint.clone(), place.definition.probe_url.clone())));
        let asked = stream::iter(places).map(|Place { definition, trusted, realm }| async move {
            let Some(url) = definition.probe_url.clone() else { return Probed::Unknown };
            self.transports.probe(&url, &Invocation { tool: definition, trusted, ..call.clone() }, &realm).await
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

    /// What a run's journal has seen to: the tool is known, the arguments fit, the agent was granted it. An error where that
    /// cannot be told now: see [`Aside::run`].
    pub(crate) async fn check(&self, call: &Invocation) -> maniple_core::Result<Result<Arc<Entry>, Refusal>> {
        let (tool, tenant) = (&call.tool, call.tenant.as_str());
        let Some(entry) = self.entry(call) else { return Ok(Err(self.unknown(tool))) };
        if let Some(parameters) = self.validators.of(&entry, Part::Parameters, tenant).await? {
            if let Err(why) = &*parameters {
                return Ok(Err(refused(RefusalKind::NotFound, format!("tool `{}`: {why}", tool.name))));
            }
            if let Some(complaint) = self.validators.complaint(&parameters, &call.arguments, tenant).await? {
                let told = format!("the arguments do not fit the parameters of `{}`: {complaint}", tool.name);
                return Ok(Err(refused(RefusalKind::Arguments, told)));
            }
        }
        Ok(self.granted(&call.agent, tool).map(|()| entry))
    }

    fn granted(&self, agent: &AgentName, tool: &ToolDefinition) -> Result<(), Refusal> {
        let wishes = self.grants.of(agent).ok_or_else(|| refused(RefusalKind::NotGranted, format!("there is no agent `{agent}`")))?;
        // `*` means releases, and where there are none the pre-release that was picked.
        let fits = |range: &VersionReq| range.matches(&tool.version) || (*range == VersionReq::STAR && !tool.version.pre.is_empty());
        if wishes.iter().any(|wish| wish.name == tool.name && fits(&wish.range)) {
            return Ok(());
        }
        let told = format!("agent `{agent}` was not granted `{}` {}: list it under `tools` in the agent's file", tool.name, tool.version);
        Err(refused(RefusalKind::NotGranted, told))
    }

    async fn pass(&self, definition: Definition<'_>, call: &Invocation) -> Invoked {
        let entry = definition.published();
        if let Some((ToolState::Quarantined, why)) = entry.map(|entry| entry.state(&self.catalog.pins())) {
            let told = format!("tool `{}` is quarantined: {}", call.tool.name, told_why(self.tells_reasons, &call.tool.name, why));
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
            Ok(target) => self.promised(entry, call, self.send(target, call).await).await,
            Err(outcome) => return outcome,
        };
        if let (Invoked::Ok(result), Some(caching)) = (&outcome, caching) {
            self.cache.put(caching, result.clone()).await;
        }
        outcome
    }

    /// A result that breaks the tool's own `returns` is a failure that says the call was carried out, so that a model does not simply repeat it.
    async fn promised(&self, entry: Option<&Entry>, call: &Invocation, outcome: Invoked) -> Invoked {
        let Invoked::Ok(result) = outcome else { return outcome };
        let complaint = match self.unfit(entry, call, &result).await {
            Ok(None) => return Invoked::Ok(result),
            Ok(Some(why)) => format!("its result does not fit what the tool promises: {why}"),
            Err(busy) => format!("whether its result fits what the tool promises could not be looked at: {busy}"),
        };
        let note = format!("the call was carried out, but {complaint}");
        let mut body = result.to_string();
        body.truncate(body.floor_char_boundary(FAILURE_BYTES));
        Invoked::Failed(json!({ "error": note, "body": body }))
    }

    async fn unfit(&self, entry: Option<&Entry>, call: &Invocation, result: &Value) -> maniple_core::Result<Option<String>> {
        let tenant = call.tenant.as_str();
        let returns = match (entry, &call.tool.returns) {
            (Some(entry), _) => self.validators.of(entry, Part::Returns, tenant).await?,
            (None, Some(schema)) => Some(self.validators.compile(schema, tenant).await?),
            (None, None) => None,
        };
        let Some(returns) = returns else { return Ok(None) };
        let complaint = self.validators.complaint(&returns, result, tenant).await?;
        // A long integer was read as a text of its digits, where a number was promised.
        match digits::plain(result).filter(|_| complaint.is_some()) {
            Some(plain) => self.validators.complaint(&returns, &plain, tenant).await,
            None => Ok(complaint),
        }
    }

    /// Sends once; once more where the token or the session was refused, there is a new one, and the call may be sent again.
    async fn send(&self, target: way::Target, call: &Invocation) -> Invoked {
        let began = tokio::time::Instant::now();
        let given = call.timeout;
        self.doubts.goes(call, &target).await;
        let mut call = Invocation { tool: target.definition, trusted: target.trusted, ..call.clone() };
        // Many a service takes `3.0` for no integer, and JSON knows no difference.
        call.arguments = canonical::whole_numbers(call.arguments);
        let mut sent = self.transports.call(&call, &target.realm).await;
        if let Some(what) = sent.again {
            call.timeout = call.timeout.saturating_sub(began.elapsed());
            call.send.push_str(&format!(":with a new {what}"));
            // It arrives at the tool like any other send, so it is counted like one.
            if self.admit(&call).await == Admission::Now {
                sent = self.transports.call(&call, &target.realm).await;
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
        self.doubts.went(&call, &sent.outcome).await;
        sent.outcome
    }

    /// The version with the very contract that the caller means, as its tenant sees it. What an operator wrote is the node's.
    fn entry(&self, call: &Invocation) -> Option<Arc<Entry>> {
        let tool = &call.tool;
        let found = match call.trusted {
            true => self.catalog.find_at_node(&tool.name, &tool.version),
            false => self.catalog.find(&call.tenant, &tool.name, &tool.version),
        };
        found.filter(|entry| same_contract(&entry.published.definition, tool))
    }
    fn unknown(&self, tool: &ToolDefinition) -> Refusal {
        refused(RefusalKind::NotFound, format!("there is no tool `{}` {} with that contract any more", tool.name, tool.version))
    }
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

/// Why a tool cannot be called, for who calls it.
pub(crate) fn told_why(tells_reasons: bool, name: &str, why: Option<String>) -> String {
    match why {
        Some(why) if tells_reasons => why,
        Some(_) | None => format!("whoever runs it sees why with `maniple tool show {name}`"),
    }
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
