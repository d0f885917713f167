//! `/mcp` for clients of both protocol versions.

use super::{guarding::token, *};
use maniple_core::{
    Scope,
    ports::{Invoked, Refusal, RefusalKind},
};
use maniple_testkit::catalogue::{Fake, seen};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ClientCapabilities, ClientConfig,
        ClientRequest, ErrorCode, GetTaskParams, ProgressNotificationParam, ProtocolVersion, RequestMetaObject, ServerResult, TaskPayload,
    },
    service::{NotificationContext, PeerRequestOptions, RunningService, ServiceError},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use std::sync::Mutex;

/// A client that remembers the progress it is told.
#[derive(Clone, Default)]
struct Client {
    speaks_tasks: bool,
    progress: Arc<Mutex<Vec<String>>>,
}
impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.protocol_version = ProtocolVersion::V_2025_11_25;
        if self.speaks_tasks {
            info.capabilities = ClientCapabilities::builder().enable_tasks().build();
        }
        info
    }
    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.lock().unwrap().push(params.message.unwrap_or_default());
    }
}

type Connected = RunningService<RoleClient, Client>;

async fn served(house: &House) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = house.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/mcp")
}
async fn connect(url: &str, newest: bool, client: Client, token: Option<&str>) -> Connected {
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    if let Some(token) = token {
        config = config.auth_header(token);
    }
    let lifecycle = match newest {
        true => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
        false => ClientLifecycleMode::Initialize,
    };
    client.serve_with_lifecycle(StreamableHttpClientTransport::from_config(config), lifecycle).await.unwrap()
}
async fn names(client: &Connected) -> Vec<String> {
    client.list_all_tools().await.unwrap().into_iter().map(|tool| tool.name.into_owned()).collect()
}
fn asked(tool: &str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else { panic!("an object") };
    CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)
}
async fn call(client: &Connected, tool: &str, arguments: Value) -> CallToolResult {
    client.call_tool(asked(tool, arguments)).await.unwrap()
}
async fn call_under(client: &Connected, key: &str, tool: &str, arguments: Value) -> CallToolResult {
    let mut meta = RequestMetaObject::new();
    meta.insert("io.maniple/idempotency-key".into(), key.into());
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(asked(tool, arguments)));
    let options = PeerRequestOptions::no_options().with_meta(meta);
    match client.send_request_with_option(request, options).await.unwrap().await_response().await.unwrap() {
        ServerResult::CallToolResult(result) => result,
        other => panic!("{other:?}"),
    }
}
fn text(result: &CallToolResult) -> &str {
    &result.content[0].as_text().unwrap().text
}
fn with(registry: Arc<Fake>, auth: Auth) -> House {
    build(Plan { registry, auth, agents: vec![agent("search"), agent("write")], ..Plan::default() })
}

#[tokio::test]
async fn the_catalogue_and_the_agents_are_tools_on_both_versions() {
    for newest in [true, false] {
        let registry = Arc::new(Fake::with(&["clock@1.0.0", "pay@2.1.0"]));
        let house = with(registry.clone(), Auth::Open);
        let client = connect(&served(&house).await, newest, Client::default(), None).await;
        let tools = client.list_all_tools().await.unwrap();
        let listed: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(listed, ["agent_search", "agent_write", "pay"], "clock is granted to nobody");
        assert_eq!(tools[2].input_schema["properties"]["n"]["type"], "integer");
        assert_eq!(tools[2].annotations.as_ref().unwrap().read_only_hint, Some(false));

        registry.will(Duration::ZERO, Invoked::Ok(json!({ "paid": 3 })));
        let paid = call(&client, "pay", json!({ "n": 3 })).await;
        assert_eq!((paid.is_error, &paid.structured_content), (Some(false), &Some(json!({ "paid": 3 }))));
        assert_eq!(text(&paid), r#"{"paid":3}"#);
        let made = registry.call();
        assert_eq!((made.agent.as_str(), &made.arguments), ("search", &json!({ "n": 3 })));
        assert_eq!(seen(&registry.direct).last().unwrap().principal(), "local");

        let answered = call(&client, "agent_write", json!({ "prompt": "hi", "session_id": "s1" })).await;
        assert_eq!((text(&answered), answered.is_error), ("answer to: hi", Some(false)));
        let result = answered.structured_content.unwrap();
        assert_eq!((&result["status"], &result["agent"], &result["session_id"]), (&json!("completed"), &json!("write"), &json!("s1")));
        let kept = house.get(&format!("/tasks/{}", result["task_id"].as_str().unwrap())).await;
        assert_eq!(kept.json(), result);
    }
}

#[tokio::test]
async fn a_registry_serves_its_tools_and_runs_no_agents() {
    let registry = Arc::new(Fake::with(&["pay@2.1.0"]));
    let house = build(Plan { registry: registry.clone(), agents: vec![agent("search")], serves: Serves::Registry, ..Plan::default() });
    let client = connect(&served(&house).await, true, Client::default(), None).await;
    assert_eq!(names(&client).await, ["pay"]);
    registry.will(Duration::ZERO, Invoked::Ok(json!(1)));
    assert_eq!(call(&client, "pay", json!({})).await.is_error, Some(false));
    let refused = client.call_tool(asked("agent_search", json!({ "prompt": "x" }))).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.is_error == Some(true)), "nobody would run it");
}

