//! The registry of this process: the catalogue, kept in the store, and the gateway over it.

mod publish;

use crate::{
    GatewaySettings, Grants, Incoming, Transports,
    catalog::{Catalog, News, Origin},
    credentials::Credentials,
    egress::Egress,
    gateway::{Gateway, ledger::Ledger, refused},
    health,
    lock::Pins,
    mcp,
};
use async_trait::async_trait;
use maniple_aside::{Aside, Shares};
use maniple_contract::mend::{Mended, mend};
use maniple_core::{
    AgentName, Error, Result, Tenant,
    ports::{
        Admission, Audience, DirectCall, DirectOutcome, Invoked, Probed, RateLimiter, Refusal, RefusalKind, Registrant, Registration,
        RunCall, ToolRegistry, ToolStore, Tools,
    },
    schema,
    tool::{AuthType, LeftOut, Offer, Published, Realm, Registered, Source, ToolState, ToolVersion, ToolWish},
};
use semver::{Version, VersionReq};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// What a registry is made of.
pub struct Parts {
    /// What it remembers; without one, nothing outlives the process.
    pub store: Option<Arc<dyn ToolStore>>,
    /// What counts calls.
    pub limiter: Arc<dyn RateLimiter>,
    /// Who was granted what.
    pub grants: Arc<dyn Grants>,
    /// Where untrusted URLs may lead.
    pub egress: Egress,
    /// What calls are authorised with.
    pub credentials: Credentials,
    /// Where what takes long to read is read.
    pub aside: Aside,
    /// Its bounds.
    pub settings: GatewaySettings,
}

/// The tools of this node, called from this process.
pub struct Registry {
    catalog: Arc<Catalog>,
    gateway: Arc<Gateway>,
    transports: Transports,
    store: Option<Arc<dyn ToolStore>>,
    grants: Arc<dyn Grants>,
    credentials: Arc<Credentials>,
    aside: Aside,
    settings: GatewaySettings,
    /// One change at a time: compared, published, then put on the shelf.
    changing: Mutex<()>,
    /// What of the imports is no tool, by collection.
    left_out: std::sync::Mutex<BTreeMap<String, Vec<LeftOut>>>,
}

impl Registry {
    /// A registry with all that its store remembers.
    pub async fn open(parts: Parts) -> Result<Self> {
        let catalog = Arc::new(Catalog::default());
        if let Some(store) = &parts.store {
            catalog.remember(store.published().await?);
        }
        Ok(Self::over(catalog, parts))
    }

    /// A registry of these tools alone, for whoever keeps a record of the calls: it remembers nothing, counts nothing and grants nothing.
    pub fn new(catalog: Arc<Catalog>, egress: Egress) -> Self {
        let parts = Parts {
            store: None,
            limiter: Arc::new(Uncounted),
            grants: Arc::new(Nobody),
            egress,
            credentials: Credentials::default(),
            aside: Aside::default(),
            settings: GatewaySettings::default(),
        };
        Self::over(catalog, parts)
    }

    fn over(catalog: Arc<Catalog>, parts: Parts) -> Self {
        let credentials = Arc::new(parts.credentials);
        let under_way = Shares::of(parts.settings.calls_at_once as usize, parts.settings.several_tenants);
        let transports = Transports::new(parts.egress, credentials.clone(), parts.aside.clone(), under_way);
        let (limiter, grants, store) = (parts.limiter, parts.grants, parts.store);
        let ledger = Ledger::new(store.clone(), parts.settings.call_lease);
        let aside = parts.aside;
        let gateway = Gateway::new(catalog.clone(), transports.clone(), limiter, grants.clone(), ledger, aside.clone(), &parts.settings);
        Self {
            catalog,
            gateway: Arc::new(gateway),
            transports,
            store,
            grants,
            credentials,
            aside,
            settings: parts.settings,
            changing: Mutex::new(()),
            left_out: std::sync::Mutex::default(),
        }
    }

    /// Asks after the health of tools, lets silent ones go and old records, until `stop`.
    pub async fn work(&self, stop: CancellationToken) {
        tokio::join!(health::watch(self.catalog.clone(), self.transports.clone(), self.settings, stop.clone()), self.forget(stop.clone()));
    }

    /// Makes ready what the first call of a tool would have to: reads the machine's certificates, which blocks for some milliseconds.
    pub fn warm(&self) {
        self.transports.warm();
    }

