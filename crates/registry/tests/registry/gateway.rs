//! The way of a call: what is refused before a byte is sent, what is answered from the record, who gets it.

use crate::bench::{Bench, Counting, definition, invocation, registration, until};
use axum::http::StatusCode;
use futures::future::join_all;
use maniple_backends::memory;
use maniple_core::{
    Kind, Tenant,
    ports::{
        Admission, DirectCall, Invocation, Invoked, LedgerKey, Opened, Opening, Outcome, Probed, Refusal, RefusalKind, Registration,
        RunCall, ToolRegistry, ToolStore, Tools,
    },
    tool::{Effect, Realm, Source, ToolDefinition, ToolState},
};
use maniple_registry::{
    GatewaySettings, Origin,
    credentials::{AuthStyle, Credential, CredentialKind, Credentials, Oauth2, Place},
};
use semver::VersionReq;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

fn refusal(invoked: Invoked) -> Refusal {
    match invoked {
        Invoked::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}
fn ok(invoked: Invoked) -> Value {
    match invoked {
        Invoked::Ok(value) => value,
        other => panic!("{other:?}"),
    }
}
fn with_parameter() -> Value {
    json!({ "parameters": { "type": "object", "properties": { "to": { "type": "string" } }, "required": ["to"] } })
}

#[tokio::test]
async fn what_may_not_go_is_refused_before_a_byte_is_sent() {
    let (bench, server) = (Bench::new(&["t@^1", "guarded"]).await, Counting::start().await);
    let tool = bench.register(definition(&server.url, with_parameter())).await.definition;
    let wrong = refusal(bench.call(&tool, json!({ "to": 7 }), "k1").await);
    assert_eq!(wrong.kind, RefusalKind::Arguments);
    assert!(wrong.message.contains("/to") && wrong.message.contains("string"), "a model can repair it: {wrong:?}");

    let mut theirs = invocation(&tool, json!({ "to": "b" }), "k2");
    theirs.agent = maniple_core::AgentName::parse("nobody").unwrap();
    assert_eq!(refusal(bench.called(theirs).await.invoked).kind, RefusalKind::NotGranted);
    let two =
        bench.registry.register(registration(definition(&server.url, json!({ "version": "2.0.0" })), "ann")).await.unwrap().definition;
    assert_eq!(refusal(bench.call(&two, json!({}), "k3").await).kind, RefusalKind::NotGranted, "2.0.0 is not in ^1");

    let guarded = definition(&server.url, json!({ "name": "guarded", "requires_approval": true }));
    let guarded = bench.register(guarded).await.definition;
    assert_eq!(refusal(bench.call(&guarded, json!({}), "k4").await).kind, RefusalKind::NeedsApproval);
    let other = ToolDefinition { description: "another".into(), ..tool.clone() };
    assert_eq!(refusal(bench.call(&other, json!({ "to": "b" }), "k5").await).kind, RefusalKind::NotFound, "not with that contract");
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn a_key_has_one_outcome_and_one_meaning() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let everybodys = || registration(definition(&server.url, with_parameter()), "ops");
    let tool = bench.registry.register(everybodys()).await.unwrap().definition;
    server.set_slow(50);
    let calls = join_all((0..50).map(|_| bench.call(&tool, json!({ "to": "b" }), "k"))).await;
    assert!(calls.iter().all(|outcome| *outcome == Invoked::Ok(json!({ "n": 1, "path": "/" }))), "{calls:?}");
    server.set_slow(0);
    assert_eq!(ok(bench.call(&tool, json!({ "to": "b" }), "k").await)["n"], 1, "from the record");
    assert_eq!(refusal(bench.call(&tool, json!({ "to": "c" }), "k").await).kind, RefusalKind::KeyReused);
    assert_eq!(server.calls(), 1);

    let mut elsewhere = invocation(&tool, json!({ "to": "c" }), "k");
    elsewhere.tenant = Tenant::parse("other").unwrap();
    assert_eq!(ok(bench.called(elsewhere).await.invoked)["n"], 2, "a key belongs to its tenant");

    // Another process over the same store answers from the record too.
    let later = Bench::over(bench.store.clone(), &["t"], GatewaySettings::default()).await;
    let tool = later.registry.register(everybodys()).await.unwrap().definition;
    assert_eq!(ok(later.call(&tool, json!({ "to": "b" }), "k").await)["n"], 1);
    assert_eq!(server.calls(), 2);
}

/// A record of a call that somebody opened and never closed, held for so long.
async fn left_open(bench: &Bench, key: &str, effect: Effect, lease: Duration) -> LedgerKey {
    let key = LedgerKey { tenant: Tenant::default(), principal: "ann".into(), tool: "t".into(), key: key.into() };
    let arguments_hash = maniple_core::canonical::hash(&json!({}));
    let opening = Opening { arguments_hash, effect, holder: "the dead".into(), lease };
    assert_eq!(bench.store.open_call(&key, &opening).await.unwrap(), Opened::New);
    key
}

#[tokio::test]
async fn a_call_whose_outcome_nobody_recorded_goes_by_its_effect_class() {
    for (effect, sent_again) in [("pure", true), ("idempotent", true), ("at_most_once", false)] {
        let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
        let tool = bench.register(definition(&server.url, json!({ "effect": effect }))).await.definition;
        // As a process that was killed in mid-call leaves it, and as it is found when its lease ran out.
        left_open(&bench, "k", tool.effect(), Duration::ZERO).await;
        let outcome = bench.call(&tool, json!({}), "k").await;
        assert_eq!(matches!(outcome, Invoked::Ok(_)), sent_again, "{effect}: {outcome:?}");
        assert_eq!(matches!(outcome, Invoked::Unknown(_)), !sent_again, "{effect}: {outcome:?}");
        assert_eq!(server.calls(), usize::from(sent_again), "{effect}");
        assert!(server.keys().iter().all(|key| key == "default/call/ann/k"));
    }
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_leave_a_doubt() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let tool = bench.register(definition(&server.url, json!({}))).await.definition;
    server.set_slow(200);
    let left = tokio::time::timeout(Duration::from_millis(60), bench.call(&tool, json!({}), "k")).await;
    assert!(left.is_err(), "it left before the answer");
    assert_eq!(ok(bench.call(&tool, json!({}), "k").await)["n"], 1);
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn the_result_of_a_pure_tool_is_used_again_for_as_long_as_it_says() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let fields = json!({ "effect": "pure", "cache_ttl_ms": 300 });
    let tool = bench.register(definition(&server.url, fields)).await.definition;
    let call = |key: &str, arguments: Value| {
        let (registry, call) = (bench.registry.clone(), DirectCall::new("ann", invocation(&tool, arguments, key)));
        async move { ok(registry.call(&call).await.invoked)["n"].clone() }
    };
    assert_eq!(call("k1", json!({ "a": 1, "b": 2 })).await, 1);
    assert_eq!(call("k2", json!({ "b": 2, "a": 1 })).await, 1, "the same arguments");
    assert_eq!(call("k3", json!({ "a": 2 })).await, 2, "other arguments");
    tokio::time::sleep(Duration::from_millis(320)).await;
    assert_eq!(call("k4", json!({ "a": 1, "b": 2 })).await, 3, "too old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_calls_at_once_exactly_the_limit_goes_and_the_rest_is_told_when() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let tool = bench.register(definition(&server.url, json!({ "rate_limit": 37 }))).await.definition;
    let calls = (0..1_000).map(|n| {
        let (registry, call) = (bench.registry.clone(), DirectCall::new("ann", invocation(&tool, json!({ "n": n }), &format!("k{n}"))));
        tokio::spawn(async move { registry.call(&call).await.invoked })
    });
    let outcomes: Vec<Invoked> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let went = outcomes.iter().filter(|outcome| matches!(outcome, Invoked::Ok(_))).count();
    let told = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Invoked::Wait(_, wait) if *wait <= Duration::from_secs(60) && !wait.is_zero()))
        .count();
    assert_eq!((went, told, server.calls()), (37, 963, 37));

    let mut another = invocation(&tool, json!({}), "k-other");
    another.agent = maniple_core::AgentName::parse("b").unwrap();
    assert!(matches!(bench.called(another).await.invoked, Invoked::Ok(_)), "each agent has its own");
}

