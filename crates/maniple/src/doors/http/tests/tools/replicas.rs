//! Two processes of a registry over one store, behind a balancer that knows nothing of calls, and connections that break.

use super::{
    remote::{invocation, registered, registry_over},
    *,
};
use axum::extract::{Request, State};
use maniple_api::tools::RemoteTools;
use maniple_backends::memory;
use maniple_core::{
    ports::{DirectCall, Invocation, Invoked, RunCall, ToolRegistry, ToolStore, Tools},
    tool::ToolDefinition,
};
use maniple_registry::Registry;
use maniple_testkit::ledger::{Mode, Server};
use std::{
    collections::VecDeque,
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering},
};
use tokio::net::TcpListener;
use tokio_util::sync::DropGuard;
use tower::ServiceExt as _;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lost {
    /// The question does not arrive.
    Question,
    /// It arrives, and its answer is cut off.
    Answer,
}

/// Hands each request to the next door in turn, and loses what it is told to.
#[derive(Clone)]
struct Balancer {
    doors: Arc<Mutex<Vec<Router>>>,
    turn: Arc<AtomicUsize>,
    losing: Arc<Mutex<VecDeque<Lost>>>,
}

async fn balance(State(balancer): State<Balancer>, request: Request) -> Response {
    let lost = balancer.losing.lock().unwrap().pop_front();
    let door = {
        let doors = balancer.doors.lock().unwrap();
        doors[balancer.turn.fetch_add(1, Ordering::SeqCst) % doors.len()].clone()
    };
    let cut_off = || {
        let cut = futures::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("cut"))]);
        Response::builder().header("content-length", 1_000).body(Body::from_stream(cut)).unwrap()
    };
    if lost == Some(Lost::Question) {
        return cut_off();
    }
    let answer = door.oneshot(request).await.unwrap();
    if lost == Some(Lost::Answer) { cut_off() } else { answer }
}

/// Two processes behind a balancer, one tool that both serve, and a client.
struct World {
    store: Arc<memory::TaskStore>,
    houses: Vec<House>,
    registries: Vec<(Arc<Registry>, DropGuard)>,
    balancer: Balancer,
    server: Server,
    tool: ToolDefinition,
    remote: RemoteTools,
}

