//! MCP servers as they live: what they answer beside what the protocol says, and what comes of it.

use crate::bench::Bench;
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use maniple_core::{
    AgentName, Tenant,
    ports::{Audience, Invocation, Invoked, Registrant, RunCall, ToolRegistry, Tools},
    tool::{Effect, ToolState},
};
use maniple_registry::{
    Confirm, Incoming, Origin,
    mcp::{Server, ServerSettings, State as Connection, Times},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(20);

/// What a server answers to a message in a session; nothing: as it should.
type Answers = dyn Fn(&Heard, &Value) -> Option<Response> + Send + Sync;

/// What a server has heard: the methods, and how often each was asked.
#[derive(Default)]
struct Heard {
    methods: Mutex<Vec<String>>,
    /// The ports that requests came from, oldest first.
    ports: Mutex<Vec<u16>>,
    session: Mutex<u32>,
}
impl Heard {
    fn count(&self, method: &str) -> usize {
        self.methods.lock().unwrap().iter().filter(|heard| *heard == method).count()
    }
}

/// A server with sessions that lists one tool, `pay`, and answers as it is told.
struct Stub {
    url: String,
    heard: Arc<Heard>,
}

impl Stub {
    async fn start(answers: impl Fn(&Heard, &Value) -> Option<Response> + Send + Sync + 'static) -> Self {
        let heard = Arc::new(Heard::default());
        let state: (Arc<Heard>, Arc<Answers>) = (heard.clone(), Arc::new(answers));
        let router = Router::new().fallback(serve).with_state(state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await });
        Self { url, heard }
    }
    async fn imported(&self, effect: Confirm) -> Server {
        let times = Times { backoff: Duration::from_millis(20), backoff_max: Duration::from_millis(100), ..Times::default() };
        let settings = ServerSettings { url: Some(self.url.clone()), confirm: effect, times, ..ServerSettings::default() };
        Server::start("shop", settings).unwrap()
    }
    async fn connected(&self) -> Server {
        let server = self.imported(Confirm::Nothing).await;
        let listing = server.settled(SOON).await;
        assert!(matches!(listing.state, Connection::Connected { .. }), "{:?}", listing.state);
        server
    }
}

async fn serve(
    State((heard, answers)): State<(Arc<Heard>, Arc<Answers>)>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(message) = serde_json::from_slice::<Value>(&body) else { return StatusCode::METHOD_NOT_ALLOWED.into_response() };
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    heard.methods.lock().unwrap().push(method.clone());
    heard.ports.lock().unwrap().push(from.port());
    let session = heard.session.lock().unwrap().to_string();
    let knows = headers.get("mcp-session-id").is_none_or(|id| id.to_str().unwrap() == session);
    if let Some(answer) = answers(&heard, &json!({ "message": message, "knows": knows, "path": uri.path() })) {
        return answer;
    }
    let Some(id) = message.get("id") else { return StatusCode::ACCEPTED.into_response() };
    let result = match method.as_str() {
        "initialize" => {
            let server = json!({ "name": "s", "version": "1.0.0" });
            json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": server })
        }
        "ping" => json!({}),
        "tools/list" => {
            let hints = json!({ "idempotentHint": true });
            json!({ "tools": [{ "name": "pay", "description": "Pays.", "inputSchema": { "type": "object" }, "annotations": hints }] })
        }
        "tools/call" => json!({ "content": [{ "type": "text", "text": "paid" }] }),
        _ => return answer(200, json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "not found" } })),
    };
    let answer = answer(200, json!({ "jsonrpc": "2.0", "id": id, "result": result }));
    match method.as_str() {
        "initialize" => ([("mcp-session-id", session)], answer).into_response(),
        _ => answer,
    }
}