#[tokio::test]
async fn what_goes_wrong_is_told_so_that_a_model_can_read_it() {
    let registry = Arc::new(Fake::with(&["clock@1.0.0", "pay@2.1.0"]));
    let house = with(registry.clone(), Auth::Open);
    for newest in [true, false] {
        let client = connect(&served(&house).await, newest, Client::default(), None).await;
        for (outcome, said) in [
            (Invoked::Failed(json!({ "error": "no money" })), "no money"),
            (Invoked::Refused(Refusal { kind: RefusalKind::Arguments, message: "at /n: too big".into() }), "at /n: too big"),
            (Invoked::Unknown("no answer".into()), "no answer"),
        ] {
            registry.will(Duration::ZERO, outcome);
            let told = call(&client, "pay", json!({})).await;
            assert!(told.is_error == Some(true) && text(&told).contains(said), "{told:?}");
            assert_eq!(told.structured_content, None, "it would not fit what the tool promises");
            assert!(told.meta.as_ref().is_some_and(|meta| meta.get("io.maniple/problem").is_some()), "{told:?}");
        }
        let failed = call(&client, "agent_search", json!({ "prompt": "fail" })).await;
        assert!(failed.is_error == Some(true) && text(&failed).starts_with("model_denied"), "{failed:?}");
        assert!(failed.structured_content.is_none() && failed.meta.is_some_and(|meta| meta["io.maniple/result"]["status"] == "failed"));
        for (arguments, said) in [
            (json!({}), "prompt"),
            (json!({ "prompt": "" }), "prompt"),
            (json!({ "prompt": "x", "max_steps": 3 }), "`max_steps`"),
            (json!({ "prompt": "x", "task_id": "1" }), "alone"),
        ] {
            let told = call(&client, "agent_search", arguments).await;
            assert!(told.is_error == Some(true) && text(&told).contains(said), "{told:?}");
        }
        for unknown in ["clock", "agent_nobody", "nothing"] {
            let refused = client.call_tool(asked(unknown, json!({}))).await;
            assert!(matches!(&refused, Err(ServiceError::McpError(e)) if e.code == ErrorCode::INVALID_PARAMS), "{unknown}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_token_shows_and_allows_what_its_scopes_and_agents_do() {
    let tokens = [
        token("runner", "runner", &["write"], &[Scope::Run]),
        token("caller", "caller", &["search"], &[Scope::Tools]),
        token("reader", "reader", &["*"], &[Scope::Read]),
    ];
    let auth = Auth::of(Some(&config::Auth { tokens: tokens.into() }), false).unwrap();
    let house = with(Arc::new(Fake::with(&["pay@2.1.0"])), auth);
    let url = served(&house).await;
    for newest in [true, false] {
        let runner = connect(&url, newest, Client::default(), Some("runner")).await;
        assert_eq!(names(&runner).await, ["agent_write"]);
        assert!(runner.call_tool(asked("pay", json!({}))).await.is_err());
        assert!(runner.call_tool(asked("agent_search", json!({ "prompt": "x" }))).await.is_err());
        let mine = call(&runner, "agent_write", json!({ "prompt": "mine" })).await.structured_content.unwrap();

        let caller = connect(&url, newest, Client::default(), Some("caller")).await;
        assert_eq!(names(&caller).await, ["pay"]);
        assert!(caller.call_tool(asked("agent_write", json!({ "prompt": "x" }))).await.is_err());
        assert!(caller.call_tool(asked("agent_write", json!({ "task_id": mine["task_id"] }))).await.is_err(), "another tenant's");

        let reader = connect(&url, newest, Client::default(), Some("reader")).await;
        assert!(names(&reader).await.is_empty());
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    house.post("/mcp", body).await.problem(401);
}

#[tokio::test]
async fn a_client_that_speaks_tasks_gets_an_agents_task_under_its_own_id() {
    let house = with(Arc::new(Fake::default()), Auth::Open);
    let url = served(&house).await;
    let speaks = || Client { speaks_tasks: true, ..Client::default() };
    let client = connect(&url, true, speaks(), None).await;
    let CallToolResponse::Task(task) = client.call_tool_once(asked("agent_search", json!({ "prompt": "slow" }))).await.unwrap() else {
        panic!("a task")
    };
    drop(client);
    // Another connection: a task belongs to its tenant, not to a connection.
    let client = connect(&url, true, speaks(), None).await;
    let result = loop {
        let known = client.get_task(GetTaskParams::new(task.task.task_id.clone())).await.unwrap().task;
        match known.payload {
            TaskPayload::Completed { result } => break result,
            TaskPayload::Working => tokio::time::sleep(Duration::from_millis(50)).await,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(result["content"][0]["text"], "answer to: slow");
    assert_eq!(result["structuredContent"]["task_id"], task.task.task_id);
    assert_eq!(house.get(&format!("/tasks/{}", task.task.task_id)).await.json(), result["structuredContent"]);

    let CallToolResponse::Task(task) = client.call_tool_once(asked("agent_search", json!({ "prompt": "slow" }))).await.unwrap() else {
        panic!("a task")
    };
    client.cancel_task(CancelTaskParams::new(task.task.task_id.clone())).await.unwrap();
    for _ in 0..100 {
        if client.get_task(GetTaskParams::new(task.task.task_id.clone())).await.unwrap().task.payload == TaskPayload::Cancelled {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was not cancelled");
}

#[tokio::test]
async fn a_task_outlasts_the_patience_and_the_client_and_can_be_waited_for() {
    let house = with(Arc::new(Fake::default()), Auth::Open);
    let url = served(&house).await;
    for newest in [true, false] {
        let client = connect(&url, newest, Client::default(), None).await;
        let early = call(&client, "agent_search", json!({ "prompt": "slow" })).await;
        let id = early.structured_content.as_ref().unwrap()["task_id"].clone();
        assert!(early.is_error == Some(false) && text(&early).contains(id.as_str().unwrap()), "{early:?}");
        let late = call(&client, "agent_search", json!({ "task_id": id })).await;
        assert_eq!(text(&late), "answer to: slow");

        let leaving = tokio::time::timeout(Duration::from_millis(300), call(&client, "agent_write", json!({ "prompt": "slow leaver" })));
        assert!(leaving.await.is_err(), "the client left first");
    }
    for _ in 0..100 {
        let tasks = house.get("/tasks?agent=write&status=completed").await.json()["tasks"].as_array().unwrap().len();
        if tasks == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a task was lost with its client");
}

#[tokio::test]
async fn a_client_hears_of_progress_and_a_call_sent_again_is_not_made_again() {
    let registry = Arc::new(Fake::with(&["pay@2.1.0"]));
    let house = with(registry.clone(), Auth::Open);
    let url = served(&house).await;
    for newest in [true, false] {
        let client = Client::default();
        let progress = client.progress.clone();
        let client = connect(&url, newest, client, None).await;
        let key = format!("key-{newest}");
        let first = call_under(&client, &key, "agent_search", json!({ "prompt": "once" })).await;
        let again = call_under(&client, &key, "agent_search", json!({ "prompt": "once" })).await;
        assert_eq!(first.structured_content, again.structured_content);
        let told = progress.lock().unwrap().clone();
        assert!(told.contains(&"task.accepted".to_owned()) && told.contains(&"task.completed".to_owned()), "{told:?}");
        call_under(&client, &key, "pay", json!({})).await;
        assert_eq!(registry.call().key, format!("default/call/local/{key}"));
    }
    assert_eq!(seen(&registry.calls).len(), 2);
    assert_eq!(house.get("/tasks").await.json()["tasks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_same_asked_over_http_and_over_mcp_under_one_key_is_one_task() {
    let house = with(Arc::new(Fake::default()), Auth::Open);
    let client = connect(&served(&house).await, true, Client::default(), None).await;
    let asked = json!({ "prompt": "once", "session_id": "s" });
    for mcp_first in [true, false] {
        let key = format!("key-{mcp_first}");
        let by_mcp = async || call_under(&client, &key, "agent_search", asked.clone()).await.structured_content.unwrap()["task_id"].clone();
        let by_http = async || house.post_with("/agents/search/tasks", asked.clone(), ("Idempotency-Key", &key)).await;
        if mcp_first {
            let made = by_mcp().await;
            let found = by_http().await;
            assert_eq!((found.header("idempotency-replayed"), &found.json()["task_id"]), (Some("true"), &made));
        } else {
            let made = by_http().await;
            assert_eq!((made.header("idempotency-replayed"), &made.json()["task_id"]), (None, &by_mcp().await));
        }
        let other = json!({ "prompt": "other", "session_id": "s" });
        assert_eq!(
            house.post_with("/agents/search/tasks", other, ("Idempotency-Key", &key)).await.problem(422)["field"],
            "Idempotency-Key"
        );
    }
    assert_eq!(house.get("/tasks").await.json()["tasks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn pages_from_elsewhere_and_names_that_are_not_this_machine_s_are_refused() {
    let house = with(Arc::new(Fake::default()), Auth::Open);
    let list = || json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let asked = |header: &'static str, value: &'static str| {
        let mut request = posting("/mcp", &list());
        request.headers_mut().insert(header::ACCEPT, "application/json, text/event-stream".parse().unwrap());
        request.headers_mut().insert(header::HOST, "localhost:8080".parse().unwrap());
        request.headers_mut().insert(header, value.parse().unwrap());
        house.ask(request)
    };
    for (header, value) in
        [("origin", "https://evil.test"), ("origin", "null"), ("host", "evil.test"), ("host", "evil.test:8080"), ("host", "10.0.0.1")]
    {
        asked(header, value).await.problem(403);
    }
    for (header, value) in [("origin", "http://localhost:3000"), ("host", "127.0.0.1:8080"), ("host", "[::1]:8080"), ("host", "localhost")]
    {
        let answer = asked(header, value).await;
        assert_eq!(answer.status, StatusCode::OK, "{header} {value}: {}", String::from_utf8_lossy(&answer.bytes));
        assert_eq!(answer.json()["result"]["tools"][0]["name"], "agent_search");
    }
}

#[tokio::test]
async fn a_message_keeps_the_bounds_of_every_body() {
    let house = with(Arc::new(Fake::default()), Auth::Open);
    house.post("/mcp", json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": { "x": "x".repeat(2 << 20) } })).await.problem(413);
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let refused = house.post("/mcp", json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": deep })).await;
    assert!(refused.status.is_client_error(), "{refused:?}");
    assert_eq!(house.get("/mcp").await.problem(405)["status"], 405);
}

const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

/// A message as a client sends it.
fn posted(path: &str) -> http::request::Builder {
    Request::post(path).header("host", "localhost").header("content-type", "application/json").header(BOTH.0, BOTH.1)
}

#[tokio::test]
async fn what_is_no_message_is_answered_in_the_protocols_words() {
    let house = with(Arc::new(Fake::default()), Auth::Open);
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    for (body, code, id) in [
        (json!([ping]), -32600, json!(null)),
        (json!(7), -32600, json!(null)),
        (json!({ "jsonrpc": "2.0", "id": null, "method": "ping" }), -32600, json!(null)),
        (json!({ "jsonrpc": "2.0", "id": 1.5, "method": "ping" }), -32600, json!(null)),
        (json!({ "jsonrpc": "1.0", "id": "a", "method": "ping" }), -32600, json!("a")),
        (json!({ "hello": "world" }), -32600, json!(null)),
    ] {
        let answer = house.post_with("/mcp", body.clone(), BOTH).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {answer:?}");
        let told = answer.json();
        assert_eq!((&told["error"]["code"], &told["id"], &told["jsonrpc"]), (&json!(code), &id, &json!("2.0")), "{body}: {told}");
    }
    let broken = posted("/mcp").body(Body::from("{no")).unwrap();
    assert_eq!(house.ask(broken).await.json()["error"]["code"], -32700);
    for path in ["/mcp", "/mcp/"] {
        let answer = house.ask(posted(path).body(Body::from(ping.to_string())).unwrap()).await;
        assert_eq!(answer.json()["result"], json!({}), "{path}");
    }
}

#[tokio::test]
async fn an_argument_that_travels_in_a_header_too_must_be_the_same_in_both() {
    let registry = Arc::new(Fake::with(&["pay@2.1.0"]));
    registry.change("pay@2.1.0", |known| {
        known.definition.parameters =
            json!({ "type": "object", "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } });
    });
    let house = with(registry.clone(), Auth::Open);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "c", "version": "1" },
    });
    let call = json!({ "name": "pay", "arguments": { "region": "eu" }, "_meta": meta });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call });
    let ask = async |region: Option<&str>| {
        let request =
            posted("/mcp").header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/call").header("mcp-name", "pay");
        let request = if let Some(region) = region { request.header("mcp-param-region", region) } else { request };
        house.ask(request.body(Body::from(message.to_string())).unwrap()).await
    };
    for wrong in [None, Some("us"), Some("=?base64?!!?=")] {
        let answer = ask(wrong).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32020)), "{wrong:?}");
    }
    assert_eq!(seen(&registry.calls).len(), 0);
    for right in ["eu", "=?base64?ZXU=?="] {
        assert_eq!(ask(Some(right)).await.status, StatusCode::OK, "{right}");
    }
    assert_eq!(seen(&registry.calls).len(), 2);
}

#[tokio::test]
async fn pictures_and_progress_of_a_tool_are_passed_on() {
    let registry = Arc::new(Fake::with(&["pay@2.1.0"]));
    let house = with(registry.clone(), Auth::Open);
    let url = served(&house).await;
    let picture = json!({ "type": "image", "data": "aGk=", "mimeType": "image/png" });
    let shown = json!([{ "type": "text", "text": "see" }, picture]);
    for newest in [true, false] {
        let client = Client::default();
        let progress = client.progress.clone();
        let client = connect(&url, newest, client, None).await;
        *seen(&registry.pieces) = shown.as_array().unwrap().clone();
        registry.will(Duration::from_millis(50), Invoked::Ok(json!([{ "type": "image", "bytes": 2 }])));
        let result = call_under(&client, &format!("key-{newest}"), "pay", json!({})).await;
        assert_eq!((serde_json::to_value(&result.content).unwrap(), result.structured_content), (shown.clone(), None));
        assert_eq!(*progress.lock().unwrap(), ["half"]);
        // Text alone is told as it always is, and so is what the protocol cannot carry.
        for pieces in [json!([{ "type": "text", "text": "raw" }]), json!([{ "type": "hologram" }])] {
            *seen(&registry.pieces) = pieces.as_array().unwrap().clone();
            registry.will(Duration::ZERO, Invoked::Ok(json!("raw")));
            assert_eq!(text(&call(&client, "pay", json!({})).await), "raw");
        }
    }
}

#[tokio::test]
async fn what_is_listed_can_be_called_whatever_another_agent_lists() {
    let registry = Arc::new(Fake::with(&["pay@2.0.0-rc.1"]));
    let house = build(Plan { registry: registry.clone(), agents: vec![agent("twice"), agent("search")], ..Plan::default() });
    let client = connect(&served(&house).await, true, Client::default(), None).await;
    assert!(names(&client).await.contains(&"pay".to_owned()), "an agent whose grants cannot be had hides nobody else's");
    assert_eq!(call(&client, "pay", json!({})).await.is_error, Some(false));
    assert_eq!(registry.call().tool.version.to_string(), "2.0.0-rc.1");
    let nonsense = rmcp::model::PaginatedRequestParams::default().with_cursor(Some("nonsense".into()));
    let refused = client.list_tools(Some(nonsense)).await;
    assert!(matches!(&refused, Err(ServiceError::McpError(e)) if e.code == ErrorCode::INVALID_PARAMS), "{refused:?}");
}

#[tokio::test]
async fn a_call_asks_for_the_catalogue_once() {
    let registry = Arc::new(Fake::with(&["pay@2.1.0"]));
    let house = with(registry.clone(), Auth::Open);
    for newest in [true, false] {
        let client = connect(&served(&house).await, newest, Client::default(), None).await;
        let before = *seen(&registry.asked);
        assert_eq!(call(&client, "pay", json!({})).await.is_error, Some(false));
        assert_eq!(*seen(&registry.asked) - before, 2, "each of the two agents is asked about once");
    }
}
