//! What runs ask of people, over HTTP.

use super::*;
use maniple_core::{
    Tenant,
    event::{ApprovalRequested, Event, Question},
    ports::{Also, Append, Room, Then},
    task::Progress,
    tool::Way,
};

/// A node nobody works at, whose task asks for two calls; its router and a caller for it.
async fn asking(auth: Auth, token: Option<&str>) -> House {
    let house = build(Plan { work: false, auth, ..Plan::default() });
    let mut request = Request::post("/tasks").header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let task = json!({ "id": "a:b", "prompt": "pay" }).to_string();
    let accepted = house.router.clone().oneshot(request.body(Body::from(task)).unwrap()).await.unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let claimed = house.store.claim(&[AgentName::parse("search").unwrap()], &Room::of(1)).await.unwrap().remove(0);
    let request = |index: u32| {
        let expires_at = claimed.now.plus(Duration::from_secs(60));
        Event::ApprovalRequested(ApprovalRequested {
            id: format!("a:b:1:{index}"),
            index,
            question: Question::MayCall,
            tool: "pay".into(),
            version: "1.0.0".parse().unwrap(),
            contract: "c0".into(),
            way: Some(Way {
                host: "https://pay.test".into(),
                path: "/charge".into(),
                credential: Some("till".into()),
                places: Default::default(),
                body: None,
            }),
            arguments: json!({ "amount": index }),
            arguments_hash: "h0".into(),
            expires_at,
        })
    };
    let append = Append {
        claim: claimed.claim.clone(),
        after: 1,
        events: vec![(1, request(0)), (1, request(1))],
        signals_read: vec![],
        progress: Progress::default(),
        also: vec![Also::Ask { event: 0 }, Also::Ask { event: 1 }],
        then: Then::Keep,
    };
    house.store.append(append).await.unwrap();
    house
}