    /// From now on, calls of its tools go to this MCP server. Its tools are taken over with [`Registry::take`].
    pub fn connect(&self, server: Arc<mcp::Server>) {
        self.transports.connect(server);
    }

    /// Whether an MCP server is being connected to for the first time: until it is not any more, tools that would be its are not
    /// missing but `Unavailable`.
    pub fn set_connecting(&self, server: &str, is_connecting: bool) {
        self.catalog.set_connecting(server, is_connecting);
    }

    /// Whether those that an origin serves can be reached; told by whoever holds the connection.
    pub fn set_reachable(&self, origin: &Origin, why_not: Option<&str>) {
        let collection = origin.collection();
        for instance in self.catalog.instances().iter().filter(|instance| *instance.collection == *collection) {
            instance.set_sick(why_not.map(Into::into));
        }
    }

    /// What of an import is no tool from now on, in the place of what it told before. Returns what is new of it, for the log.
    pub fn set_left_out(&self, origin: &Origin, mut left_out: Vec<LeftOut>) -> Vec<LeftOut> {
        let more = left_out.len().saturating_sub(LeftOut::TOLD_MAX);
        left_out.truncate(LeftOut::TOLD_MAX);
        if more > 0 {
            let from = origin.collection();
            left_out.push(LeftOut { from, place: format!("{more} more"), name: None, why: "only so many are told one by one".into() });
        }
        let mut by_import = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let before = by_import.insert(origin.collection(), left_out.clone()).unwrap_or_default();
        left_out.retain(|one| !before.contains(one));
        left_out
    }

    /// From now on, what these pins name is only used as they say.
    pub fn pin(&self, pins: Pins) {
        self.catalog.pin(pins);
    }
    /// Which tools there are.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The credentials that the node's own definitions may use, and of which kind each is.
    pub fn configured(&self) -> BTreeMap<String, AuthType> {
        self.credentials.kinds(&Realm::Node)
    }

    /// A text that an operator named, such as a document to import: at most so many bytes, in so long.
    pub async fn fetch(&self, url: &str, bytes_max: usize, timeout: Duration) -> Result<String> {
        let fetched = self.transports.fetch(url, bytes_max, timeout).await;
        fetched.map_err(|why| Error::unavailable(format!("{url} cannot be read: {why}")))
    }

    async fn forget(&self, stop: CancellationToken) {
        const EVERY: Duration = Duration::from_secs(60);
        const BATCH: usize = 1_000;
        let Some(store) = &self.store else { return };
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
            while let Ok(gone) = store
                .forget_calls(self.settings.keys_kept.duration(), BATCH)
                .await
                .inspect_err(|error| tracing::warn!(%error, "old calls stay"))
            {
                if gone < BATCH as u64 {
                    break;
                }
            }
        }
    }
}

#[async_trait]
impl Tools for Registry {
    async fn resolve(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        let offers = self.catalog.resolve(tenant, agent, wishes)?;
        self.catalog.is_settled(wishes, &offers)?;
        Ok(offers)
    }
    fn offers_now(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Option<Vec<Offer>> {
        let offers = self.catalog.resolve(tenant, agent, wishes).ok()?;
        self.catalog.is_settled(wishes, &offers).ok().map(|()| offers)
    }
    async fn admit(&self, RunCall(call): &RunCall) -> Admission {
        self.gateway.admit(call).await
    }
    async fn invoke(&self, call: &RunCall) -> Invoked {
        self.gateway.invoke(call).await
    }
    async fn probe(&self, RunCall(call): &RunCall) -> Probed {
        self.gateway.probe(call).await
    }
}

#[async_trait]
impl ToolRegistry for Registry {
    async fn call(&self, call: &DirectCall) -> DirectOutcome {
        self.gateway.call(call).await
    }

    fn attend(&self, key: &str, audience: Arc<dyn Audience>) {
        self.transports.attend(key, Some(audience));
    }
    fn leave(&self, key: &str) {
        self.transports.attend(key, None);
    }

    async fn probe_call(&self, call: &DirectCall) -> Probed {
        self.gateway.probe(call.invocation()).await
    }

    async fn check(&self, RunCall(call): &RunCall) -> Result<(), Refusal> {
        match self.gateway.check(call).await {
            Ok(checked) => checked.map(drop),
            Err(busy) => Err(refused(RefusalKind::Arguments, format!("the arguments could not be checked now: {busy}"))),
        }
    }

