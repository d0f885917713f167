//! The registry of this process, and the same behind its door: one contract.

use super::*;
use maniple_api::tools::RemoteTools;
use maniple_backends::{RateLimiter, memory};
use maniple_core::{
    Principal, Tenant,
    ports::{Invocation, Invoked, Registration, RunCall, ToolRegistry, Tools},
    settings::Period,
    tool::{ToolDefinition, ToolWish},
};
use maniple_registry::{Egress, GatewaySettings, Grants, Parts as RegistryParts, Registry, lock::Pins};
use maniple_testkit::{
    ledger::{self, Mode},
    tools_suite::{self, Fixture, GRANTS},
};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::DropGuard;

struct Granted;
impl Grants for Granted {
    fn of(&self, agent: &AgentName) -> Option<Vec<ToolWish>> {
        (agent.as_str() == "shopper").then(|| GRANTS.iter().map(|wish| ToolWish::parse(wish).unwrap()).collect())
    }
}

pub async fn registry() -> (Arc<Registry>, DropGuard) {
    registry_over(Arc::new(memory::TaskStore::new())).await
}

pub async fn registry_over(store: Arc<memory::TaskStore>) -> (Arc<Registry>, DropGuard) {
    let (health_every, health_timeout) = (Period::ms(40), Period::ms(500));
    let parts = RegistryParts {
        store: Some(store),
        limiter: Arc::new(RateLimiter::new()),
        grants: Arc::new(Granted),
        egress: Egress::new(&["127.0.0.0/8".into()]).unwrap(),
        credentials: Default::default(),
        aside: Default::default(),
        settings: GatewaySettings { health_every, health_timeout, health_failures: 1, ..GatewaySettings::default() },
    };
    let registry = Arc::new(Registry::open(parts).await.unwrap());
    let (working, stop) = (registry.clone(), CancellationToken::new());
    let stopped = stop.clone();
    tokio::spawn(async move { working.work(stopped).await });
    (registry, stop.drop_guard())
}

/// A door over a registry, on a port of its own.
async fn served(registry: Arc<Registry>) -> (SocketAddr, House) {
    let house = build(Plan { registry, work: false, ..Plan::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = house.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, house)
}

fn pinning(registry: &Arc<Registry>) -> Box<dyn Fn(&str) + Send + Sync> {
    let registry = registry.clone();
    Box::new(move |text| registry.pin(Pins::parse(text).unwrap()))
}

#[tokio::test]
async fn a_registry_in_this_process_keeps_the_contract_of_every_registry() {
    tools_suite::run(|| async {
        let (registry, keep) = registry().await;
        Fixture { pin: pinning(&registry), registry, keep: Box::new(keep) }
    })
    .await;
}

#[tokio::test]
async fn a_registry_behind_its_door_keeps_the_contract_of_every_registry() {
    tools_suite::run(|| async {
        let (registry, keep) = registry().await;
        let (address, house) = served(registry.clone()).await;
        let remote = RemoteTools::new(&format!("http://{address}"), None).unwrap();
        Fixture { pin: pinning(&registry), registry: Arc::new(remote), keep: Box::new((keep, house)) }
    })
    .await;
}

/// A tool of this effect on a counting server, registered at `at`.
pub async fn registered(at: &dyn ToolRegistry, server: &ledger::Server, effect: &str) -> ToolDefinition {
    let definition =
        json!({ "name": "t", "version": "1.0.0", "description": "Counts.", "endpoint": server.endpoint("t"), "effect": effect });
    let by = Principal::local().registrant();
    let registration = Registration { definition, by, source: Source::Registered, override_reason: None };
    at.register(registration).await.unwrap().definition
}

pub fn invocation(tool: &ToolDefinition, key: &str) -> Invocation {
    Invocation {
        tool: Arc::new(tool.clone()),
        trusted: false,
        arguments: json!({}),
        key: key.into(),
        send: format!("{key}#1.1"),
        agent: AgentName::parse("shopper").unwrap(),
        tenant: Tenant::default(),
        agreed: None,
        trace: None,
        timeout: Duration::from_secs(2),
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_was_sent_nothing() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let remote = RemoteTools::new(&format!("http://{free}"), None).unwrap();
    let outcome = remote.invoke(&RunCall(invocation(&definition("t", "1.0.0"), "k"))).await;
    assert!(matches!(&outcome, Invoked::NotSent(why) if why.contains("does not answer")), "{outcome:?}");
    let wish = [ToolWish::parse("t").unwrap()];
    let away = remote.resolve(&Tenant::default(), &AgentName::parse("shopper").unwrap(), &wish).await.unwrap_err();
    assert_eq!(away.kind, maniple_core::Kind::Unavailable, "it may pass");
    assert!(remote.ping().await.is_err());
}

#[tokio::test]
async fn a_caller_whose_registry_is_not_there_may_call_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let registry = Arc::new(RemoteTools::new(&format!("http://{free}"), None).unwrap());
    let house = build(Plan { registry, work: false, ..Plan::default() });
    let answer = house.post("/tools/t/invoke", json!({ "agent": "shopper", "arguments": {} })).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")), "{}", answer.json());
    assert_eq!(answer.json()["outcome"]["status"], "not_sent");
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_told_by_the_registry_itself() {
    let server = ledger::Server::start(Ledger::new()).await.unwrap();
    let (registry, _keep) = registry().await;
    let (door, _house) = served(registry.clone()).await;
    let tool = registered(&*registry, &server, "at_most_once").await;
    server.ledger().set("t", Mode::Hang);
    let remote = RemoteTools::new(&format!("http://{door}"), None).unwrap();
    let short = RunCall(Invocation { timeout: Duration::from_millis(150), ..invocation(&tool, "k") });
    let outcome = tokio::time::timeout(Duration::from_secs(2), remote.invoke(&short)).await.expect("the registry answers in time");
    assert!(matches!(&outcome, Invoked::Unknown(why) if why.contains("150 ms")), "{outcome:?}");
}
