//! Calls of tools through the door.

use super::*;
use maniple_core::{
    Tenant,
    ports::{Invoked, Refusal},
};

fn refused(kind: RefusalKind) -> Invoked {
    Invoked::Refused(Refusal { kind, message: "no".into() })
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_on_the_agents_grant_under_its_key_and_joins_the_callers_trace() {
    let (house, registry) = shop(&["a@2.0.0", "a@1.2.0"]);
    registry.will(Duration::ZERO, Invoked::Ok(json!({ "sum": 3 })));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = json!({ "agent": "search", "arguments": { "n": 1 }, "version": "^1", "timeout_ms": 60_000 });
    let mut request = posting("/tools/a/invoke", &body);
    request.headers_mut().insert("idempotency-key", "order-7".parse().unwrap());
    request.headers_mut().insert("traceparent", parent.parse().unwrap());
    let answer = house.ask(request).await;
    assert_eq!(answer.json(), json!({ "result": { "sum": 3 }, "tool": "a", "version": "1.2.0" }));
    assert_eq!(answer.header("idempotency-replayed"), None);
    let call = registry.call();
    assert_eq!((call.key.as_str(), call.agent.as_str(), call.arguments), ("default/call/local/order-7", "search", json!({ "n": 1 })));
    assert_eq!((call.timeout, call.trusted), (Duration::from_secs(5), true), "never longer than the tool's own");
    assert_eq!((call.trace.unwrap().traceparent.as_str(), call.tenant), (parent, Tenant::default()));

    let again = house.post_with("/tools/a/invoke", body, ("Idempotency-Key", "order-7")).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (StatusCode::OK, Some("true")));
    house.post("/tools/a/invoke", json!({ "agent": "search", "timeout_ms": 70 })).await;
    let made = registry.call();
    assert!(made.key.len() > 20 && made.send.len() > 20 && made.key != made.send, "names are made: {} {}", made.key, made.send);
    assert_eq!((made.timeout, made.arguments, made.tool.version.to_string()), (Duration::from_millis(70), json!({}), "2.0.0".into()));
}