    async fn list(&self, tenant: &Tenant, after: Option<&str>, limit: usize) -> Result<Vec<ToolVersion>> {
        Ok(self.catalog.list(tenant, after, limit))
    }

    async fn versions(&self, tenant: &Tenant, name: &str) -> Result<Vec<ToolVersion>> {
        self.catalog.versions(tenant, name)
    }

    async fn left_out(&self) -> Result<Vec<LeftOut>> {
        let by_import = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(by_import.values().flatten().cloned().collect())
    }

    async fn granted(&self, tenant: &Tenant, agent: &AgentName) -> Result<Vec<Offer>> {
        let wishes = self.grants.of(agent).ok_or_else(|| Error::not_found(format!("there is no agent `{agent}`")).at("agent"))?;
        self.catalog.resolve(tenant, agent, &wishes)
    }

    async fn pick(&self, tenant: &Tenant, agent: &AgentName, name: &str, range: &VersionReq) -> Result<Offer, Refusal> {
        let told = |kind, why: String| refused(kind, why);
        let wishes = self.grants.of(agent).ok_or_else(|| told(RefusalKind::NotGranted, format!("there is no agent `{agent}`")))?;
        let granted = wishes.into_iter().find(|wish| wish.name == name);
        let wish = ToolWish { name: name.to_owned(), range: range.clone() };
        let known = self.catalog.realms().seen_by(tenant).versions(name).map(drop);
        let Some(granted) = granted else {
            known.map_err(|why| told(RefusalKind::NotFound, why))?;
            let why = format!("agent `{agent}` was not granted `{name}`: list it under `tools` in the agent's file");
            return Err(told(RefusalKind::NotGranted, why));
        };
        let both = self.catalog.pick_within(tenant, &wish, &granted.range, self.settings.tells_reasons);
        both.map_err(|(state, why)| match state {
            // Not known yet, rather than not there.
            ToolState::Gone if self.catalog.comes_from(name).is_some() => told(
                RefusalKind::NotFound,
                format!("tool `{name}` is not there yet: its mcp server is still being connected to; try again"),
            ),
            ToolState::Quarantined => told(RefusalKind::Quarantined, why),
            ToolState::Healthy | ToolState::Unhealthy | ToolState::Gone => told(RefusalKind::NotFound, why),
        })
    }

    async fn register(&self, registration: Registration) -> Result<Registered> {
        let Registration { definition, by, source, override_reason } = registration;
        let (large, whose) = (schema::is_heavy(&definition), format!("{}/{}", by.tenant, by.name));
        let Mended { definition, original_name, notes } = self.aside.run(large, &whose, move || mend(definition)).await??;
        let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        let origin = Origin::of(by, source, override_reason)?;
        self.credentials.check(&definition, &origin.realm())?;
        self.check_reach(&definition)?;
        let incoming = Incoming { original_name, notes: notes.clone(), ..Incoming::from(definition) };
        let _one_at_a_time = self.changing.lock().await;
        let (_, instances) = self.catalog.size();
        if instances >= self.settings.instances_max {
            return Err(Error::exhausted(format!("the catalogue holds {instances} instances, and takes no more")));
        }
        let (catalog, planned) = (self.catalog.clone(), origin.clone());
        let large = self.takes_long(&origin, std::slice::from_ref(&incoming));
        let judged = self.aside.run(large, &whose, move || catalog.plan(&planned, vec![incoming])).await?;
        let accepted = judged.all().map_err(|mut errors| errors.remove(0))?;
        accepted.iter().try_for_each(|one| self.catalog.check_quota(&origin, one, &self.settings))?;
        let accepted = self.publish(&origin, accepted).await?.remove(0);
        let (published, new_version): (Published, bool) =
            (accepted.published.clone(), !matches!(accepted.news, News::None | News::Endpoint));
        let lease = origin.policy().expires.then_some(self.settings.lease);
        let instance = self.catalog.join(&origin, accepted, lease);
        Ok(Registered {
            definition: (*instance.definition).clone(),
            contract: published.contract,
            instance: instance.id.clone(),
            lease_ms: lease.map(|lease| lease.as_millis() as u64),
            new_version,
            previous: published.previous,
            verdict: published.verdict,
            changes: published.changes,
            notes,
        })
    }