#[tokio::test]
async fn one_version_is_balanced_over_its_instances_and_an_unhealthy_one_gets_nothing_until_it_is_well() {
    let (bench, a, b) = (Bench::quick(&["t"]).await, Counting::start().await, Counting::start().await);
    let at = |server: &Counting| definition(&server.url, json!({ "health_url": format!("{}/health", server.url) }));
    let renewing = bench.registry.clone();
    let both = [at(&a), at(&b)];
    let renewal = tokio::spawn(async move {
        loop {
            for definition in &both {
                renewing.register(registration(definition.clone(), "ann")).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    until("both serve", async || {
        bench.registry.versions(&Tenant::default(), "t").await.is_ok_and(|versions| versions[0].instances.len() == 2)
    })
    .await;
    let tool = bench.registry.versions(&Tenant::default(), "t").await.unwrap().remove(0).definition;
    for n in 0..20 {
        ok(bench.call(&tool, json!({}), &format!("k{n}")).await);
    }
    assert_eq!((a.calls(), b.calls()), (10, 10));

    a.set_well(false);
    until("one is unhealthy", async || {
        bench.registry.versions(&Tenant::default(), "t").await.unwrap()[0].instances.iter().any(|i| i.state == ToolState::Unhealthy)
    })
    .await;
    for n in 20..30 {
        ok(bench.call(&tool, json!({}), &format!("k{n}")).await);
    }
    assert_eq!((a.calls(), b.calls()), (10, 20));
    assert_eq!(bench.offered("t").await, ["t 1.0.0"], "the other is well");

    b.set_well(false);
    until("nobody is well", async || bench.offered("t").await.is_empty()).await;
    assert!(matches!(bench.call(&tool, json!({}), "k-none").await, Invoked::NotSent(why) if why.contains("unhealthy")));
    a.set_well(true);
    until("one is well again", async || !bench.offered("t").await.is_empty()).await;
    ok(bench.call(&tool, json!({}), "k-again").await);
    renewal.abort();
}

#[tokio::test]
async fn who_is_silent_leaves_and_its_version_stays_known() {
    let (bench, server) = (Bench::quick(&["t"]).await, Counting::start().await);
    let registered = bench.register(definition(&server.url, json!({}))).await;
    assert_eq!((registered.new_version, registered.lease_ms), (true, Some(1_500)));
    assert!(!bench.register(definition(&server.url, json!({}))).await.new_version, "renewed");
    until("it left", async || bench.registry.versions(&Tenant::default(), "t").await.unwrap()[0].instances.is_empty()).await;
    let known = bench.registry.versions(&Tenant::default(), "t").await.unwrap().remove(0);
    assert_eq!((known.state, known.owner.as_str()), (ToolState::Gone, "ann"));
    let changed = definition(&server.url, json!({ "description": "another" }));
    let told = bench.registry.register(registration(changed, "ann")).await.unwrap_err().to_string();
    assert!(told.contains("published with another contract"), "{told}");
}

#[tokio::test]
async fn who_calls_is_told_why_a_tool_is_away_only_where_it_runs_the_node() {
    for (tells_reasons, told, kept) in
        [(true, "nobody serves it now", "maniple tool show t"), (false, "maniple tool show t", "nobody serves")]
    {
        let settings = GatewaySettings { tells_reasons, ..GatewaySettings::default() };
        let (bench, server) = (Bench::over(Arc::new(memory::TaskStore::new()), &["t"], settings).await, Counting::start().await);
        let registered = bench.register(definition(&server.url, json!({}))).await;
        bench.registry.withdraw("t", &registered.instance, &registration(json!({}), "ann").by).await.unwrap();
        let range = "*".parse().unwrap();
        let picked = bench.registry.pick(&Tenant::default(), &invocation(&registered.definition, json!({}), "k").agent, "t", &range).await;
        for said in [picked.unwrap_err().message, format!("{:?}", bench.call(&registered.definition, json!({}), "k").await)] {
            assert!(said.contains(told) && !said.contains(kept), "{said}");
        }
    }
}

#[tokio::test]
async fn calls_beyond_those_that_may_be_under_way_wait() {
    let settings = GatewaySettings { calls_at_once: 1, ..GatewaySettings::default() };
    let (bench, server) = (Bench::over(Arc::new(memory::TaskStore::new()), &["t"], settings).await, Counting::start().await);
    let tool = bench.register(definition(&server.url, json!({}))).await.definition;
    server.set_slow(1_000);
    let (one, other) = tokio::join!(bench.call(&tool, json!({}), "a"), async {
        until("the first is there", async || server.calls() == 1).await;
        bench.call(&tool, json!({}), "b").await
    });
    assert!(matches!(&other, Invoked::Wait(told, _) if told.contains("under way")), "{other:?}");
    assert!(!matches!(one, Invoked::Wait(..)) && server.calls() == 1, "{one:?}");
    server.set_slow(0);
    assert!(!matches!(bench.call(&tool, json!({}), "b").await, Invoked::Wait(..)), "its place was given back");
}

#[tokio::test]
async fn a_name_belongs_to_whoever_registered_it_first() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let registered = bench.register(definition(&server.url, json!({}))).await;
    let next = |by: &str| registration(definition(&server.url, json!({ "version": "1.0.1" })), by);
    let denied = bench.registry.register(next("bob")).await.unwrap_err();
    assert_eq!((denied.kind, denied.message.contains("belongs to another principal")), (maniple_core::Kind::Denied, true));
    assert!(bench.registry.withdraw("t", &registered.instance, &next("bob").by).await.is_err());
    bench.registry.register(next("admin")).await.unwrap();
    assert_eq!(bench.registry.versions(&Tenant::default(), "t").await.unwrap()[0].owner, "ann");
    bench.registry.withdraw("t", &registered.instance, &next("ann").by).await.unwrap();
    assert_eq!(bench.registry.remove("t", None, &next("ann").by).await.unwrap(), 2);
    bench.registry.register(next("bob")).await.unwrap();
    assert_eq!(bench.registry.versions(&Tenant::default(), "t").await.unwrap()[0].owner, "bob");
}

#[tokio::test]
async fn after_failures_in_a_row_the_breaker_keeps_calls_away() {
    let bench = Bench::new(&["t"]).await;
    let server = Counting::start().await;
    server.set_well(false);
    let tool = bench.register(definition(&server.url, json!({}))).await.definition;
    for n in 0..5 {
        assert!(matches!(bench.call(&tool, json!({}), &format!("k{n}")).await, Invoked::Failed(_)));
    }
    let kept = bench.call(&tool, json!({}), "k-open").await;
    assert!(matches!(&kept, Invoked::NotSent(why) if why.contains("breaker is open")), "{kept:?}");
    assert_eq!(server.calls(), 5);
}

#[tokio::test]
async fn callers_that_are_in_a_hurry_do_not_keep_others_from_a_healthy_tool() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let tool = bench.register(definition(&server.url, json!({ "timeout_ms": 5_000 }))).await.definition;
    server.set_slow(100_000);
    for n in 0..10 {
        let hasty = Invocation { timeout: Duration::from_millis(12), ..invocation(&tool, json!({}), &format!("hasty{n}")) };
        let lost = bench.registry.invoke(&RunCall(hasty)).await;
        assert!(matches!(&lost, Invoked::Unknown(_) | Invoked::NotSent(_)), "{lost:?}");
        assert!(!format!("{lost:?}").contains("breaker"), "{lost:?}");
    }
    server.set_slow(0);
    ok(bench.registry.invoke(&RunCall(invocation(&tool, json!({}), "neighbour"))).await);
}

#[tokio::test]
async fn a_tool_that_is_silent_for_its_own_time_is_kept_away_from() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let tool = bench.register(definition(&server.url, json!({ "timeout_ms": 60 }))).await.definition;
    server.set_slow(100_000);
    for n in 0..5 {
        let call = Invocation { timeout: Duration::from_millis(60), ..invocation(&tool, json!({}), &format!("k{n}")) };
        assert!(matches!(bench.registry.invoke(&RunCall(call)).await, Invoked::Unknown(_)));
    }
    let kept = bench.registry.invoke(&RunCall(invocation(&tool, json!({}), "kept"))).await;
    assert!(matches!(&kept, Invoked::NotSent(why) if why.contains("breaker is open")), "{kept:?}");
}

#[tokio::test]
async fn a_broken_host_does_not_keep_others_from_fetching() {
    let (bench, server) = (Bench::new(&["http_fetch"]).await, Counting::start().await);
    let fetch = bench.registry.versions(&Tenant::default(), "http_fetch").await.unwrap()[0].definition.clone();
    server.set_well(false);
    for n in 0..10 {
        let failed = bench.registry.invoke(&RunCall(invocation(&fetch, json!({ "url": server.url }), &format!("k{n}")))).await;
        assert!(matches!(&failed, Invoked::Failed(_)), "{failed:?}");
    }
    server.set_well(true);
    ok(bench.registry.invoke(&RunCall(invocation(&fetch, json!({ "url": server.url }), "well"))).await);
}

#[tokio::test]
async fn a_call_that_waits_for_its_place_does_not_keep_the_breaker_from_trying() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    server.set_well(false);
    let tool = bench.register(definition(&server.url, json!({ "rate_limit": 6 }))).await.definition;
    for n in 0..5 {
        assert!(matches!(bench.call(&tool, json!({}), &format!("k{n}")).await, Invoked::Failed(_)));
    }
    assert!(matches!(bench.call(&tool, json!({}), "k-last").await, Invoked::NotSent(_)), "nowhere to go, so no place taken");
    let last = RunCall(invocation(&tool, json!({}), "k-last"));
    assert_eq!(bench.registry.admit(&last).await, Admission::Now);
    server.set_well(true);
    later(Duration::from_secs(11)).await;
    assert!(matches!(bench.call(&tool, json!({}), "k-more").await, Invoked::Wait(..)), "over the rate");
    assert_eq!(ok(bench.registry.invoke(&last).await)["n"], 6, "the one that has its place tries");
}