#[tokio::test(start_paused = true)]
async fn every_outcome_has_its_status_and_says_all_of_itself() {
    let (house, registry) = shop(&["a@1.0.0"]);
    let failure = json!({ "status": 418, "body": "short and stout" });
    let table = [
        (Invoked::Failed(failure.clone()), 502, json!({ "status": "failed", "result": failure })),
        (Invoked::NotSent("down".into()), 503, json!({ "status": "not_sent", "message": "down" })),
        (
            Invoked::Wait("often".into(), Duration::from_millis(1_001)),
            429,
            json!({ "status": "wait", "message": "often", "wait_ms": 1001 }),
        ),
        (Invoked::Unknown("cut".into()), 504, json!({ "status": "unknown", "message": "cut" })),
        (refused(RefusalKind::Arguments), 422, json!({ "status": "refused", "reason": "arguments", "message": "no" })),
        (refused(RefusalKind::KeyReused), 422, json!({ "status": "refused", "reason": "key_reused", "message": "no" })),
        (refused(RefusalKind::NotGranted), 403, json!({ "status": "refused", "reason": "not_granted", "message": "no" })),
        (refused(RefusalKind::NeedsApproval), 403, json!({ "status": "refused", "reason": "needs_approval", "message": "no" })),
        (refused(RefusalKind::Forbidden), 403, json!({ "status": "refused", "reason": "forbidden", "message": "no" })),
        (refused(RefusalKind::NotFound), 404, json!({ "status": "refused", "reason": "not_found", "message": "no" })),
        (refused(RefusalKind::Quarantined), 409, json!({ "status": "refused", "reason": "quarantined", "message": "no" })),
    ];
    for (invoked, status, outcome) in table {
        registry.will(Duration::ZERO, invoked);
        let answer = house.post("/tools/a/invoke", json!({ "agent": "search" })).await;
        let wait = answer.header("retry-after").map(str::to_owned);
        assert_eq!(answer.problem(status)["outcome"], outcome);
        let expected = match status {
            429 => Some("2".to_owned()),
            503 => Some("1".to_owned()),
            _ => None,
        };
        assert_eq!(wait, expected, "{outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_called_is_refused_before_it_is_a_call() {
    let (house, registry) = shop(&["a@1.0.0", "clock@1.0.0"]);
    let ask = |tool: &'static str, body: Value| house.post(tool, body);
    assert_eq!(ask("/tools/none/invoke", json!({ "agent": "search" })).await.problem(404)["outcome"]["reason"], "not_found");
    assert_eq!(ask("/tools/clock/invoke", json!({ "agent": "search" })).await.problem(403)["outcome"]["reason"], "not_granted");
    for (body, field) in [
        (json!({ "agent": "search", "argument": {} }), "argument"),
        (json!({ "agent": "search", "arguments": "n" }), "arguments"),
        (json!({ "agent": "search", "version": "one" }), "version"),
        (json!({ "agent": "search", "key": "k" }), "key"),
        (json!({ "agent": "A!" }), "agent"),
        (json!({}), "agent"),
    ] {
        assert_eq!(ask("/tools/a/invoke", body.clone()).await.problem(422)["field"], field, "{body}");
    }
    registry.change("a@1.0.0", |known| known.state = ToolState::Unhealthy);
    assert_eq!(
        ask("/tools/a/invoke", json!({ "agent": "search" })).await.problem(503)["outcome"]["status"],
        "not_sent",
        "it may come back"
    );
    house.post_with("/tools/a/invoke", json!({ "agent": "search" }), ("Idempotency-Key", "")).await.problem(400);
    assert_eq!(ask("/tools/a/admit", json!({ "agent": "search" })).await.problem(422)["field"], "run");
    assert_eq!(ask("/tools/a/probe", json!({ "agent": "search" })).await.problem(422)["field"], "key");
    assert!(seen(&registry.calls).is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_an_operator_calls_for_another_tenant_or_in_another_principals_name() {
    let (house, registry) = locked_shop(&["a@1.0.0"]);
    let call = |more: Value| {
        let mut body = json!({ "agent": "search" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut request = posting("/tools/a/invoke", &body);
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        request
    };
    for (who, tenant) in [("maker", "acme"), ("root", "default")] {
        assert_eq!(as_(&house, who, call(json!({ "tenant": tenant }))).await.problem(403)["field"], "tenant");
    }
    for (who, more, key) in [
        ("maker", json!({ "tenant": "default" }), "default/call/maker/k"),
        ("maker", json!({ "principal": "maker" }), "default/call/maker/k"),
        ("maker", json!({ "principal": "root" }), "default/call/maker%2Froot/k"),
        ("root", json!({ "principal": "maker" }), "acme/call/root%2Fmaker/k"),
        ("node", json!({ "tenant": "other" }), "other/call/node/k"),
        ("node", json!({ "tenant": "acme", "principal": "maker" }), "acme/call/maker/k"),
    ] {
        assert_eq!(as_(&house, who, call(more)).await.status, StatusCode::OK);
        assert_eq!(registry.call().key, key);
    }
    assert_eq!(as_(&house, "root", call(json!({ "principal": "a\nb" }))).await.problem(422)["field"], "principal");
}

#[tokio::test(start_paused = true)]
async fn who_means_a_contract_gets_that_or_none() {
    let (house, registry) = shop(&["a@1.1.0", "a@1.0.0"]);
    let contract = definition("a", "1.0.0").contract_hash();
    let ask = |contract: &str| json!({ "agent": "search", "version": "=1.0.0", "contract": contract });
    registry.change("a@1.0.0", |known| known.state = ToolState::Unhealthy);
    assert_eq!(house.post("/tools/a/invoke", ask(&contract)).await.json()["version"], "1.0.0", "the registry says how it is served");
    let other = house.post("/tools/a/invoke", ask("0000")).await.problem(404);
    assert_eq!(other["outcome"]["reason"], "not_found");
    assert_eq!(seen(&registry.calls).len(), 1, "no other contract is called");
}

#[tokio::test(start_paused = true)]
async fn a_runtime_asks_what_it_gets() {
    let (house, _) = shop(&["a@1.0.0", "b@1.0.0", "clock@1.0.0"]);
    let offered = |answer: &Value| {
        answer["offers"].as_array().unwrap().iter().map(|o| o["definition"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = house.post("/tools/resolve", json!({ "agent": "search" })).await.json();
    assert_eq!(offered(&all), ["a", "b"]);
    let some = house.post("/tools/resolve", json!({ "agent": "search", "tools": ["b@^1", "a"] })).await.json();
    assert_eq!(offered(&some), ["b", "a"]);
    assert_eq!(offered(&house.post("/tools/resolve", json!({ "agent": "search", "pick": "a@^1" })).await.json()), ["a"]);
    let none = house.post("/tools/resolve", json!({ "agent": "search", "pick": "clock" })).await.problem(403);
    assert_eq!(none["outcome"]["reason"], "not_granted");
    assert_eq!(house.post("/tools/resolve", json!({ "agent": "search", "tools": ["a@one"] })).await.problem(422)["field"], "tools");
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_although_its_caller_leaves() {
    let (house, registry) = shop(&["a@1.0.0"]);
    registry.will(Duration::from_secs(2), Invoked::Ok(json!(1)));
    let asked = house.post("/tools/a/invoke", json!({ "agent": "search" }));
    assert!(tokio::time::timeout(Duration::from_secs(1), asked).await.is_err(), "it leaves in the middle");
    assert_eq!((seen(&registry.calls).len(), *seen(&registry.finished)), (1, 0));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(*seen(&registry.finished), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_beyond_what_the_node_takes_at_once_is_not_sent_although_the_callers_of_the_others_left() {
    let registry = Arc::new(Fake::with(&["a@1.0.0"]));
    let desk = desk::Limits { in_flight_requests: 1, ..desk::Limits::default() };
    let house = build(Plan { registry: registry.clone(), desk, ..Plan::default() });
    registry.will(Duration::from_secs(5), Invoked::Ok(json!(1)));
    let asked = house.post("/tools/a/invoke", json!({ "agent": "search" }));
    assert!(tokio::time::timeout(Duration::from_secs(1), asked).await.is_err());
    let full = house.post("/tools/a/invoke", json!({ "agent": "search" })).await.problem(503);
    assert_eq!(full["outcome"]["status"], "not_sent");
    assert_eq!(seen(&registry.calls).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_direct_call_in_doubt_is_asked_about_under_the_key_it_had() {
    let (house, _) = shop(&["a@1.0.0"]);
    let asked = house.post("/tools/a/probe", json!({ "agent": "search", "key": "order-7" })).await.json();
    assert_eq!(asked, json!({ "probed": "happened", "result": { "key": "default/call/local/order-7" } }));
}
