//! Guarding: who may, how much, how often, and what is not read.

use super::*;
use maniple_core::Scope;
use sha2::{Digest, Sha256};

pub(in super::super) fn token(name: &str, tenant: &str, agents: &[&str], scopes: &[Scope]) -> config::Token {
    config::Token {
        name: name.into(),
        sha256: hex::encode(Sha256::digest(name.as_bytes())),
        tenant: tenant.into(),
        agents: agents.iter().map(|&agent| agent.into()).collect(),
        scopes: scopes.to_vec(),
    }
}

/// A house whose tokens are spelled like their names.
fn locked() -> House {
    use Scope::{Admin, Cancel, Operator, Read, Run};
    let tokens = vec![
        token("ann", "acme", &["*"], &[Run, Read, Cancel]),
        token("bob", "acme", &["write"], &[Run, Read, Cancel]),
        token("eve", "evil", &["*"], &[Run, Read, Cancel]),
        token("reader", "acme", &["*"], &[Read]),
        token("root", "acme", &["*"], &[Admin]),
        token("node", "default", &["*"], &[Operator]),
    ];
    let auth = Auth::of(Some(&config::Auth { tokens }), false).unwrap();
    let collector = Some(Sha256::digest(b"collector").into());
    build(Plan { agents: vec![agent("search"), agent("write")], auth, collector, ..Plan::default() })
}