#[tokio::test]
async fn a_resend_with_a_new_token_is_counted_under_the_rate() {
    let tokens = Counting::start().await;
    let server = Counting::start().await;
    let host = server.url.trim_start_matches("http://").to_owned();
    let oauth2 = Oauth2 {
        token_url: format!("{}/token", tokens.url),
        client_id: "me".into(),
        secret: "s3cret".to_owned().into(),
        scopes: vec![],
        audience: None,
        auth_style: AuthStyle::Header,
    };
    let credential = Credential { kind: CredentialKind::Oauth2(oauth2), hosts: vec![host], users: [Realm::Node].into() };
    let credentials = Credentials::new([("c".to_owned(), credential)].into()).unwrap();
    let bench = Bench::with(Arc::new(memory::TaskStore::new()), &["t"], GatewaySettings::default(), credentials).await;
    let fields = json!({ "effect": "pure", "rate_limit": 4, "auth_type": "oauth2", "credential": "c" });
    let file: ToolDefinition = serde_json::from_value(definition(&server.url, fields)).unwrap();
    bench.registry.take_files(vec![file.clone()], maniple_registry::Files::Strict).await.unwrap();
    ok(bench.call(&file, json!({}), "k0").await);
    server.set_status(StatusCode::UNAUTHORIZED);
    later(Duration::from_secs(11)).await; // a token that is refused when it is new is not thrown away
    assert!(matches!(bench.call(&file, json!({}), "k1").await, Invoked::Failed(_)));
    assert_eq!(server.calls(), 3, "once more with a new token");
    later(Duration::from_secs(11)).await;
    assert!(matches!(bench.call(&file, json!({}), "k2").await, Invoked::Failed(_)));
    assert_eq!(server.calls(), 4, "the last of four; its resend has no place");
    assert!(matches!(bench.call(&file, json!({}), "k3").await, Invoked::Wait(..)));
    assert_eq!(server.calls(), 4);
}