impl World {
    async fn new(effect: &str) -> Self {
        let (store, server) = (Arc::new(memory::TaskStore::new()), Server::start(Ledger::new()).await.unwrap());
        let (mut houses, mut registries, mut tools) = (vec![], vec![], vec![]);
        for _ in 0..2 {
            let (registry, keep) = registry_over(store.clone()).await;
            tools.push(registered(&*registry, &server, effect).await);
            houses.push(build(Plan { registry: registry.clone(), work: false, ..Plan::default() }));
            registries.push((registry, keep));
        }
        let doors = Arc::new(Mutex::new(houses.iter().map(|house| house.router.clone()).collect()));
        let balancer = Balancer { doors, turn: Arc::default(), losing: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(balance).with_state(balancer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let remote = RemoteTools::new(&url, None).unwrap();
        Self { store, houses, registries, balancer, server, tool: tools.remove(0), remote }
    }
    fn lose(&self, lost: &[Lost]) {
        self.balancer.losing.lock().unwrap().extend(lost);
    }
    fn arrived(&self) -> usize {
        self.server.ledger().count("t")
    }
    async fn of_run(&self, key: &str) -> Invoked {
        self.remote.invoke(&RunCall(invocation(&self.tool, key))).await
    }
    fn direct(&self, key: &str) -> DirectCall {
        DirectCall::new("ann", invocation(&self.tool, key))
    }
    /// How many calls the ledger holds; it is empty then.
    async fn on_record(&self) -> u64 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.store.forget_calls(Duration::ZERO, 100).await.unwrap()
    }
}

const EFFECTS: [&str; 3] = ["pure", "idempotent", "at_most_once"];

#[tokio::test]
async fn a_runs_calls_go_to_any_process_and_are_in_no_ledger_but_the_runs_own() {
    for effect in EFFECTS {
        let world = World::new(effect).await;
        for n in 0..6 {
            assert!(matches!(world.of_run(&format!("t:1:{n}")).await, Invoked::Ok(_)));
        }
        assert_eq!((world.arrived(), world.on_record().await), (6, 0), "{effect}");
        assert_eq!(world.server.ledger().arrivals()[5].key.as_deref(), Some("t:1:5"));
        assert!(matches!(world.remote.call(&world.direct("k")).await.invoked, Invoked::Ok(_)));
        assert_eq!(world.on_record().await, 1, "a direct call is");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_given_again_by_the_process_that_knows_it() {
    for effect in EFFECTS {
        for lost in [&[Lost::Answer][..], &[Lost::Answer, Lost::Answer], &[Lost::Answer, Lost::Question, Lost::Answer, Lost::Question]] {
            let world = World::new(effect).await;
            world.lose(lost);
            let outcome = world.of_run("t:1:0").await;
            assert!(matches!(outcome, Invoked::Ok(_)), "{effect}, {lost:?}: {outcome:?}");
            world.lose(lost);
            let outcome = world.remote.call(&world.direct("k")).await;
            assert!(matches!(outcome.invoked, Invoked::Ok(_)) && !outcome.replayed, "{effect}, {lost:?}: {outcome:?}");
            assert_eq!(world.arrived(), 2, "{effect}, {lost:?}");
        }
    }
}

#[tokio::test]
async fn a_call_that_is_under_way_when_its_connection_breaks_is_waited_for_by_whoever_is_asked() {
    for effect in EFFECTS {
        let world = World::new(effect).await;
        world.server.ledger().set("t", Mode::Slow(Duration::from_millis(500)));
        let call = RunCall(invocation(&world.tool, "t:1:0"));
        let begun = world.houses[0].post("/tools/t/invoke", wire(&call, false));
        assert!(tokio::time::timeout(Duration::from_millis(100), begun).await.is_err(), "its connection breaks");
        let again = world.houses[0].post("/tools/t/invoke", wire(&call, true)).await;
        assert_eq!(again.status, StatusCode::OK, "{effect}");
        world.houses[1].post("/tools/t/invoke", wire(&call, true)).await.problem(404);
        assert_eq!(world.arrived(), 1, "{effect}");
        let (first, second) = (world.direct("k"), world.direct("k"));
        let (one, other) = tokio::join!(world.registries[0].0.call(&first), world.registries[1].0.call(&second));
        assert_eq!(one.invoked, other.invoked);
        assert_eq!(world.arrived(), 2, "{effect}");
    }
}

fn wire(RunCall(call): &RunCall, again: bool) -> Value {
    json!({ "agent": call.agent, "contract": call.tool.contract_hash(), "run": { "key": call.key, "send": call.send, "again": again } })
}

#[tokio::test]
async fn what_no_process_knows_of_is_unknown_and_is_not_sent_by_asking() {
    let short = |world: &World| RunCall(Invocation { timeout: Duration::from_secs(1), ..invocation(&world.tool, "t:1:0") });
    let never_arrived = async {
        let world = World::new("at_most_once").await;
        world.lose(&[Lost::Question]);
        (world.remote.invoke(&short(&world)).await, world.arrived())
    };
    // The process that made the call is gone, and with it what it knew.
    let killed = async {
        let world = World::new("at_most_once").await;
        world.lose(&[Lost::Answer]);
        let (doors, left) = (world.balancer.doors.clone(), world.houses[1].router.clone());
        let killing = async {
            while world.arrived() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            *doors.lock().unwrap() = vec![left];
            std::future::pending().await
        };
        let call = short(&world);
        let outcome = tokio::select! {
            outcome = world.remote.invoke(&call) => outcome,
            outcome = killing => outcome,
        };
        (outcome, world.arrived())
    };
    let ((first, none), (second, once)) = tokio::join!(never_arrived, killed);
    assert!(matches!((&first, &second), (Invoked::Unknown(_), Invoked::Unknown(_))), "{first:?} {second:?}");
    assert_eq!((none, once), (0, 1), "the effect class decides, in the runtime");
}

#[tokio::test]
async fn a_direct_call_whose_question_is_lost_is_made_when_it_is_asked_again() {
    for effect in EFFECTS {
        let world = World::new(effect).await;
        world.lose(&[Lost::Question]);
        assert!(matches!(world.remote.call(&world.direct("k")).await.invoked, Invoked::Ok(_)), "{effect}");
        let again = world.remote.call(&world.direct("k")).await;
        assert!(again.replayed && matches!(again.invoked, Invoked::Ok(_)), "{effect}: {again:?}");
        assert_eq!(world.arrived(), 1, "{effect}");
    }
}