async fn as_(house: &House, who: &str, mut request: Request<Body>) -> Answer {
    request.headers_mut().insert("authorization", format!("Bearer {who}").parse().unwrap());
    house.ask(request).await
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn without_a_known_token_nobody_comes_in_but_probes_and_descriptions_are_open() {
    let house = locked();
    for request in [get("/tasks"), get("/agents"), get("/metrics"), posting("/run", &json!({"prompt": "p"})), empty_post("/tasks/x/cancel")]
    {
        let answer = house.ask(request).await;
        answer.problem(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for credentials in ["Bearer mallory", "Bearer ", "Bearer", "Basic ann", "ann"] {
        let request = Request::get("/tasks").header("authorization", credentials).body(Body::empty()).unwrap();
        house.ask(request).await.problem(401);
    }
    for path in ["/health", "/ready", "/openapi.json", "/docs"] {
        assert_eq!(house.get(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_is_made_of_is_for_its_operator_and_the_collector_of_its_metrics() {
    let house = locked();
    house.ready.store(false, Ordering::SeqCst);
    for who in ["ann", "root", "node", "collector", "mallory"] {
        let may = matches!(who, "node" | "collector");
        let metrics = as_(&house, who, get("/metrics")).await.status.as_u16();
        assert_eq!(
            metrics,
            if may {
                200
            } else if who == "mallory" {
                401
            } else {
                403
            },
            "{who}"
        );
        let ready = as_(&house, who, get("/ready")).await.problem(503);
        let parts = match may {
            true => {
                json!([{ "name": "store", "state": "failed", "detail": "the disk is gone" }, { "name": "model:search", "state": "ready" }])
            }
            false => json!([{ "name": "store", "state": "failed" }, { "name": "model", "state": "ready" }]),
        };
        assert_eq!(ready["parts"], parts, "{who}");
        assert_eq!(ready["detail"].as_str().unwrap().contains("disk"), may, "{who}");
    }
    let nobody = house.get("/ready").await.problem(503);
    assert_eq!(nobody["detail"], "not ready: store");
    for path in ["/tasks", "/tools", "/agents"] {
        as_(&house, "collector", get(path)).await.problem(401);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_of_an_agent_that_one_may_not_use_is_told_as_one_that_is_not_there() {
    let house = locked();
    as_(&house, "ann", posting("/agents/search/run", &json!({"prompt": "fail", "id": "t-known"}))).await;
    let told = |answer: Answer, id: &str| String::from_utf8(answer.bytes).unwrap().replace(id, "ID");
    for place in ["/tasks/ID", "/status/ID", "/tasks/ID/events", "/agents/search/tasks/ID", "/agents/write/tasks/ID"] {
        let at = |id: &str| get(&place.replace("ID", id));
        let (there, gone) = (as_(&house, "bob", at("t-known")).await, as_(&house, "bob", at("t-gone")).await);
        there.problem(404);
        assert_eq!(told(there, "t-known"), told(gone, "t-gone"), "{place}");
    }
    for place in ["/tasks/ID/cancel", "/tasks/ID/retry", "/agents/search/tasks/ID/cancel"] {
        let at = |id: &str| empty_post(&place.replace("ID", id));
        let (there, gone) = (as_(&house, "bob", at("t-known")).await, as_(&house, "bob", at("t-gone")).await);
        there.problem(404);
        assert_eq!(told(there, "t-known"), told(gone, "t-gone"), "{place}");
    }
    let of = |name: &str| posting(&format!("/agents/{name}/run"), &json!({"prompt": "p"}));
    let (there, gone) = (as_(&house, "bob", of("search")).await, as_(&house, "bob", of("nobody")).await);
    there.problem(403);
    assert_eq!(told(there, "search"), told(gone, "nobody"), "nor is an agent");
}

#[tokio::test(start_paused = true)]
async fn without_tokens_a_page_from_elsewhere_does_nothing() {
    let ask = async |house: &House, headers: &[(&'static str, &str)]| {
        let mut request = empty_post("/tasks/x/cancel");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        house.ask(request).await
    };
    let open = build(Plan { agents: vec![agent("search")], ..Plan::default() });
    let insecure = build(Plan { agents: vec![agent("search")], auth: Auth::of(None, true).unwrap(), ..Plan::default() });
    for (host, origin, opens, opens_insecure) in [
        ("localhost:8080", None, true, true),
        ("[::1]:8080", Some("http://[::1]:8080"), true, true),
        ("127.0.0.1:8080", Some("http://localhost:3000"), true, true),
        ("127.0.0.1:8080", Some("https://evil.test"), false, false),
        ("127.0.0.1:8080", Some("null"), false, false),
        ("evil.test:8080", None, false, true),
        ("evil.test:8080", Some("http://evil.test:8080"), false, true),
        ("node.test", Some("http://evil.test"), false, false),
    ] {
        let headers: Vec<(&'static str, &str)> = [("host", host)].into_iter().chain(origin.map(|origin| ("origin", origin))).collect();
        for (house, opens) in [(&open, opens), (&insecure, opens_insecure)] {
            // The task is not there, which is for those who come in to know.
            ask(house, &headers).await.problem(if opens { 404 } else { 403 });
        }
    }
    let tokens = locked();
    let mut request = get("/tasks");
    request.headers_mut().insert("host", "node.test".parse().unwrap());
    assert_eq!(as_(&tokens, "ann", request).await.status, StatusCode::OK, "whoever has a token may come by any name");
}

#[tokio::test(start_paused = true)]
async fn a_request_to_a_host_that_names_nothing_is_malformed() {
    let house = locked();
    for host in ["", " ", ":8080", "a b", "[::1", "node.test:http:80", "me@127.0.0.1", "\u{e9}"] {
        for path in ["/health", "/tasks", "/docs"] {
            let mut request = get(path);
            request.headers_mut().insert("host", http::HeaderValue::from_bytes(host.as_bytes()).unwrap());
            assert_eq!(house.ask(request).await.problem(400)["field"], "Host", "{path} of `{host}`");
        }
    }
    let mut twice = get("/health");
    for host in ["127.0.0.1", "localhost"] {
        twice.headers_mut().append("host", host.parse().unwrap());
    }
    house.ask(twice).await.problem(400);
}

#[tokio::test(start_paused = true)]
async fn another_tenants_ids_are_404_and_its_lists_are_empty() {
    let house = locked();
    let made = as_(&house, "ann", posting("/agents/search/run", &json!({"prompt": "fail", "id": "t", "session_id": "s"}))).await;
    assert_eq!(made.status, StatusCode::OK);
    for request in [
        get("/tasks/t"),
        get("/status/t"),
        get("/tasks/t/events"),
        get("/agents/search/tasks/t"),
        Request::delete("/tasks/t").body(Body::empty()).unwrap(),
        empty_post("/tasks/t/cancel"),
        empty_post("/tasks/t/retry"),
    ] {
        as_(&house, "eve", request).await.problem(404);
    }
    assert_eq!(as_(&house, "eve", get("/tasks")).await.json()["tasks"], json!([]));
    assert_eq!(as_(&house, "eve", get("/agents/search/sessions/s/messages")).await.json()["messages"], json!([]));
    let same_id = as_(&house, "eve", posting("/agents/search/tasks", &json!({"prompt": "other", "id": "t"}))).await;
    assert_eq!(same_id.status, StatusCode::ACCEPTED, "ids are a tenant's own");
}

#[tokio::test(start_paused = true)]
async fn a_token_does_what_its_scopes_and_agents_allow() {
    let house = locked();
    as_(&house, "ann", posting("/agents/search/run", &json!({"prompt": "p", "id": "t"}))).await;
    as_(&house, "reader", posting("/agents/search/run", &json!({"prompt": "p"}))).await.problem(403);
    as_(&house, "reader", empty_post("/tasks/t/cancel")).await.problem(403);
    as_(&house, "ann", empty_post("/dead-letters/t/drop")).await.problem(403);
    as_(&house, "ann", Request::delete("/agents/search/sessions/s").body(Body::empty()).unwrap()).await.problem(403);
    assert_eq!(as_(&house, "root", get("/tasks/t")).await.status, StatusCode::OK, "admin has every scope");

    assert_eq!(as_(&house, "bob", posting("/agents/search/run", &json!({"prompt": "p"}))).await.problem(403)["field"], "agent");
    as_(&house, "bob", posting("/run", &json!({"prompt": "p", "agent": "search"}))).await.problem(403);
    as_(&house, "bob", get("/tasks/t")).await.problem(404);
    as_(&house, "bob", get("/tasks?agent=search")).await.problem(403);
    for query in ["/tasks?agent=search&status=odd", "/approvals?agent=search&state=odd", "/sessions/s/messages?agent=search&cursor=a%20b"] {
        assert_eq!(as_(&house, "bob", get(query)).await.problem(403)["field"], "agent", "{query}: who may not is told that first");
    }
    assert_eq!(as_(&house, "bob", get("/tasks")).await.json()["tasks"], json!([]));
    assert_eq!(as_(&house, "bob", posting("/run", &json!({"prompt": "p"}))).await.json()["agent"], "write", "the only one it may use");
    assert_eq!(as_(&house, "bob", get("/agents")).await.json()["agents"].as_array().unwrap().len(), 1);
}

#[test]
fn tokens_that_cannot_be_are_refused_by_name() {
    let of = |token: config::Token| Auth::of(Some(&config::Auth { tokens: vec![token] }), false);
    let good = token("ann", "acme", &["*"], &[]);
    assert!(of(good.clone()).is_ok());
    assert!(of(config::Token { sha256: "ann".into(), ..good.clone() }).unwrap_err().message.contains("`ann`"));
    assert!(of(config::Token { tenant: "a b".into(), ..good.clone() }).is_err());
    assert!(of(config::Token { agents: vec!["A".into()], ..good.clone() }).is_err());
    assert!(Auth::of(Some(&config::Auth { tokens: vec![good.clone(), good] }), false).is_err());
}

/// A body that panics when it is read.
fn unreadable() -> Body {
    Body::from_stream(futures::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Vec<u8>, std::io::Error>>> {
        panic!("the body was read");
    }))
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_by_its_head_is_refused_unread() {
    let house = locked();
    let post = |path: &str| Request::post(path).header("content-type", "application/json").header("authorization", "Bearer ann");
    let cases = [
        (Request::post("/agents/search/run").body(unreadable()).unwrap(), 401),
        (Request::post("/agents/search/run").header("authorization", "Bearer reader").body(unreadable()).unwrap(), 403),
        (post("/agents/nobody/run").body(unreadable()).unwrap(), 404),
        (post("/agents/search/run").header("content-length", (1 << 20) + 1).body(unreadable()).unwrap(), 413),
        (Request::post("/agents/search/run").header("authorization", "Bearer ann").body(unreadable()).unwrap(), 415),
        (
            Request::post("/agents/search/run")
                .header("authorization", "Bearer ann")
                .header("content-type", "text/plain")
                .body(unreadable())
                .unwrap(),
            415,
        ),
        (post("/agents/search/run").header("content-encoding", "gzip").body(unreadable()).unwrap(), 415),
        (
            Request::post("/agents/search/run")
                .header("authorization", "Bearer ann")
                .header("content-type", "application/json; charset=latin1")
                .body(unreadable())
                .unwrap(),
            415,
        ),
        (post("/agents/search/run").header("idempotency-key", "").body(unreadable()).unwrap(), 400),
    ];
    for (request, status) in cases {
        house.ask(request).await.problem(status);
    }
    let broken = house.ask(post("/agents/search/run").body(unreadable()).unwrap()).await;
    broken.problem(500);
}

#[tokio::test(start_paused = true)]
async fn a_node_at_its_limit_sheds_with_503_and_still_says_how_it_is() {
    let desk = desk::Limits { in_flight_requests: 2, ..desk::Limits::default() };
    let house = Arc::new(build(Plan { desk, ..Plan::default() }));
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let house = house.clone();
            tokio::spawn(async move { house.post("/run", json!({"prompt": "slow"})).await.status })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let shed = house.ask(Request::post("/run").header("content-type", "application/json").body(unreadable()).unwrap()).await;
    shed.problem(503);
    assert_eq!(shed.header("retry-after"), Some("1"));
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(house.get(path).await.status, StatusCode::OK, "{path}");
    }
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), StatusCode::ACCEPTED);
    }
    assert_eq!(house.get("/tasks").await.status, StatusCode::OK, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_its_place_until_it_is_dropped() {
    let desk = desk::Limits { event_streams: 1, ..desk::Limits::default() };
    let house = build(Plan { desk, work: false, ..Plan::default() });
    let id = house.post("/tasks", json!({"prompt": "p"})).await.json()["task_id"].as_str().unwrap().to_owned();
    let path = format!("/tasks/{id}/events");
    let held = house.open(get(&path)).await;
    assert_eq!(held.status(), StatusCode::OK);
    house.get(&path).await.problem(503);
    let mut streaming = posting("/run", &json!({"prompt": "p", "id": "not-accepted"}));
    streaming.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
    house.ask(streaming).await.problem(503);
    house.get("/tasks/not-accepted").await.problem(404);
    drop(held);
    assert_eq!(house.open(get(&path)).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_comes_too_often_is_429_until_its_minute_is_over() {
    let desk = desk::Limits { requests_per_minute: Some(3), ..desk::Limits::default() };
    let house = build(Plan { desk, ..Plan::default() });
    for _ in 0..3 {
        assert_eq!(house.get("/tasks").await.status, StatusCode::OK);
    }
    tokio::time::advance(Duration::from_secs(20)).await;
    let over = house.ask(Request::post("/run").body(unreadable()).unwrap()).await;
    over.problem(429);
    assert_eq!(over.header("retry-after"), Some("40"));
    assert_eq!(house.get("/health").await.status, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(house.get("/tasks").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn hostile_bodies_are_refused_and_the_node_lives_on() {
    let house = house();
    let deep = format!(r#"{{"prompt":"p","metadata":{{"a":{}{}}}}}"#, "[".repeat(200), "]".repeat(200));
    let wide = format!(r#"{{"prompt":"p","metadata":{{"a":[{}]}}}}"#, vec!["0"; 10_000].join(","));
    let hostile: Vec<Vec<u8>> = vec![
        b"".into(),
        b"{".into(),
        b"{\"prompt\": \"\xff\xfe\"}".into(),
        br#"{"prompt":"a","prompt":"b"}"#.into(),
        deep.into(),
        wide.into(),
        br#"{"prompt":"\ud800"}"#.into(),
        br#"{"prompt":"p"}{"#.into(),
        b"prompt=x".into(),
    ];
    for body in hostile {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let request = Request::post("/tasks").header("content-type", "application/json").body(Body::from(body)).unwrap();
        assert_eq!(house.ask(request).await.problem(400)["status"], 400, "{shown}");
    }
    let chunks = futures::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![b' '; 32 << 10])));
    let endless = Request::post("/tasks").header("content-type", "application/json").body(Body::from_stream(chunks)).unwrap();
    let answer = house.ask(endless).await;
    answer.problem(413);
    assert_eq!(answer.header("connection"), Some("close"));
    let slow = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    house.ask(Request::post("/tasks").header("content-type", "application/json").body(Body::from_stream(slow)).unwrap()).await.problem(408);
    let cut = futures::stream::iter([Ok(b"{\"prompt\":".to_vec()), Err(std::io::Error::other("cut"))]);
    house.ask(Request::post("/tasks").header("content-type", "application/json").body(Body::from_stream(cut)).unwrap()).await.problem(400);
    let largest = json!({"prompt": "x".repeat((1 << 20) - 13)});
    assert_eq!(largest.to_string().len(), 1 << 20);
    assert_eq!(house.post("/tasks", largest).await.status, StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_404_and_what_is_not_offered_405_with_what_is() {
    let house = house();
    for path in ["/nothing/here", "/tasks/none", "/tasks/%ff", "/tasks/a%20b", "/tasks/", "/agents/search/nothing"] {
        let answer = house.get(path).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}: {}", answer.status);
        answer.problem(answer.status.as_u16());
    }
    let refused = house.ask(Request::put("/health").body(Body::empty()).unwrap()).await;
    assert!(refused.problem(405)["detail"].as_str().unwrap().contains("PUT is not offered at /health"));
    assert_eq!(refused.header("allow"), Some("GET,HEAD"));
    let preflight = Request::options("/run").header("origin", "https://elsewhere.example").body(Body::empty()).unwrap();
    assert!(house.ask(preflight).await.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
}

#[tokio::test(start_paused = true)]
async fn pages_of_listed_origins_may_use_the_node_and_no_others() {
    let cors = CorsSettings { origins: vec!["https://app.example".into()] };
    let house = build(Plan { cors, ..Plan::default() });
    let of_page = |origin: &str, method: &str| {
        let request = Request::builder().method(method).uri("/tasks").header("origin", origin).header("host", "localhost:8080");
        let request = request.header("access-control-request-method", "POST");
        let headers = "idempotency-key, mcp-method, mcp-name, mcp-param-region";
        house.ask(request.header("access-control-request-headers", headers).body(Body::empty()).unwrap())
    };
    let asked = of_page("https://app.example", "OPTIONS").await;
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (StatusCode::OK, Some("https://app.example")));
    let allowed = asked.header("access-control-allow-headers").unwrap();
    assert_eq!(allowed, "idempotency-key, mcp-method, mcp-name, mcp-param-region", "what /mcp asks for may be sent");
    let listed = of_page("https://app.example", "GET").await;
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (StatusCode::OK, Some("https://app.example")));
    assert!(listed.header("access-control-expose-headers").unwrap().contains("idempotency-replayed"));
    assert_eq!(of_page("https://other.example", "OPTIONS").await.header("access-control-allow-origin"), None);
    of_page("https://other.example", "GET").await.problem(403);
    let closed = build(Plan::default());
    let request = Request::get("/tasks").header("origin", "https://app.example").body(Body::empty()).unwrap();
    let refused = closed.ask(request).await;
    assert_eq!(refused.header("access-control-allow-origin"), None);
    refused.problem(403);
}