/// A key for that server, for these tools.
fn key_for(server: &Counting, users: &[Realm]) -> Credentials {
    let kind = CredentialKind::ApiKey { place: Place::Header("x-key".into()), prefix: String::new(), secret: "s3cret".to_owned().into() };
    let hosts = vec![server.url.trim_start_matches("http://").to_owned()];
    Credentials::new([("shop".to_owned(), Credential { kind, hosts, users: users.iter().cloned().collect() })].into()).unwrap()
}

#[tokio::test]
async fn who_registers_a_tool_cannot_have_a_credential_sent_that_is_not_for_them() {
    let server = Counting::start().await;
    let named = definition(&format!("{}/anywhere", server.url), json!({ "auth_type": "api_key", "credential": "shop" }));
    let over = async |users: &[Realm], store: &Arc<dyn ToolStore>| {
        Bench::with(store.clone(), &["t"], GatewaySettings::default(), key_for(&server, users)).await
    };
    let added = || Registration { source: Source::Added, ..registration(named.clone(), "ann") };
    let empty = || Arc::new(memory::TaskStore::new()) as Arc<dyn ToolStore>;

    let closed = over(&[Realm::Node], &empty()).await;
    for registration in [added(), registration(named.clone(), "ann"), registration(named.clone(), "admin")] {
        let refused = closed.registry.register(registration).await.unwrap_err();
        assert_eq!((refused.kind, refused.field.as_deref()), (Kind::Invalid, Some("credential")));
        assert!(!refused.message.contains("127.0.0.1"), "its hosts are the operator's affair: {refused}");
    }
    let file: ToolDefinition = serde_json::from_value(named.clone()).unwrap();
    closed.registry.take_files(vec![file.clone()], maniple_registry::Files::Strict).await.unwrap();
    ok(closed.call(&file, json!({}), "k").await);
    assert_eq!(server.calls(), 1, "the operator's own tool goes with it");

    // Where it was for them once, what they added then is not sent with it now.
    let store = empty();
    let open = over(&[Realm::Of(Tenant::default())], &store).await;
    let tool = open.registry.register(added()).await.unwrap().definition;
    ok(open.call(&tool, json!({}), "k").await);
    let later = over(&[Realm::Node], &store).await;
    assert_eq!(refusal(later.call(&tool, json!({}), "k2").await).kind, RefusalKind::Forbidden);
    assert_eq!(server.calls(), 2);
}