async fn ask(house: &House, method: &str, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Value) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map(|body| body.to_string());
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let response = house.router.clone().oneshot(request.body(body.map_or_else(Body::empty, Body::from)).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = taken(response.into_body()).await;
    (status, headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn what_a_run_asks_is_listed_shown_and_decided_once() {
    let house = asking(Auth::Open, None).await;
    let (_, _, page) = ask(&house, "GET", "/approvals?state=open&limit=1", None, &[]).await;
    assert_eq!(page["approvals"][0]["id"], "a:b:1:0");
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, _, next) = ask(&house, "GET", &format!("/approvals?cursor={cursor}&task_id=a:b&agent=search"), None, &[]).await;
    assert_eq!((&next["approvals"][0]["id"], &next["next_cursor"]), (&json!("a:b:1:1"), &Value::Null));
    let (_, _, shown) = ask(&house, "GET", "/approvals/a%3Ab%3A1%3A0", None, &[]).await;
    let expected = json!({
        "id": "a:b:1:0", "task_id": "a:b", "agent": "search", "step": 1, "question": "may_call", "tool": "pay", "version": "1.0.0",
        "way": { "host": "https://pay.test", "path": "/charge", "credential": "till" },
        "contract": "c0", "arguments": { "amount": 0 }, "requested_at": shown["requested_at"], "expires_at": shown["expires_at"],
        "state": "open", "decision": null,
    });
    assert_eq!(shown, expected);

    let deny = json!({ "decision": "deny", "reason": "too dear" });
    let (status, _, denied) = ask(&house, "POST", "/approvals/a:b:1:0", Some(deny.clone()), &[]).await;
    assert_eq!((status, &denied["state"], &denied["decision"]["by"]), (StatusCode::OK, &json!("denied"), &json!("local")));
    assert_eq!(denied["decision"]["reason"], "too dear");
    let (again, _, same) = ask(&house, "POST", "/approvals/a:b:1:0", Some(deny), &[]).await;
    assert_eq!((again, same), (StatusCode::OK, denied));
    let (other, _, _) = ask(&house, "POST", "/approvals/a:b:1:0", Some(json!({ "decision": "approve" })), &[]).await;
    assert_eq!(other, StatusCode::CONFLICT);
    assert_eq!(
        house
            .store
            .signals(&maniple_core::TaskKey { tenant: Tenant::default(), id: maniple_core::TaskId::parse("a:b").unwrap() })
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_decision_is_named() {
    let house = asking(Auth::Open, None).await;
    for (body, field) in [
        (json!({}), "decision"),
        (json!({ "decision": "maybe" }), "decision"),
        (json!({ "decision": "approve", "because": "x" }), "because"),
        (json!({ "decision": "deny", "reason": "x".repeat(4_097) }), "reason"),
    ] {
        let (status, _, problem) = ask(&house, "POST", "/approvals/a:b:1:0", Some(body), &[]).await;
        assert_eq!((status, &problem["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)), "{problem}");
    }
    let (status, _, _) = ask(&house, "POST", "/approvals/nobody:1:0", Some(json!({ "decision": "deny" })), &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for (query, status) in [("state=maybe", 422), ("cursor=x", 400), ("limit=0", 422)] {
        assert_eq!(ask(&house, "GET", &format!("/approvals?{query}"), None, &[]).await.0.as_u16(), status, "{query}");
    }
    let yes = json!({ "decision": "approve" });
    let key = [("Idempotency-Key", "k")];
    assert_eq!(ask(&house, "POST", "/approvals/a:b:1:1", Some(yes.clone()), &key).await.0, StatusCode::OK);
    let (status, headers, _) = ask(&house, "POST", "/approvals/a:b:1:1", Some(yes), &key).await;
    assert_eq!((status, headers["idempotency-replayed"].to_str().unwrap()), (StatusCode::OK, "true"));
    let (status, _, _) = ask(&house, "POST", "/approvals/a:b:1:1", Some(json!({ "decision": "deny" })), &key).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    tokio::time::sleep(Duration::from_secs(61)).await;
    let (status, _, _) = ask(&house, "POST", "/approvals/a:b:1:0", Some(json!({ "decision": "approve" })), &[]).await;
    assert_eq!(status, StatusCode::CONFLICT, "it has expired");
}

#[tokio::test(start_paused = true)]
async fn who_may_look_and_who_may_decide() {
    let token = |name: &str, tenant: &str, agents: Value, scopes: Value| {
        let sha256 = maniple_core::canonical::hash_bytes(name.as_bytes());
        json!({ "name": name, "sha256": sha256, "tenant": tenant, "agents": agents, "scopes": scopes })
    };
    let tokens = json!({ "tokens": [
        token("asker", "default", json!(["*"]), json!(["run"])),
        token("reader", "default", json!(["*"]), json!(["read"])),
        token("boss", "default", json!(["*"]), json!(["approve"])),
        token("else", "default", json!(["other"]), json!(["approve"])),
        token("far", "acme", json!(["*"]), json!(["approve"])),
    ] });
    let auth = Auth::of(Some(&serde_json::from_value(tokens).unwrap()), false).unwrap();
    let house = asking(auth, Some("asker")).await;
    let no = || Some(json!({ "decision": "deny" }));
    for (who, looks, decides, listed) in [
        ("asker", 403, 403, None),
        ("reader", 200, 403, Some(2)),
        ("else", 404, 404, Some(0)),
        ("far", 404, 404, Some(0)),
        ("boss", 200, 200, Some(2)),
    ] {
        let bearer = format!("Bearer {who}");
        let headers = [("Authorization", bearer.as_str())];
        assert_eq!(ask(&house, "GET", "/approvals/a:b:1:0", None, &headers).await.0.as_u16(), looks, "{who}");
        assert_eq!(ask(&house, "POST", "/approvals/a:b:1:0", no(), &headers).await.0.as_u16(), decides, "{who}");
        let (_, _, page) = ask(&house, "GET", "/approvals", None, &headers).await;
        assert_eq!(page["approvals"].as_array().map(Vec::len), listed, "{who}");
    }
}
