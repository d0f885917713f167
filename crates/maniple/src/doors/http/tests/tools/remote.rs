//! The registry of this process, and the same behind its door: one contract, and what a broken connection does to it.

use super::*;
use maniple_api::tools::RemoteTools;
use maniple_backends::{RateLimiter, memory};
use maniple_core::{
    ports::{Invocation, Invoked, Registrant, Registration, ToolRegistry, Tools},
    settings::Period,
    tool::{ToolDefinition, ToolWish},
};
use maniple_registry::{Egress, GatewaySettings, Grants, Parts as RegistryParts, Registry, lock::Pins};
use maniple_testkit::{
    ledger::{self, Mode},
    tools_suite::{self, Fixture, GRANTS},
};
use std::{net::SocketAddr, sync::Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::DropGuard;

struct Granted;
impl Grants for Granted {
    fn of(&self, agent: &AgentName) -> Option<Vec<ToolWish>> {
        (agent.as_str() == "shopper").then(|| GRANTS.iter().map(|wish| ToolWish::parse(wish).unwrap()).collect())
    }
}

async fn registry() -> (Arc<Registry>, DropGuard) {
    let (health_every, health_timeout) = (Period::ms(40), Period::ms(500));
    let parts = RegistryParts {
        store: Some(Arc::new(memory::TaskStore::new())),
        limiter: Arc::new(RateLimiter::new()),
        grants: Arc::new(Granted),
        egress: Egress::new(&["127.0.0.0/8".into()]).unwrap(),
        credentials: Default::default(),
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

/// Hands requests on to a door, and does to some what it is told to.
struct Cutter {
    address: SocketAddr,
    plan: Arc<Mutex<Plot>>,
}

struct Plot {
    next: Option<Cut>,
    to: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// The connection is closed, and the request does not arrive.
    Request,
    /// The request arrives, and the connection is closed when the answer comes.
    Answer,
}

impl Cutter {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plot { next: None, to }));
        let plot = plan.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = plot.lock().unwrap().to;
                tokio::spawn(hand_on(client, TcpStream::connect(to).await.unwrap(), plot.clone()));
            }
        });
        Self { address, plan }
    }
    /// The next request is cut; connections after that lead to `then`.
    fn cut(&self, cut: Cut, then: SocketAddr) {
        *self.plan.lock().unwrap() = Plot { next: Some(cut), to: then };
    }
}