/// It is so much later, all at once.
async fn later(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

#[tokio::test]
async fn what_was_added_is_served_wherever_it_was_added_after_a_restart_too() {
    let (bench, one, other) = (Bench::new(&["t"]).await, Counting::start().await, Counting::start().await);
    // It had registered itself before.
    bench.register(definition(&one.url, json!({}))).await;
    for server in [&one, &other, &other] {
        let added = Registration { source: Source::Added, ..registration(definition(&server.url, json!({})), "ann") };
        assert!(!bench.registry.register(added).await.unwrap().new_version, "the version is known");
    }
    let later = Bench::over(bench.store.clone(), &["t"], GatewaySettings::default()).await;
    let known = &later.registry.versions(&Tenant::default(), "t").await.unwrap()[0];
    let mut endpoints: Vec<&str> = known.instances.iter().map(|instance| instance.endpoint.as_str()).collect();
    endpoints.sort_unstable();
    let mut expected = [one.url.as_str(), &other.url];
    expected.sort_unstable();
    assert_eq!((known.state, &*endpoints), (ToolState::Healthy, &expected[..]));
    for n in 0..4 {
        ok(later.call(&known.definition, json!({}), &format!("k{n}")).await);
    }
    assert_eq!((one.calls(), other.calls()), (2, 2));
    assert_eq!(later.registry.remove("t", None, &registration(json!({}), "ann").by).await.unwrap(), 1);
    let last = Bench::over(bench.store.clone(), &["t"], GatewaySettings::default()).await;
    assert!(last.registry.versions(&Tenant::default(), "t").await.is_err(), "it was removed");
}

#[tokio::test]
async fn a_call_did_not_happen_only_where_every_instance_says_so() {
    let (bench, one, other) = (Bench::new(&["t"]).await, Counting::start().await, Counting::start().await);
    for server in [&one, &other] {
        bench.register(definition(&server.url, json!({ "probe_url": format!("{}/probe", server.url) }))).await;
    }
    let tool = bench.registry.versions(&Tenant::default(), "t").await.unwrap()[0].definition.clone();
    let call = RunCall(invocation(&tool, json!({}), "k"));
    one.set_status(StatusCode::NOT_FOUND);
    assert!(matches!(bench.registry.probe(&call).await, Probed::Happened(_)), "the other one knows of it");
    other.set_status(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(bench.registry.probe(&call).await, Probed::Unknown, "the other one may know of it");
    other.set_status(StatusCode::NOT_FOUND);
    assert_eq!(bench.registry.probe(&call).await, Probed::DidNot);
}

#[tokio::test]
async fn where_a_call_went_is_asked_about_it_though_it_has_left() {
    let (bench, one, other) = (Bench::new(&["t"]).await, Counting::start().await, Counting::start().await);
    let probed = |server: &Counting| definition(&server.url, json!({ "timeout_ms": 100, "probe_url": format!("{}/probe", server.url) }));
    let tool = bench.register(probed(&one)).await.definition;
    let call = RunCall(invocation(&tool, json!({}), "k"));
    one.set_slow(60_000);
    assert!(matches!(bench.registry.invoke(&call).await, Invoked::Unknown(_)));
    assert_eq!(bench.registry.remove("t", None, &registration(json!({}), "ann").by).await.unwrap(), 1);
    one.set_slow(0);
    other.set_status(StatusCode::NOT_FOUND);
    let tool = bench.register(probed(&other)).await.definition;
    // The run goes on with the definition of whoever is there now.
    let call = RunCall(invocation(&tool, json!({}), "k"));
    assert!(matches!(bench.registry.probe(&call).await, Probed::Happened(_)), "it went to the one that left");
    let another = RunCall(invocation(&tool, json!({}), "another"));
    assert_eq!(bench.registry.probe(&another).await, Probed::DidNot);
}

#[tokio::test]
async fn a_call_in_doubt_stays_so_although_a_newer_version_promises_more() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    bench.register(definition(&server.url, json!({}))).await;
    // As a process that was killed in mid-call leaves it.
    let key = left_open(&bench, "k", Effect::AtMostOnce, Duration::ZERO).await;
    let newer = bench.register(definition(&server.url, json!({ "version": "2.0.0", "effect": "idempotent" }))).await.definition;
    assert!(matches!(bench.call(&newer, json!({}), "k").await, Invoked::Unknown(_)));
    assert_eq!(server.calls(), 0);
    let outcome = Outcome::Ok(json!("then"));
    bench.store.close_call(&key, &outcome).await.unwrap();
    assert_eq!(bench.call(&newer, json!({}), "k").await, Invoked::Ok(json!("then")), "what has its outcome is answered from the record");
    assert_eq!(refusal(bench.call(&newer, json!({ "n": 1 }), "k").await).kind, RefusalKind::KeyReused);
}

#[tokio::test]
async fn the_strictest_rate_of_all_instances_holds_and_what_is_sent_again_is_counted_again() {
    let (bench, one, other) = (Bench::new(&["t", "u"]).await, Counting::start().await, Counting::start().await);
    bench.register(definition(&one.url, json!({}))).await;
    let tool = bench.register(definition(&other.url, json!({ "rate_limit": 2 }))).await.definition;
    for n in 0..6 {
        bench.call(&tool, json!({}), &format!("k{n}")).await;
    }
    assert_eq!(one.calls() + other.calls(), 2);

    let fields = json!({ "name": "u", "effect": "idempotent", "rate_limit": 2 });
    let tool = bench.register(definition(&one.url, fields)).await.definition;
    one.set_slow(60_000);
    let before = one.calls();
    for _ in 0..5 {
        let call = Invocation { timeout: Duration::from_secs(1), send: "always the same".into(), ..invocation(&tool, json!({}), "k") };
        bench.called(call).await;
    }
    assert_eq!(one.calls() - before, 2);
}

#[tokio::test]
async fn a_file_takes_a_name_that_somebody_registered_and_nothing_of_theirs_is_called() {
    let (bench, theirs, ours) = (Bench::new(&["t"]).await, Counting::start().await, Counting::start().await);
    for number in ["1.0.0", "1.9.0"] {
        let fields = json!({ "version": number, "description": "theirs" });
        bench.registry.register(registration(definition(&theirs.url, fields), "ann")).await.unwrap();
    }
    let file: ToolDefinition = serde_json::from_value(definition(&ours.url, json!({}))).unwrap();
    let broken = ToolDefinition { name: "u".into(), endpoint: "nowhere".into(), ..file.clone() };
    bench.registry.take_files(vec![file.clone(), broken], maniple_registry::Files::Strict).await.unwrap_err();
    assert_eq!(bench.registry.versions(&Tenant::default(), "t").await.unwrap().len(), 2, "all or nothing");
    bench.registry.take_files(vec![file.clone()], maniple_registry::Files::Strict).await.unwrap();
    let versions = bench.registry.versions(&Tenant::default(), "t").await.unwrap();
    assert_eq!((versions.len(), versions[0].owner.as_str(), versions[0].instances.len()), (1, "operator", 1));
    let again = registration(definition(&theirs.url, json!({ "version": "1.9.0", "description": "theirs" })), "ann");
    assert_eq!(bench.registry.register(again).await.unwrap_err().kind, maniple_core::Kind::Denied);
    ok(bench.call(&file, json!({}), "k").await);
    assert_eq!((theirs.calls(), ours.calls()), (0, 1));
}

#[tokio::test]
async fn an_import_that_leads_elsewhere_under_its_version_is_not_used_until_it_leads_back() {
    let (bench, good, evil) = (Bench::new(&["t"]).await, Counting::start().await, Counting::start().await);
    let take = async |server: &Counting| {
        let tool: ToolDefinition = serde_json::from_value(definition(&server.url, json!({}))).unwrap();
        let origin = Origin::Openapi { document: "shop".into(), has_base_url: false };
        assert!(bench.registry.take(&origin, vec![tool.into()]).await.unwrap().is_empty());
        bench.registry.versions(&Tenant::default(), "t").await.unwrap()[0].clone()
    };
    assert_eq!(take(&good).await.state, ToolState::Healthy);
    for _ in 0..2 {
        let astray = take(&evil).await;
        assert!(astray.state == ToolState::Quarantined && astray.reason.unwrap().contains("leads elsewhere"));
    }
    assert_eq!(take(&good).await.state, ToolState::Healthy);
}

#[tokio::test]
async fn what_a_journal_has_seen_to_can_be_checked_for_whoever_does_not_see_the_journal() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let fields = json!({ "requires_approval": true, "parameters": with_parameter()["parameters"] });
    let tool = bench.register(definition(&server.url, fields)).await.definition;
    let check = async |call: Invocation| bench.registry.check(&RunCall(call)).await.map_err(|refusal| refusal.kind);
    assert_eq!(check(invocation(&tool, json!({ "to": 1 }), "k")).await, Err(RefusalKind::Arguments));
    let nobody = maniple_core::AgentName::parse("nobody").unwrap();
    assert_eq!(check(Invocation { agent: nobody, ..invocation(&tool, json!({ "to": "a" }), "k") }).await, Err(RefusalKind::NotGranted));
    assert_eq!(check(invocation(&tool, json!({ "to": "a" }), "k")).await, Ok(()), "its consent is in the journal");
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn two_names_that_would_become_one_stay_two_tools() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let bring = async |name: &str| bench.registry.register(registration(definition(&server.url, json!({ "name": name })), "ann")).await;
    bring("get.user").await.unwrap();
    bring("get.user").await.expect("it renews its lease");
    let refused = bring("get/user").await.unwrap_err();
    assert_eq!((refused.kind, refused.field.as_deref()), (maniple_core::Kind::Conflict, Some("name")));
    bring("other").await.unwrap();
}