    async fn withdraw(&self, name: &str, instance: &str, principal: &Registrant) -> Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        let (realm, versions) = self.changeable(name, principal)?;
        let mut known = versions.iter().flat_map(|version| &version.instances).filter(|known| known.id == instance);
        let known = known.clone().find(|known| known.source == Source::Registered).or_else(|| known.next());
        let known = known.ok_or_else(|| Error::not_found(format!("tool `{name}` has no instance `{instance}`")))?;
        match known.source {
            Source::Registered => {}
            Source::Added => return Err(Error::conflict(format!("`{name}` was added, not registered: remove its version"))),
            Source::Builtin | Source::File | Source::Mcp | Source::Openapi => return Err(written(name, known.source)),
        }
        self.catalog.withdraw(&realm, name, instance);
        Ok(())
    }

    async fn remove(&self, name: &str, version: Option<&Version>, principal: &Registrant) -> Result<u64> {
        let _one_at_a_time = self.changing.lock().await;
        let (realm, versions) = self.changeable(name, principal)?;
        let meant: Vec<&ToolVersion> = versions.iter().filter(|known| version.is_none_or(|v| known.definition.version == *v)).collect();
        let (Some(_), blocking) = (meant.first(), meant.iter().find(|known| is_served_by_operator(known))) else {
            let version = version.map(ToString::to_string).unwrap_or_default();
            return Err(Error::not_found(format!("tool `{name}` has no version {version}")));
        };
        if let Some(blocking) = blocking {
            return Err(written(name, blocking.source));
        }
        if let Some(store) = &self.store {
            store.unpublish(&realm, name, version).await?;
        }
        let quarantined = self.quarantined(&realm, name, version);
        let forgotten = self.catalog.forget(&realm, name, version).len() as u64;
        self.take_quarantined(quarantined).await?;
        Ok(forgotten)
    }
}

impl Registry {
    /// The versions of a name that somebody may change, and whose they are: the registrant's own realm's. An operator may speak of
    /// its tenant's own too, where the node has no such name. `NotFound` tells what its tenant sees.
    fn changeable(&self, name: &str, principal: &Registrant) -> Result<(Realm, Vec<ToolVersion>)> {
        let own = Realm::Of(principal.tenant.clone());
        let realms = if principal.operator { vec![Realm::Node, own] } else { vec![own] };
        let mut found = realms.into_iter().map(|realm| (self.catalog.versions_of(&realm, name), realm));
        let Some((versions, realm)) = found.find(|(versions, _)| !versions.is_empty()) else {
            // Seen, it is the node's; if not, it is not there.
            self.catalog.versions(&principal.tenant, name)?;
            return Err(Error::denied(format!("`{name}` is a tool of the node: that takes the scope `operator`")).at("name"));
        };
        let owner = versions.first().map(|version| version.owner.as_str()).unwrap_or_default();
        if principal.is_over_all() || owner == principal.name {
            return Ok((realm, versions));
        }
        Err(Error::denied(format!("the name `{name}` belongs to another principal")).at("name"))
    }
}

struct Uncounted;
#[async_trait]
impl RateLimiter for Uncounted {
    async fn take(&self, _bucket: &str, _most: u32, _window: Duration, _name: &str) -> Result<Admission> {
        Ok(Admission::Now)
    }
}

struct Nobody;
impl Grants for Nobody {
    fn of(&self, _agent: &AgentName) -> Option<Vec<ToolWish>> {
        None
    }
}

/// Whether a file or an import serves it, as it was published.
fn is_served_by_operator(version: &ToolVersion) -> bool {
    let theirs = |source| !matches!(source, Source::Registered | Source::Added);
    version.instances.iter().any(|instance| theirs(instance.source) && instance.state != ToolState::Quarantined)
}

fn written(name: &str, source: Source) -> Error {
    let place = match source {
        Source::Builtin => "is part of the program: an agent that does not list it does not get it",
        Source::File => "comes from a file of the project: remove the file",
        Source::Mcp => "comes from the section `mcp` of maniple.yaml: remove it there",
        Source::Openapi => "comes from the section `openapi` of maniple.yaml: remove it there",
        Source::Added | Source::Registered => "is in use",
    };
    Error::conflict(format!("tool `{name}` {place}"))
}
