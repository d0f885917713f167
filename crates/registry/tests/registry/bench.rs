//! A registry with everything behind it, and a tool server that counts.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    routing::any,
};
use maniple_backends::{RateLimiter, memory};
use maniple_core::{
    AgentName, Tenant,
    ports::{DirectCall, DirectOutcome, Invocation, Invoked, Registrant, Registration, ToolRegistry, ToolStore, Tools},
    settings::Period,
    tool::{Registered, Source, ToolDefinition, ToolWish},
};
use maniple_registry::{Egress, GatewaySettings, Grants, Parts, Registry, credentials::Credentials};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Every agent was granted these.
pub struct Granted(pub Vec<ToolWish>);
impl Grants for Granted {
    fn of(&self, agent: &AgentName) -> Option<Vec<ToolWish>> {
        (agent.as_str() != "nobody").then(|| self.0.clone())
    }
}

pub fn wishes(wishes: &[&str]) -> Vec<ToolWish> {
    wishes.iter().map(|wish| ToolWish::parse(wish).unwrap()).collect()
}

/// A registry over a store in memory that may reach loopback.
pub struct Bench {
    pub registry: Arc<Registry>,
    pub store: Arc<dyn ToolStore>,
    pub stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    pub async fn new(granted: &[&str]) -> Self {
        Self::over(Arc::new(memory::TaskStore::new()), granted, GatewaySettings::default()).await
    }
    /// Health is asked every few milliseconds, and a lease is short.
    pub async fn quick(granted: &[&str]) -> Self {
        let settings = GatewaySettings {
            health_every: Period::ms(40),
            health_timeout: Period::ms(500),
            lease: Duration::from_millis(1_500),
            ..GatewaySettings::default()
        };
        Self::over(Arc::new(memory::TaskStore::new()), granted, settings).await
    }
    pub async fn over(store: Arc<dyn ToolStore>, granted: &[&str], settings: GatewaySettings) -> Self {
        Self::with(store, granted, settings, Credentials::default()).await
    }
    pub async fn with(store: Arc<dyn ToolStore>, granted: &[&str], settings: GatewaySettings, credentials: Credentials) -> Self {
        let parts = Parts {
            store: Some(store.clone()),
            limiter: Arc::new(RateLimiter::new()),
            grants: Arc::new(Granted(wishes(granted))),
            egress: Egress::new(&["127.0.0.0/8".into()]).unwrap(),
            credentials,
            aside: Default::default(),
            settings,
        };
        let registry = Arc::new(Registry::open(parts).await.unwrap());
        let (working, stop) = (registry.clone(), CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(async move { working.work(stopped).await });
        Self { registry, store, stop }
    }

    pub async fn register(&self, definition: Value) -> Registered {
        self.registry.register(registration(definition, "ann")).await.unwrap()
    }
    /// Calls as ann does at the door.
    pub async fn call(&self, tool: &ToolDefinition, arguments: Value, key: &str) -> Invoked {
        self.called(invocation(tool, arguments, key)).await.invoked
    }
    pub async fn called(&self, invocation: Invocation) -> DirectOutcome {
        self.registry.call(&DirectCall::new("ann", invocation)).await
    }
    pub async fn offered(&self, wish: &str) -> Vec<String> {
        let agent = AgentName::parse("a").unwrap();
        let offers = self.registry.resolve(&Tenant::default(), &agent, &wishes(&[wish])).await.unwrap();
        offers.iter().map(|offer| format!("{} {}", offer.definition.name, offer.definition.version)).collect()
    }
}

/// `admin` is one of its tenant, `ops` an operator.
pub fn registration(definition: Value, by: &str) -> Registration {
    let by = Registrant { name: by.into(), tenant: Tenant::default(), admin: by == "admin", operator: by == "ops" };
    Registration { definition, by, source: Source::Registered, override_reason: None }
}

pub fn definition(url: &str, fields: Value) -> Value {
    let mut definition = json!({ "name": "t", "version": "1.0.0", "description": "d", "endpoint": url });
    definition.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    definition
}

pub fn invocation(tool: &ToolDefinition, arguments: Value, key: &str) -> Invocation {
    Invocation {
        tool: Arc::new(tool.clone()),
        trusted: false,
        arguments,
        key: key.into(),
        send: key.into(),
        agent: AgentName::parse("a").unwrap(),
        tenant: Tenant::default(),
        agreed: None,
        trace: None,
        timeout: Duration::from_secs(5),
    }
}

/// A tool server. `/health` answers as it is told, `/token` gives a token, everything else counts and answers `{n, path}`.
#[derive(Clone)]
pub struct Counting {
    pub url: String,
    calls: Arc<AtomicUsize>,
    keys: Arc<Mutex<Vec<String>>>,
    status: Arc<AtomicU16>,
    wait_ms: Arc<AtomicUsize>,
}

impl Counting {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let status = Arc::new(AtomicU16::new(200));
        let server = Self { url, calls: Arc::default(), keys: Arc::default(), status, wait_ms: Arc::default() };
        let router = Router::new().fallback(any(answer)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
    pub fn set_well(&self, well: bool) {
        self.set_status(if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE });
    }
    pub fn set_status(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::SeqCst);
    }
    pub fn set_slow(&self, ms: usize) {
        self.wait_ms.store(ms, Ordering::SeqCst);
    }
    pub fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap().clone()
    }
}

async fn answer(State(server): State<Counting>, uri: Uri, headers: HeaderMap, _body: Bytes) -> (StatusCode, axum::Json<Value>) {
    let status = StatusCode::from_u16(server.status.load(Ordering::SeqCst)).unwrap();
    if uri.path() == "/health" {
        return (status, axum::Json(Value::Null));
    }
    if uri.path() == "/token" {
        return (status, axum::Json(json!({ "access_token": "t0ken", "token_type": "Bearer", "expires_in": 3_600 })));
    }
    let n = server.calls.fetch_add(1, Ordering::SeqCst) + 1;
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    server.keys.lock().unwrap().extend(key);
    tokio::time::sleep(Duration::from_millis(server.wait_ms.load(Ordering::SeqCst) as u64)).await;
    (status, axum::Json(json!({ "n": n, "path": uri.path() })))
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came that {what}");
}