#[tokio::test]
async fn an_agent_gets_what_it_was_granted_and_no_more() {
    let (bench, server) = (Bench::new(&["t@^1"]).await, Counting::start().await);
    bench.register(definition(&server.url, json!({}))).await;
    bench.register(definition(&server.url, json!({ "version": "2.0.0" }))).await;
    bench.register(definition(&server.url, json!({ "name": "u" }))).await;
    let pick = async |agent: &str, name: &str, range: &str| {
        let agent = maniple_core::AgentName::parse(agent).unwrap();
        let picked = bench.registry.pick(&Tenant::default(), &agent, name, &VersionReq::parse(range).unwrap()).await;
        picked.map(|offer| offer.definition.version.to_string()).map_err(|refusal| refusal.kind)
    };
    assert_eq!(pick("a", "t", "*").await, Ok("1.0.0".into()));
    assert_eq!(pick("a", "t", "^2").await, Err(RefusalKind::NotFound));
    assert_eq!(pick("a", "u", "*").await, Err(RefusalKind::NotGranted));
    assert_eq!(pick("a", "v", "*").await, Err(RefusalKind::NotFound));
    assert_eq!(pick("nobody", "t", "*").await, Err(RefusalKind::NotGranted));
}

#[tokio::test]
async fn a_run_ends_on_the_version_it_began_with_although_its_file_moved_on() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let file = |version: &str| serde_json::from_value::<ToolDefinition>(definition(&server.url, json!({ "version": version }))).unwrap();
    bench.registry.take_files(vec![file("1.0.0")], maniple_registry::Files::Strict).await.unwrap();
    let call = Invocation { trusted: true, ..invocation(&file("1.0.0"), json!({}), "k") };
    bench.registry.take_files(vec![file("1.1.0")], maniple_registry::Files::Strict).await.unwrap();
    assert_eq!(ok(bench.registry.invoke(&RunCall(call.clone())).await)["n"], 1);
    assert!(!matches!(bench.called(call).await.invoked, Invoked::Ok(_)), "a caller without a run gets what there is now");
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn one_name_of_a_send_is_not_a_way_around_the_rate() {
    let (bench, server) = (Bench::new(&["t"]).await, Counting::start().await);
    let tool = bench.register(definition(&server.url, json!({ "rate_limit": 2 }))).await.definition;
    for n in 0..6 {
        let call = Invocation { send: "always the same".into(), ..invocation(&tool, json!({}), &format!("k{n}")) };
        assert_eq!(matches!(bench.registry.invoke(&RunCall(call)).await, Invoked::Ok(_)), n < 2, "call {n}");
    }
    assert_eq!(server.calls(), 2);
}

#[tokio::test]
async fn a_registration_takes_no_place_of_a_files_instance() {
    let (bench, server) = (Bench::quick(&["t"]).await, Counting::start().await);
    let file: ToolDefinition = serde_json::from_value(definition(&server.url, json!({}))).unwrap();
    bench.registry.take_files(vec![file], maniple_registry::Files::Strict).await.unwrap();
    let with_tag = definition(&server.url, json!({ "tags": ["mine"] }));
    bench.registry.register(registration(with_tag, "ops")).await.unwrap();
    until("the registration left", async || bench.registry.versions(&Tenant::default(), "t").await.unwrap()[0].instances.len() == 1).await;
    assert_eq!(bench.offered("t").await, ["t 1.0.0"]);
}
