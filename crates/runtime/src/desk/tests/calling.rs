//! Calls of tools at the desk. What the registry makes of them is its suite's to say.

use super::*;
use maniple_core::{
    ports::{Invoked, Refusal, RefusalKind},
    tool::ToolState,
};

/// A call of the tool `pay` on the grant of `search`.
pub fn pay() -> ToolCall {
    ToolCall {
        tool: "pay".into(),
        agent: agent(),
        arguments: Default::default(),
        range: "*".parse().unwrap(),
        contract: None,
        tenant: None,
        timeout: None,
        trace: None,
        audience: None,
    }
}

fn of_run(key: &str, send: &str) -> OfRun {
    OfRun { key: key.into(), send: send.into(), agreed: None }
}

fn went(none: NoResult) -> Invoked {
    match none {
        NoResult::Went(outcome) => outcome,
        NoResult::Refused(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_out_in_the_name_of_who_asks_for_the_version_that_the_agent_gets() {
    let node = node();
    let trace = TraceContext::begin(7, 8);
    let call = ToolCall { range: "^1".parse().unwrap(), trace: Some(trace.clone()), timeout: Some(Duration::from_secs(60)), ..pay() };
    let direct = Direct { principal: None, key: Some(IdempotencyKey::parse("order-7").unwrap()) };
    let called = node.desk.call(&named("ann"), call, direct).await.unwrap();
    assert_eq!((called.version.to_string(), called.replayed), ("1.0.0".to_owned(), false));
    let sent = node.registry.call();
    assert_eq!((sent.key.as_str(), sent.trace, sent.timeout), ("default/call/ann/order-7", Some(trace), Duration::from_secs(5)));
    for (who, other, asks) in
        [(named("root"), "bob", "bob"), (Principal { scopes: only(Scope::Tools), ..named("node") }, "bob", "node/bob")]
    {
        node.desk.call(&who, pay(), Direct { principal: Some(other.into()), key: None }).await.unwrap();
        assert_eq!(seen(&node.registry.direct).last().unwrap().principal(), asks, "whoever is no admin speaks within its own name");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_made_says_how_it_went() {
    let node = node();
    let call = async |call: ToolCall| went(node.desk.call(&me(), call, Direct::default()).await.unwrap_err());
    let refused = async |what: ToolCall| match call(what).await {
        Invoked::Refused(Refusal { kind, .. }) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(ToolCall { tool: "none".into(), ..pay() }).await, RefusalKind::NotFound);
    assert_eq!(refused(ToolCall { tool: "clock".into(), ..pay() }).await, RefusalKind::NotGranted);
    assert_eq!(refused(ToolCall { contract: Some("0000".into()), ..pay() }).await, RefusalKind::NotFound);
    for tool in ["pay@1.0.0", "pay@2.0.0"] {
        node.registry.change(tool, |known| known.state = ToolState::Unhealthy);
    }
    assert!(matches!(call(pay()).await, Invoked::NotSent(_)), "it may come back");
    assert!(seen(&node.registry.calls).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_although_its_caller_leaves_and_has_its_place_until_it_ends() {
    let store = Arc::new(memory::TaskStore::new());
    let registry = Arc::new(Fake::with(&["pay@1.0.0"]));
    let limits = Limits { in_flight_requests: 1, ..Limits::default() };
    let agents = Agents::new([definition("search")]);
    let parts = DeskParts {
        tasks: store,
        bus: Arc::new(local::Bus::new()),
        agents,
        registry: registry.clone(),
        aside: Default::default(),
        starter: None,
        tracing: Default::default(),
    };
    let desk = Desk::new(parts, Terms { limits, ..Terms::default() });
    registry.will(Duration::from_secs(5), Invoked::Ok(json!(1)));
    let me = me();
    let asked = desk.call(&me, pay(), Direct::default());
    assert!(tokio::time::timeout(Duration::from_secs(1), asked).await.is_err(), "it leaves in the middle");
    assert!(matches!(went(desk.call(&me, pay(), Direct::default()).await.unwrap_err()), Invoked::NotSent(_)));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((seen(&registry.calls).len(), *seen(&registry.finished)), (1, 1));
    assert!(desk.call(&me, pay(), Direct::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_came_of_a_send_is_its_principals_to_know() {
    let node = node();
    let (ann, bob, run) = (named("ann"), named("bob"), || of_run("t:1:0", "s1"));
    assert!(node.desk.came_of(&ann, &pay(), &run()).await.unwrap().is_none(), "asking makes nothing");
    let called = node.desk.call_for_run(&ann, pay(), run()).await.unwrap();
    assert_eq!(node.desk.call_for_run(&ann, pay(), run()).await.unwrap(), called);
    assert_eq!(node.desk.came_of(&ann, &pay(), &run()).await.unwrap(), Some(called));
    assert!(node.desk.came_of(&bob, &pay(), &run()).await.unwrap().is_none());
    assert_eq!(seen(&node.registry.calls).len(), 1);
    let wrong = node.desk.call_for_run(&ann, pay(), of_run("default/call/ann/k", "s2")).await.unwrap_err();
    assert!(matches!(wrong, NoResult::Refused(error) if error.field.as_deref() == Some("run.key")), "a direct call's key is no run's");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_a_registration_is_of_what_is_registered() {
    let node = node();
    let key = || Some(IdempotencyKey::parse("k").unwrap());
    let tool = |version: &str| Definition {
        definition: serde_json::to_value(maniple_testkit::catalogue::definition("new", version)).unwrap(),
        source: maniple_core::tool::Source::Added,
        unproven_because: None,
    };
    assert_eq!(node.desk.register(&me(), tool("1.0.0"), key()).await.unwrap().1, KeyWas::New);
    assert_eq!(node.desk.register(&me(), tool("1.0.0"), key()).await.unwrap().1, KeyWas::Known);
    assert_eq!(node.desk.register(&me(), tool("1.1.0"), key()).await.unwrap_err().field.as_deref(), Some("Idempotency-Key"));
    assert_eq!(seen(&node.registry.registrations).len(), 2, "it renews all the same");
}