fn answer(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
fn error(status: u16, code: i64) -> Response {
    answer(status, json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": "not now" } }))
}

fn invocation(server: &Server) -> Invocation {
    let definition = server.tools().remove(0).definition;
    Invocation {
        timeout: Duration::from_millis(definition.timeout_ms),
        tool: Arc::new(definition),
        trusted: true,
        arguments: json!({}),
        key: "task-1:2:0".into(),
        send: "task-1:2:0/1".into(),
        agent: AgentName::parse("clerk").unwrap(),
        tenant: Tenant::default(),
        agreed: None,
        trace: None,
    }
}

#[tokio::test]
async fn a_listing_that_leads_nowhere_new_ends_there_and_keeps_what_it_brought() {
    for cursors in [&["8"][..], &["a", "b"], &[""], &["1", "2", "3", "4", "5", "6", "7", "8"]] {
        let stub = Stub::start(move |heard, asked| {
            let message = &asked["message"];
            (message["method"] == "tools/list").then(|| {
                let next = cursors[heard.count("tools/list") % cursors.len()];
                let tools = json!([{ "name": "a", "inputSchema": {} }, { "name": "b", "inputSchema": {} }]);
                answer(200, json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "tools": tools, "nextCursor": next } }))
            })
        })
        .await;
        let server = stub.connected().await;
        let names: Vec<String> = server.tools().into_iter().map(|tool| tool.original).collect();
        assert_eq!((names, server.settled(SOON).await.refused.len()), (vec!["a".to_owned(), "b".into()], 0), "{cursors:?}");
        assert!(stub.heard.count("tools/list") <= 6, "{cursors:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_followed_where_it_stays_and_told_where_it_does_not() {
    for (status, target, why) in
        [(307, "/mcp/", None), (308, "/mcp/", None), (302, "/mcp/", Some("/…/")), (308, "http://localhost:9/", Some("localhost:9"))]
    {
        let stub = Stub::start(move |_, asked| {
            let moved = (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, target)]);
            (asked["path"] == "/mcp").then(|| moved.into_response())
        })
        .await;
        let server = stub.imported(Confirm::Nothing).await;
        let listing = server.settled(SOON).await;
        match (&listing.state, why) {
            (Connection::Connected { .. }, None) => {}
            (Connection::Lost { reason }, Some(why)) => assert!(reason.contains(why) && reason.contains("set `url`"), "{reason}"),
            (state, _) => panic!("{status} {target}: {state:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_of_any_status_and_id_is_the_outcome_of_the_call() {
    for (status, id) in [(429, json!(null)), (400, json!("server-error")), (500, json!(null)), (200, json!(null))] {
        let stub = Stub::start(move |_, asked| {
            let is_call = asked["message"]["method"] == "tools/call";
            let refused = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32000, "message": "not now" } });
            is_call.then(|| ([("retry-after", "3")], answer(status, refused)).into_response())
        })
        .await;
        let server = stub.connected().await;
        let outcome = tokio::time::timeout(SOON, server.call(&invocation(&server))).await.expect("at once");
        let Invoked::Failed(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!((&failure["error"], &failure["code"]), (&json!("not now"), &json!(-32000)));
        if status != 200 {
            assert_eq!((&failure["status"], &failure["retry_after_ms"]), (&json!(status), &json!(3_000)));
        }
        assert_eq!(stub.heard.count("tools/call"), 1, "the session is well, so it is not asked again");
    }
}