async fn hand_on(mut client: TcpStream, mut door: TcpStream, plan: Arc<Mutex<Plot>>) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let cut = plan.lock().unwrap().next.take();
                if cut == Some(Cut::Request) || door.write_all(&asked[..read]).await.is_err() {
                    return;
                }
                if cut == Some(Cut::Answer) {
                    let _ = door.read(&mut answered).await;
                    return;
                }
            }
            read = door.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                if client.write_all(&answered[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A tool of this effect on a counting server, registered at `at`.
async fn registered(at: &dyn ToolRegistry, server: &ledger::Server, effect: &str) -> ToolDefinition {
    let definition =
        json!({ "name": "t", "version": "1.0.0", "description": "Counts.", "endpoint": server.endpoint("t"), "effect": effect });
    let by = Registrant { name: "local".into(), admin: true };
    let registration = Registration { definition, by, source: Source::Registered, override_reason: None };
    at.register(registration).await.unwrap().definition
}

fn call(tool: &ToolDefinition, key: &str) -> Invocation {
    Invocation {
        tool: Arc::new(tool.clone()),
        trusted: false,
        arguments: json!({}),
        key: key.into(),
        send: "s".into(),
        agent: AgentName::parse("shopper").unwrap(),
        tenant: maniple_core::Tenant::default(),
        trace: None,
        timeout: Duration::from_secs(2),
        journalled: true,
        approved: false,
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_was_sent_nothing() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let remote = RemoteTools::new(&format!("http://{free}"), None).unwrap();
    let outcome = remote.invoke(&call(&definition("t", "1.0.0"), "k")).await;
    assert!(matches!(&outcome, Invoked::NotSent(why) if why.contains("does not answer")), "{outcome:?}");
    let wish = [ToolWish::parse("t").unwrap()];
    let away = remote.resolve(&AgentName::parse("shopper").unwrap(), &wish).await.unwrap_err();
    assert_eq!(away.kind, maniple_core::Kind::Unavailable, "it may pass");
    assert!(remote.ping().await.is_err());
}

#[tokio::test]
async fn a_question_or_an_answer_that_is_lost_is_asked_again_and_the_tool_is_called_once() {
    for effect in ["pure", "idempotent", "at_most_once"] {
        for cut in [Cut::Request, Cut::Answer] {
            let (registry, _keep) = registry().await;
            let (door, _house) = served(registry.clone()).await;
            let server = ledger::Server::start(Ledger::new()).await.unwrap();
            let tool = registered(&*registry, &server, effect).await;
            let outcome = cut_off(cut, door, door, &tool).await;
            assert!(matches!(outcome, Invoked::Ok(_)), "{effect}, {cut:?}: {outcome:?}");
            assert_eq!(server.ledger().count("t"), 1, "{effect}, {cut:?}");
        }
    }
}

/// How a call goes that is cut off, of a client that has heard of the registry before.
async fn cut_off(cut: Cut, door: SocketAddr, then: SocketAddr, tool: &ToolDefinition) -> Invoked {
    let cutter = Cutter::start(door).await;
    let remote = RemoteTools::new(&format!("http://{}", cutter.address), None).unwrap();
    let heard = remote.resolve(&AgentName::parse("shopper").unwrap(), &[ToolWish::parse("t").unwrap()]).await;
    assert_eq!(heard.unwrap().len(), 1);
    cutter.cut(cut, then);
    remote.invoke(&call(tool, "k")).await
}

#[tokio::test]
async fn a_registry_that_was_started_anew_does_not_take_a_call_for_a_new_one() {
    let server = ledger::Server::start(Ledger::new()).await.unwrap();
    let (registry, _keep) = registry().await;
    let (door, _house) = served(registry.clone()).await;
    let tool = registered(&*registry, &server, "at_most_once").await;
    // Another process, which has heard of no call: it says so to whoever means the first one.
    let other = Router::new().fallback(|| async { answer::Refusal::from(maniple_api::Problem::other_process()) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let anew = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, other).await });
    let outcome = cut_off(Cut::Answer, door, anew, &tool).await;
    assert!(matches!(&outcome, Invoked::Unknown(why) if why.contains("started anew")), "{outcome:?}");
    assert!(server.ledger().count("t") <= 1);
}

#[tokio::test]
async fn a_registry_that_was_started_anew_before_the_call_gets_it_once() {
    let (registry, _keep) = registry().await;
    let (door, _house) = served(registry.clone()).await;
    let server = ledger::Server::start(Ledger::new()).await.unwrap();
    let tool = registered(&*registry, &server, "at_most_once").await;
    // The process that answered first, which is gone when the call comes.
    let before = Router::new().fallback(|| async {
        // Closed after each answer, so that the next question comes to whoever is there then.
        ([(maniple_api::tools::REGISTRY_HEADER, "before"), ("connection", "close")], axum::Json(json!({ "offers": [] })))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, before).await });
    let cutter = Cutter::start(first).await;
    let remote = RemoteTools::new(&format!("http://{}", cutter.address), None).unwrap();
    remote.resolve(&AgentName::parse("shopper").unwrap(), &[]).await.unwrap();
    cutter.plan.lock().unwrap().to = door;
    let outcome = remote.invoke(&call(&tool, "k")).await;
    assert!(matches!(outcome, Invoked::Ok(_)), "{outcome:?}");
    assert_eq!(server.ledger().count("t"), 1);
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_told_by_the_registry_itself() {
    let server = ledger::Server::start(Ledger::new()).await.unwrap();
    let (registry, _keep) = registry().await;
    let (door, _house) = served(registry.clone()).await;
    let tool = registered(&*registry, &server, "at_most_once").await;
    server.ledger().set("t", Mode::Hang);
    let remote = RemoteTools::new(&format!("http://{door}"), None).unwrap();
    let short = Invocation { timeout: Duration::from_millis(150), ..call(&tool, "k") };
    let outcome = tokio::time::timeout(Duration::from_secs(2), remote.invoke(&short)).await.expect("the registry answers in time");
    assert!(matches!(&outcome, Invoked::Unknown(why) if why.contains("150 ms")), "{outcome:?}");
}
