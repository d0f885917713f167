//! What every tool registry promises, in this process or behind HTTP, as tests any of them can run.
//!
//! ```text
//! tools_suite::run(|| async { Fixture { registry, pin, keep } }).await
//! ```
//! The registry's agent `shopper` was granted [`GRANTS`]; loopback may be reached; health is asked every few milliseconds, and one
//! failure is enough; whoever asks is `local`, who may everything.

mod tenants;

use crate::ledger::{Ledger, Mode, Server};
use futures::future::BoxFuture;
use maniple_core::{
    AgentName, Kind, Principal, Tenant,
    ports::{
        Admission, DirectCall, DirectOutcome, Invocation, Invoked, Probed, RefusalKind, Registrant, Registration, RunCall, ToolRegistry,
    },
    tool::{Registered, STORED_RESULT_BYTES, Source, ToolDefinition, ToolState, ToolWish, Way},
};
use semver::{Version, VersionReq};
use serde_json::{Value, json};
use std::{any::Any, future::Future, sync::Arc, time::Duration};

/// What the agent `shopper` may use.
pub const GRANTS: [&str; 2] = ["t@^1", "clock"];

/// A registry that knows nothing but what is built in.
pub struct Fixture {
    /// As its callers see it.
    pub registry: Arc<dyn ToolRegistry>,
    /// Takes the text of a `tools.lock`.
    pub pin: Box<dyn Fn(&str) + Send + Sync>,
    /// What must live as long as it does.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// Runs every test on a registry of its own; panics with the names of those that failed.
pub async fn run<R: Future<Output = Fixture>>(make: impl Fn() -> R) {
    let mut failed = Vec::new();
    for case in cases() {
        let ledger = Ledger::new();
        let server = Server::start(ledger.clone()).await.expect("loopback can be listened on");
        let world = World { fixture: make().await, ledger, server };
        if tokio::spawn((case.run)(world)).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{} promises are broken: {failed:#?}", failed.len());
}

fn cases() -> Vec<Case> {
    vec![
        case(an_agent_gets_the_highest_version_in_its_range),
        case(the_catalogue_tells_what_there_is_and_forgets_what_it_is_told_to),
        case(a_version_has_one_contract),
        case(what_is_not_well_is_not_offered_until_it_is),
        case(what_is_not_as_it_was_pinned_is_not_used),
        case(a_send_is_counted_once_and_over_the_rate_it_waits),
        case(a_complete_answer_is_an_outcome_whatever_it_says),
        case(what_may_not_go_is_refused_and_does_not_arrive),
        case(a_key_has_one_outcome_and_one_meaning),
        case(what_was_not_sent_is_said_to_be_so),
        case(a_call_that_breaks_off_is_unknown_and_goes_by_its_effect_class),
        case(a_result_that_may_be_used_again_is),
        case(a_result_is_bounded),
        case(a_call_in_doubt_is_settled_by_its_tool),
        case(a_persons_consent_is_asked_for_where_no_journal_holds_it),
        case(a_call_that_a_person_agreed_to_goes_the_way_they_saw_and_no_other),
        case(the_record_of_a_runs_call_is_the_runs_journal),
        case(tenants::two_tenants_have_a_tool_of_one_name_and_neither_hears_of_the_others),
        case(tenants::nobody_changes_what_is_another_tenants_or_the_nodes),
        case(tenants::what_an_operator_brings_serves_everybody_and_its_name_is_the_nodes_from_then_on),
        case(tenants::no_answer_crosses_tenants),
    ]
}

struct Case {
    name: &'static str,
    run: Box<dyn Fn(World) -> BoxFuture<'static, ()> + Send + Sync>,
}

/// A test, called what its function is called.
fn case<F, R>(test: F) -> Case
where
    F: Fn(World) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let name = std::any::type_name::<F>().rsplit("::").next().unwrap_or_default();
    Case { name, run: Box::new(move |world| Box::pin(test(world))) }
}

/// What a test works with.
struct World {
    fixture: Fixture,
    ledger: Ledger,
    server: Server,
}

fn shopper() -> AgentName {
    AgentName::parse("shopper").expect("legal")
}
fn version(text: &str) -> Version {
    Version::parse(text).expect("legal")
}
fn range(text: &str) -> VersionReq {
    VersionReq::parse(text).expect("legal")
}
fn admin() -> Registrant {
    Principal::local().registrant()
}

impl World {
    fn registry(&self) -> &dyn ToolRegistry {
        &*self.fixture.registry
    }
    /// `t` 1.0.0 on the counting server, with these fields over it.
    fn definition(&self, fields: Value) -> Value {
        let mut definition = json!({ "name": "t", "version": "1.0.0", "description": "Counts.", "endpoint": self.server.endpoint("t"),
            "parameters": { "type": "object", "properties": { "n": { "type": "integer" } } } });
        definition.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        definition
    }
    async fn registered(&self, fields: Value) -> Registered {
        let definition = self.definition(fields);
        let registration = Registration { definition, by: admin(), source: Source::Registered, override_reason: None };
        self.registry().register(registration).await.expect("a good definition")
    }
    fn invocation(&self, tool: &ToolDefinition, key: &str, arguments: Value) -> Invocation {
        Invocation {
            tool: Arc::new(tool.clone()),
            trusted: false,
            arguments,
            key: key.into(),
            send: format!("{key}:1"),
            agent: shopper(),
            tenant: Tenant::default(),
            agreed: None,
            trace: None,
            timeout: Duration::from_millis(tool.timeout_ms),
        }
    }
    /// Calls as somebody at a door.
    async fn call(&self, tool: &ToolDefinition, key: &str, arguments: Value) -> Invoked {
        self.called("ann", self.invocation(tool, key, arguments)).await.invoked
    }
    async fn called(&self, principal: &str, invocation: Invocation) -> DirectOutcome {
        self.registry().call(&DirectCall::new(principal, invocation)).await
    }
    /// Calls as a run does.
    async fn invoke(&self, tool: &ToolDefinition, key: &str, arguments: Value) -> Invoked {
        self.registry().invoke(&RunCall(self.invocation(tool, key, arguments))).await
    }
    async fn resolved(&self, wish: &str) -> Vec<String> {
        let wishes = [ToolWish::parse(wish).expect("a wish")];
        let offers = self.registry().resolve(&Tenant::default(), &shopper(), &wishes).await.expect("it is known");
        offers.iter().map(|offer| format!("{} {}", offer.definition.name, offer.definition.version)).collect()
    }
    async fn state(&self) -> ToolState {
        self.registry().versions(&Tenant::default(), "t").await.expect("it is known")[0].state
    }
    /// Waits until the only version of `t` is so.
    async fn until(&self, state: ToolState) {
        let waiting = async {
            while self.state().await != state {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("it does not become {state:?}"));
    }
}

#[track_caller]
fn refused(invoked: &Invoked) -> RefusalKind {
    match invoked {
        Invoked::Refused(refusal) => refusal.kind,
        other => panic!("it is not refused: {other:?}"),
    }
}

async fn an_agent_gets_the_highest_version_in_its_range(world: World) {
    for number in ["1.0.0", "1.2.0", "1.1.0", "2.0.0"] {
        world.registered(json!({ "version": number })).await;
    }
    assert_eq!(world.resolved("t@^1").await, ["t 1.2.0"]);
    assert_eq!(world.resolved("t@=1.1.0").await, ["t 1.1.0"]);
    assert_eq!(world.resolved("t").await, ["t 2.0.0"]);
    let wishes = ["t@^7", "nothing"].map(|wish| ToolWish::parse(wish).expect("a wish"));
    let there =
        world.registry().resolve(&Tenant::default(), &shopper(), &wishes).await.expect("an agent goes on without what is not there");
    assert_eq!(there, [], "neither is there");
    let twice = ["t", "t@^1"].map(|wish| ToolWish::parse(wish).expect("a wish"));
    assert_eq!(world.registry().resolve(&Tenant::default(), &shopper(), &twice).await.expect_err("which of them?").kind, Kind::Invalid);

    let granted = world.registry().granted(&Tenant::default(), &shopper()).await.expect("the agent is known");
    let granted: Vec<String> = granted.iter().map(|offer| format!("{} {}", offer.definition.name, offer.definition.version)).collect();
    assert_eq!(granted, ["t 1.2.0", "clock 1.0.0"], "within the grant, in its order");
    let stranger = AgentName::parse("stranger").expect("legal");
    assert_eq!(world.registry().granted(&Tenant::default(), &stranger).await.expect_err("nobody").kind, Kind::NotFound);

    let pick = async |name: &str, of: &str| {
        world.registry().pick(&Tenant::default(), &shopper(), name, &range(of)).await.map_err(|refusal| refusal.kind)
    };
    assert_eq!(pick("t", "*").await.expect("granted").definition.version, version("1.2.0"), "not 2.0.0, which is not granted");
    assert_eq!(pick("t", "=1.0.0").await.expect("granted").definition.version, version("1.0.0"));
    assert_eq!(pick("calculator", "*").await, Err(RefusalKind::NotGranted));
    assert_eq!(pick("nothing", "*").await, Err(RefusalKind::NotFound));
}

async fn the_catalogue_tells_what_there_is_and_forgets_what_it_is_told_to(world: World) {
    let one = world.registered(json!({})).await;
    world.registered(json!({ "version": "1.1.0" })).await;
    assert!(one.new_version && one.lease_ms.is_some());
    assert!(!world.registered(json!({})).await.new_version, "it is renewed");
    let names = |tools: Vec<maniple_core::tool::ToolVersion>| -> Vec<String> {
        tools.iter().map(|tool| format!("{} {}", tool.definition.name, tool.definition.version)).collect()
    };
    let all = names(world.registry().list(&Tenant::default(), None, 500).await.expect("a list"));
    assert_eq!(all, ["calculator 1.0.0", "clock 1.0.0", "http_fetch 1.0.0", "t 1.1.0", "t 1.0.0"]);
    assert_eq!(names(world.registry().list(&Tenant::default(), Some("clock"), 1).await.expect("a list")), ["http_fetch 1.0.0"]);
    assert_eq!(names(world.registry().versions(&Tenant::default(), "t").await.expect("it is known")), ["t 1.1.0", "t 1.0.0"]);
    assert_eq!(world.registry().versions(&Tenant::default(), "nothing").await.expect_err("it is not there").kind, Kind::NotFound);

    world.registry().withdraw("t", &one.instance, &admin()).await.expect("it is there");
    let left = world.registry().versions(&Tenant::default(), "t").await.expect("it stays known");
    assert_eq!((left[1].state, left[1].instances.len()), (ToolState::Gone, 0));
    assert_eq!(world.registry().withdraw("t", &one.instance, &admin()).await.expect_err("it is out").kind, Kind::NotFound);
    assert_eq!(world.registry().remove("t", Some(&version("1.0.0")), &admin()).await.expect("it is there"), 1);
    assert_eq!(names(world.registry().versions(&Tenant::default(), "t").await.expect("one is left")), ["t 1.1.0"]);
    assert_eq!(world.registry().remove("t", Some(&version("9.0.0")), &admin()).await.expect_err("it never was").kind, Kind::NotFound);
}

async fn a_version_has_one_contract(world: World) {
    world.registered(json!({})).await;
    let bring = async |fields: Value| {
        let registration =
            Registration { definition: world.definition(fields), by: admin(), source: Source::Registered, override_reason: None };
        world.registry().register(registration).await.map(drop).map_err(|error| error.kind)
    };
    assert_eq!(bring(json!({ "description": "Counts otherwise." })).await, Err(Kind::Conflict));
    assert_eq!(bring(json!({ "version": "one" })).await, Err(Kind::Invalid));
    assert_eq!(bring(json!({ "endpoint": "ftp://x.test/" })).await, Err(Kind::Invalid));
}

async fn what_is_not_well_is_not_offered_until_it_is(world: World) {
    world.registered(json!({ "health_url": world.server.endpoint("health") })).await;
    assert_eq!(world.resolved("t").await, ["t 1.0.0"]);
    world.ledger.set("health", Mode::Fail(503));
    world.until(ToolState::Unhealthy).await;
    assert_eq!(world.resolved("t").await, [""; 0]);
    assert_eq!(
        world.registry().pick(&Tenant::default(), &shopper(), "t", &range("*")).await.expect_err("it is sick").kind,
        RefusalKind::NotFound
    );
    world.ledger.set("health", Mode::Ok(json!("well")));
    world.until(ToolState::Healthy).await;
    assert_eq!(world.resolved("t").await, ["t 1.0.0"]);
}

async fn what_is_not_as_it_was_pinned_is_not_used(world: World) {
    let tool = world.registered(json!({})).await;
    (world.fixture.pin)("tools:\n  t:\n    1.0.0: { contract: otherwise, hosts: [127.0.0.1] }\n");
    assert_eq!(world.state().await, ToolState::Quarantined);
    assert_eq!(world.resolved("t").await, [""; 0]);
    assert_eq!(refused(&world.call(&tool.definition, "k", json!({})).await), RefusalKind::Quarantined);
    assert_eq!(world.ledger.count("t"), 0);
    (world.fixture.pin)("tools: {}");
    assert_eq!(world.resolved("t").await, ["t 1.0.0"]);
}

async fn a_send_is_counted_once_and_over_the_rate_it_waits(world: World) {
    let tool = world.registered(json!({ "rate_limit": 2 })).await.definition;
    let admit = async |key: &str| world.registry().admit(&RunCall(world.invocation(&tool, key, json!({})))).await;
    assert_eq!((admit("a").await, admit("a").await, admit("b").await), (Admission::Now, Admission::Now, Admission::Now));
    let Admission::After(wait) = admit("c").await else { panic!("two are taken") };
    assert!(wait > Duration::from_secs(30) && wait <= Duration::from_secs(60), "{wait:?}");
    assert!(matches!(world.invoke(&tool, "a", json!({})).await, Invoked::Ok(_)), "it has its place");
    let Invoked::Wait(_, wait) = world.invoke(&tool, "c", json!({})).await else { panic!("two are taken") };
    assert!(wait > Duration::from_secs(30) && wait <= Duration::from_secs(60), "{wait:?}");
    assert_eq!(world.ledger.count("t"), 1);
}

async fn a_complete_answer_is_an_outcome_whatever_it_says(world: World) {
    let tool = world.registered(json!({})).await.definition;
    world.ledger.next("t", [Mode::Ok(json!({ "n": 7 })), Mode::Fail(500), Mode::Fail(404)]);
    assert_eq!(world.call(&tool, "a", json!({ "n": 1 })).await, Invoked::Ok(json!({ "n": 7 })));
    for (key, status) in [("b", 500), ("c", 404)] {
        let Invoked::Failed(failure) = world.call(&tool, key, json!({})).await else { panic!("it failed") };
        assert_eq!((&failure["status"], &failure["body"]), (&json!(status), &json!("the tool failed")));
    }
    let arrived = world.ledger.arrivals();
    assert_eq!((arrived[0].key.as_deref(), &arrived[0].arguments), (Some("default/call/ann/a"), &json!({ "n": 1 })));
}

async fn what_may_not_go_is_refused_and_does_not_arrive(world: World) {
    let tool = world.registered(json!({})).await.definition;
    let two = world.registered(json!({ "version": "2.0.0" })).await.definition;
    let wrong = world.call(&tool, "a", json!({ "n": "seven" })).await;
    let Invoked::Refused(refusal) = &wrong else { panic!("{wrong:?}") };
    assert!(refusal.kind == RefusalKind::Arguments && refusal.message.contains("/n"), "a model can repair it: {refusal:?}");
    assert_eq!(refused(&world.call(&two, "b", json!({})).await), RefusalKind::NotGranted);
    let stranger = Invocation { agent: AgentName::parse("stranger").expect("legal"), ..world.invocation(&tool, "c", json!({})) };
    assert_eq!(refused(&world.called("ann", stranger).await.invoked), RefusalKind::NotGranted);
    let other = ToolDefinition { description: "Counts otherwise.".into(), ..tool.clone() };
    assert_eq!(refused(&world.call(&other, "d", json!({})).await), RefusalKind::NotFound);
    assert_eq!(world.ledger.count("t"), 0);
}

async fn a_key_has_one_outcome_and_one_meaning(world: World) {
    let tool = world.registered(json!({})).await.definition;
    world.ledger.next("t", [Mode::Ok(json!(1)), Mode::Fail(500), Mode::Ok(json!(2))]);
    assert_eq!(world.call(&tool, "a", json!({ "n": 1 })).await, Invoked::Ok(json!(1)));
    assert_eq!(world.call(&tool, "a", json!({ "n": 1 })).await, Invoked::Ok(json!(1)), "from the record");
    assert_eq!(refused(&world.call(&tool, "a", json!({ "n": 2 })).await), RefusalKind::KeyReused);
    let failed = world.call(&tool, "b", json!({})).await;
    assert!(matches!(failed, Invoked::Failed(_)));
    assert_eq!(world.call(&tool, "b", json!({})).await, failed, "a failure is an outcome too");
    let theirs = Invocation { tenant: Tenant::parse("other").expect("legal"), ..world.invocation(&tool, "a", json!({})) };
    assert_eq!(world.called("ann", theirs).await.invoked, Invoked::Ok(json!(2)), "a key belongs to its tenant");
    world.ledger.next("t", [Mode::Ok(json!(3))]);
    let mine = || world.invocation(&tool, "a", json!({ "n": 1 }));
    let bobs = DirectOutcome { invoked: Invoked::Ok(json!(3)), replayed: false };
    assert_eq!(world.called("bob", mine()).await, bobs, "and to its principal");
    assert_eq!(world.called("bob", mine()).await, DirectOutcome { replayed: true, ..bobs });
    assert_eq!(world.ledger.count("t"), 4);
    let keys: Vec<_> = world.ledger.arrivals().into_iter().map(|arrival| arrival.key.expect("a key")).collect();
    assert_eq!(keys, ["default/call/ann/a", "default/call/ann/b", "other/call/ann/a", "default/call/bob/a"]);
}

async fn what_was_not_sent_is_said_to_be_so(world: World) {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let tool = world.registered(json!({ "endpoint": format!("http://{free}/") })).await.definition;
    for attempt in 0..2 {
        let outcome = world.call(&tool, "a", json!({})).await;
        assert!(matches!(outcome, Invoked::NotSent(_)), "{attempt}: {outcome:?}");
    }
    let one = world.registered(json!({ "version": "1.1.0" })).await;
    world.registry().withdraw("t", &one.instance, &admin()).await.expect("it is there");
    let outcome = world.call(&one.definition, "b", json!({})).await;
    assert!(matches!(outcome, Invoked::NotSent(_)), "nobody serves it: {outcome:?}");
}

async fn a_call_that_breaks_off_is_unknown_and_goes_by_its_effect_class(world: World) {
    for (number, effect, is_sent_again) in [("1.0.1", "pure", true), ("1.0.2", "idempotent", true), ("1.0.3", "at_most_once", false)] {
        // Versions of other effects are other tools to those who call them.
        let name = "t";
        let before = world.ledger.count(name);
        let fields = json!({ "version": number, "effect": effect, "timeout_ms": 300, "endpoint": world.server.endpoint(name) });
        world.registry().remove(name, None, &admin()).await.ok();
        let tool = world.registered(fields).await.definition;
        for (key, mode) in [("reset", Mode::Reset), ("hang", Mode::Hang)] {
            let key = format!("{key}-{effect}");
            world.ledger.next(name, [mode]);
            let outcome = world.call(&tool, &key, json!({})).await;
            assert!(matches!(outcome, Invoked::Unknown(_)), "{key}: {outcome:?}");
            let again = world.call(&tool, &key, json!({})).await;
            assert_eq!(matches!(again, Invoked::Ok(_)), is_sent_again, "{key}: {again:?}");
            assert_eq!(matches!(again, Invoked::Unknown(_)), !is_sent_again, "{key}: {again:?}");
        }
        assert_eq!(world.ledger.count(name) - before, if is_sent_again { 4 } else { 2 }, "{effect}");
    }
}

async fn a_result_that_may_be_used_again_is(world: World) {
    let tool = world.registered(json!({ "effect": "pure", "cache_ttl_ms": 60_000 })).await.definition;
    world.ledger.next("t", [Mode::Ok(json!(1)), Mode::Ok(json!(2))]);
    assert_eq!(world.call(&tool, "a", json!({ "n": 1 })).await, Invoked::Ok(json!(1)));
    assert_eq!(world.call(&tool, "b", json!({ "n": 1 })).await, Invoked::Ok(json!(1)), "under another key");
    assert_eq!(world.call(&tool, "c", json!({ "n": 2 })).await, Invoked::Ok(json!(2)));
    assert_eq!(world.ledger.count("t"), 2);
}

async fn a_result_is_bounded(world: World) {
    let tool = world.registered(json!({})).await.definition;
    world.ledger.set("t", Mode::Ok(json!("x".repeat(3 * STORED_RESULT_BYTES))));
    let bytes = match world.call(&tool, "a", json!({})).await {
        Invoked::Ok(result) | Invoked::Failed(result) => result.to_string().len(),
        other => panic!("{other:?}"),
    };
    assert!(bytes <= STORED_RESULT_BYTES + 4_096, "{bytes}");
}

async fn a_call_in_doubt_is_settled_by_its_tool(world: World) {
    let tool = world.registered(json!({ "probe_url": world.server.endpoint("probe") })).await.definition;
    world.ledger.next("probe", [Mode::Ok(json!({ "id": 7 })), Mode::Fail(404), Mode::Fail(500), Mode::Ok(json!({ "id": 8 }))]);
    let call = RunCall(world.invocation(&tool, "a", json!({})));
    assert_eq!(world.registry().probe(&call).await, Probed::Happened(json!({ "id": 7 })));
    assert_eq!(world.registry().probe(&call).await, Probed::DidNot);
    assert_eq!(world.registry().probe(&call).await, Probed::Unknown);
    let direct = DirectCall::new("ann", call.0);
    assert_eq!(world.registry().probe_call(&direct).await, Probed::Happened(json!({ "id": 8 })));
    let keys: Vec<_> = world.ledger.arrivals().into_iter().map(|arrival| arrival.key.expect("a key")).collect();
    assert_eq!(keys, ["a", "a", "a", "default/call/ann/a"], "each is asked about under the key it had");
    let without = world.registered(json!({ "version": "1.1.0" })).await.definition;
    assert_eq!(world.registry().probe(&RunCall(world.invocation(&without, "a", json!({})))).await, Probed::Unknown);
}

async fn a_persons_consent_is_asked_for_where_no_journal_holds_it(world: World) {
    let tool = world.registered(json!({ "requires_approval": true })).await.definition;
    assert_eq!(refused(&world.call(&tool, "a", json!({})).await), RefusalKind::NeedsApproval);
    assert_eq!(world.ledger.count("t"), 0);
    assert_eq!(refused(&world.invoke(&tool, "a", json!({})).await), RefusalKind::NeedsApproval, "nobody says to what they agreed");
    let call = RunCall(Invocation { agreed: Some(Way::of(&tool)), ..world.invocation(&tool, "b", json!({})) });
    assert!(matches!(world.registry().invoke(&call).await, Invoked::Ok(_)));
    assert_eq!(world.ledger.count("t"), 1);
}

async fn a_call_that_a_person_agreed_to_goes_the_way_they_saw_and_no_other(world: World) {
    let shown = world.registered(json!({ "requires_approval": true })).await;
    let tool = shown.definition.clone();
    let call = |key: &str| RunCall(Invocation { agreed: Some(Way::of(&tool)), ..world.invocation(&tool, key, json!({})) });
    // Between the question and the answer the very version comes to be served elsewhere too, and then only there.
    let elsewhere = world.registered(json!({ "requires_approval": true, "endpoint": format!("{}?to=another", tool.endpoint) })).await;
    assert_eq!(shown.contract, elsewhere.contract);
    for n in 0..4 {
        assert!(matches!(world.registry().invoke(&call(&format!("a{n}"))).await, Invoked::Ok(_)), "it goes where it is still served");
    }
    world.registry().withdraw("t", &shown.instance, &admin()).await.expect("it leaves");
    assert_eq!(refused(&world.registry().invoke(&call("b")).await), RefusalKind::NeedsApproval);
    assert_eq!(world.ledger.count("t"), 4);
    let anew =
        RunCall(Invocation { agreed: Some(Way::of(&elsewhere.definition)), ..world.invocation(&elsewhere.definition, "c", json!({})) });
    assert!(matches!(world.registry().invoke(&anew).await, Invoked::Ok(_)), "who agrees to the new way is taken by their word");
}

async fn the_record_of_a_runs_call_is_the_runs_journal(world: World) {
    let tool = world.registered(json!({ "effect": "idempotent" })).await.definition;
    for attempt in 1..=2 {
        let send = format!("a#{attempt}");
        let call = RunCall(Invocation { send, ..world.invocation(&tool, "a", json!({})) });
        assert!(matches!(world.registry().invoke(&call).await, Invoked::Ok(_)));
        assert_eq!(world.ledger.count("t"), attempt, "another attempt is another send");
    }
}