#[tokio::test]
async fn what_a_forgotten_session_refused_is_asked_once_more_in_a_new_one() {
    // Whatever a server says to a session that it does not know.
    let some = -32_000;
    for (status, code, is_asked_again) in [
        (400, some, true),
        (401, some, true),
        (404, some, true),
        (410, some, true),
        (200, -32_600, true),
        (200, -32_001, true),
        // A server may say these of a call that it has carried out.
        (200, some, false),
        (200, -32_603, false),
        (500, some, false),
        (502, some, false),
        (503, some, false),
    ] {
        let stub = Stub::start(move |_, asked| {
            let is_request = asked["message"].get("id").is_some();
            (asked["knows"] == false && is_request).then(|| error(status, code))
        })
        .await;
        let server = stub.connected().await;
        let call = invocation(&server);
        assert_eq!(call.tool.effect(), Effect::AtMostOnce);
        *stub.heard.session.lock().unwrap() += 1;
        let outcome = server.call(&call).await;
        assert_eq!(matches!(outcome, Invoked::Ok(_)), is_asked_again, "{status} {code}: {outcome:?}");
        assert_eq!(stub.heard.count("tools/call"), if is_asked_again { 2 } else { 1 }, "{status} {code}");
        let mut again = server.call(&call).await;
        for _ in 0..100 {
            if matches!(again, Invoked::Ok(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            again = server.call(&call).await;
        }
        assert!(matches!(again, Invoked::Ok(_)), "{status}: the session is made anew: {again:?}");
    }
}

#[tokio::test]
async fn what_goes_out_again_in_a_new_session_takes_its_place_under_the_rate() {
    for (most, calls) in [(1, 1), (2, 2)] {
        let stub = Stub::start(|_, asked| {
            let is_request = asked["message"].get("id").is_some();
            (asked["knows"] == false && is_request).then(|| error(404, -32_000))
        })
        .await;
        let server = Arc::new(stub.connected().await);
        let registry = &Bench::new(&[]).await.registry;
        registry.connect(server.clone());
        let mut call = invocation(&server);
        call.tool = Arc::new(maniple_core::tool::ToolDefinition { rate_limit: Some(most), ..(*call.tool).clone() });
        *stub.heard.session.lock().unwrap() += 1;
        let outcome = registry.invoke(&RunCall(call)).await;
        assert_eq!((matches!(outcome, Invoked::Ok(_)), stub.heard.count("tools/call")), (calls == 2, calls), "{outcome:?}");
    }
}

#[tokio::test]
async fn what_a_forgotten_session_refused_was_not_sent_where_there_is_no_new_one_in_time() {
    let stub = Stub::start(|heard, asked| {
        let is_gone = *heard.session.lock().unwrap() > 0;
        (is_gone && asked["message"].get("id").is_some()).then(|| error(404, -32_000))
    })
    .await;
    let times = Times { call_waits: Duration::from_millis(50), ..Times::default() };
    let server = Server::start("shop", ServerSettings { url: Some(stub.url.clone()), times, ..ServerSettings::default() }).unwrap();
    server.settled(SOON).await;
    *stub.heard.session.lock().unwrap() += 1;
    let outcome = server.call(&invocation(&server)).await;
    assert!(matches!(outcome, Invoked::NotSent(_)), "nobody has read it: {outcome:?}");
    assert_eq!(stub.heard.count("tools/call"), 1);
}

/// An answer of these events.
fn events(data: &[&str]) -> Response {
    let events: String = data.iter().map(|data| format!("data: {data}\n\n")).collect();
    ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
}

#[tokio::test]
async fn an_event_that_is_no_message_is_passed_over_and_without_an_answer_nobody_knows() {
    for is_answered in [true, false] {
        let stub = Stub::start(move |_, asked| {
            let message = &asked["message"];
            let result = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "content": [{ "type": "text", "text": "paid" }] } });
            let (result, noise) = (result.to_string(), ["keep-alive", "{}", "[]", "7"]);
            let is_call = message["method"] == "tools/call";
            is_call.then(|| events(&[&noise[..], &[&result]].concat()[..if is_answered { 5 } else { 4 }]))
        })
        .await;
        let server = stub.connected().await;
        let outcome = server.call(&Invocation { timeout: Duration::from_secs(2), ..invocation(&server) }).await;
        match is_answered {
            true => assert_eq!(outcome, Invoked::Ok("paid".into())),
            false => assert!(matches!(outcome, Invoked::Unknown(_)), "{outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_secret_in_the_url_of_a_server_is_told_to_nobody() {
    for (target, shown) in [
        ("/s3cret/mcp/?key=s3cret", "/…/…/ now"),
        ("http://me:s3cret@localhost:9/v2/s3cret?key=s3cret#s3cret", "http://localhost:9/v2/… now"),
    ] {
        let is_moved = Arc::new(Mutex::new(false));
        let moves = is_moved.clone();
        let mut stub =
            Stub::start(move |_, _| moves.lock().unwrap().then(|| (StatusCode::FOUND, [(header::LOCATION, target)]).into_response())).await;
        stub.url = stub.url.replace("/mcp", "/s3cret/mcp?key=s3cret");
        let server = stub.connected().await;
        *is_moved.lock().unwrap() = true;
        let Invoked::Failed(failure) = server.call(&invocation(&server)).await else { panic!("a failure") };
        assert_eq!(failure["status"], 302);
        assert!(!failure.to_string().contains("s3cret") && !failure.to_string().contains("localhost"), "the model sees it: {failure}");
        let anew = stub.imported(Confirm::Nothing).await;
        let Connection::Lost { reason } = &anew.settled(SOON).await.state else { panic!("lost") };
        assert!(reason.contains(shown) && !reason.contains("s3cret"), "{reason}");
    }
}

#[tokio::test]
async fn a_call_that_is_never_sent_twice_goes_on_a_connection_of_its_own() {
    let stub = Stub::start(|_, _| None).await;
    for (confirm, is_fresh) in [(Confirm::Nothing, true), (Confirm::All, false)] {
        let server = stub.imported(confirm).await;
        server.settled(SOON).await;
        let call = invocation(&server);
        assert_eq!(call.tool.effect() == Effect::AtMostOnce, is_fresh);
        for _ in 0..3 {
            let before = stub.heard.ports.lock().unwrap().clone();
            assert!(matches!(server.call(&call).await, Invoked::Ok(_)));
            let used = *stub.heard.ports.lock().unwrap().last().unwrap();
            assert_eq!(!before.contains(&used), is_fresh, "one that lay idle may be closed just then");
        }
    }
}

/// Remembers what it hears.
#[derive(Debug, Default)]
struct Ears(Mutex<Vec<Value>>);
impl Audience for Ears {
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<String>) {
        self.0.lock().unwrap().push(json!([progress, total, message]));
    }
    fn content(&self, pieces: &[Value]) {
        self.0.lock().unwrap().push(json!(pieces));
    }
}

#[tokio::test]
async fn an_audience_hears_how_far_a_call_is_and_the_pieces_of_its_answer_and_odd_ones_cost_nothing() {
    let stub = Stub::start(|_, asked| {
        let message = &asked["message"];
        (message["method"] == "tools/call").then(|| {
            let token = &message["params"]["_meta"]["progressToken"];
            let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": token, "progress": 1, "total": 2 } });
            let content = r#"[{"type": "text", "text": "lone \ud800"}, {"type": "hologram"}]"#;
            let result = format!(r#"{{"jsonrpc": "2.0", "id": {}, "result": {{"content": {content}, "structuredContent": null}}}}"#, message["id"]);
            let mut events = format!("data: {progress}\n\ndata: {result}\n\n").into_bytes();
            events.extend_from_slice(b": caf\xe9\n\n");
            ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
        })
    })
    .await;
    let server = stub.connected().await;
    let ears = Arc::new(Ears::default());
    let outcome = server.call_before(&invocation(&server), Some(ears.clone())).await;
    let pieces = json!([{ "type": "text", "text": "lone \u{fffd}" }, { "type": "hologram" }]);
    assert_eq!(outcome, Invoked::Ok(pieces.clone()));
    assert_eq!(*ears.0.lock().unwrap(), [json!([1.0, 2.0, null]), pieces]);
}

#[tokio::test]
async fn what_was_quarantined_is_used_once_the_published_one_is_taken_out() {
    let registry = crate::server::registry();
    let origin = Origin::Mcp { server: "shop".into() };
    let bring = async |description: &str| {
        let definition = json!({ "name": "shop_pay", "version": "1.0.0", "description": description, "endpoint": "mcp:shop/pay" });
        let incoming = vec![Incoming::from(serde_json::from_value::<maniple_core::tool::ToolDefinition>(definition).unwrap())];
        assert_eq!(registry.take(&origin, incoming).await.unwrap().len(), 0);
    };
    let state = || {
        let version = registry.catalog().versions(&Tenant::default(), "shop_pay").unwrap().remove(0);
        let was = version.was.map(|was| was.description);
        (version.state, version.definition.description.clone(), version.reason, was)
    };
    bring("Today is Monday.").await;
    assert_eq!(state().3, None, "it is as it was published");
    bring("Today is Tuesday.").await;
    let (quarantined, is, reason, was) = state();
    assert_eq!((quarantined, &*is, was.as_deref()), (ToolState::Quarantined, "Today is Tuesday.", Some("Today is Monday.")));
    assert!(reason.is_some_and(|reason| reason.contains("maniple tool rm shop_pay@1.0.0")));
    let by = Registrant { name: "operator".into(), tenant: Tenant::default(), admin: true, operator: true };
    assert_eq!(registry.remove("shop_pay", Some(&"1.0.0".parse().unwrap()), &by).await.unwrap(), 1);
    assert_eq!(state(), (ToolState::Healthy, "Today is Tuesday.".into(), None, None));
}
