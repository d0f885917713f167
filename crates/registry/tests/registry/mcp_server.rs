//! An MCP server to import: in this process behind HTTP, or this test binary started as a command.
//!
//! Every call it gets is written to a ledger before anything else happens, so that what arrived is known from outside.

use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult, PaginatedRequestParams,
        ProtocolVersion, ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
    transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager},
};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;

/// The calls that arrived at a server.
#[derive(Clone)]
pub struct Ledger(PathBuf);

impl Ledger {
    pub fn new(dir: &Path) -> Self {
        Self(dir.join("ledger"))
    }
    fn write(&self, entry: &Value) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        // In one piece: somebody reads it all the while.
        file.write_all(format!("{entry}\n").as_bytes()).unwrap();
    }
    /// Every arrival of a tool's calls, oldest first.
    pub fn of(&self, tool: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|entry| entry["tool"] == tool).collect()
    }
}

/// What a server offers, and how it behaves.
#[derive(Clone)]
pub struct Served {
    pub tools: watch::Sender<Vec<Value>>,
    pub versions: &'static [ProtocolVersion],
    pub page: usize,
    pub tells_changes: bool,
    pub ledger: Ledger,
    pub initialized: Arc<Mutex<Vec<rmcp::service::Peer<RoleServer>>>>,
}

pub const NEWEST: &[ProtocolVersion] = &[ProtocolVersion::V_2026_07_28];
pub const BEFORE: &[ProtocolVersion] = &[ProtocolVersion::V_2025_11_25];

/// A tool as it is listed.
pub fn listed(name: &str, annotations: Value) -> Value {
    json!({ "name": name, "description": format!("The tool {name}."), "inputSchema": { "type": "object" }, "annotations": annotations })
}

impl Served {
    pub fn new(ledger: Ledger, versions: &'static [ProtocolVersion]) -> Self {
        let tools = vec![
            listed("echo", json!({ "readOnlyHint": true })),
            listed("set", json!({ "idempotentHint": true })),
            listed("pay", json!({})),
            listed("fail", json!({})),
            listed("refuse", json!({})),
            listed("hang", json!({})),
        ];
        Self { tools: watch::Sender::new(tools), versions, page: 100, tells_changes: true, ledger, initialized: Arc::default() }
    }

    /// Tells the clients of before 2026-07-28, too.
    pub async fn change(&self, tools: Vec<Value>) {
        self.tools.send_replace(tools);
        let peers = self.initialized.lock().unwrap().clone();
        for peer in peers {
            let _ = peer.notify_tool_list_changed().await;
        }
    }
}

impl ServerHandler for Served {
    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(self.versions)
    }
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools();
        let capabilities = if self.tells_changes { capabilities.enable_tool_list_changed().build() } else { capabilities.build() };
        ServerConfig::new(capabilities).with_server_info(Implementation::new("shop", "2.1.0"))
    }
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.initialized.lock().unwrap().push(context.peer);
    }
    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut tools = self.tools.subscribe();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = tools.changed() => if changed.is_err() || context.sink().notify_tool_list_changed().await.is_err() { return Ok(()) },
            }
        }
    }
    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let from: usize = request.and_then(|r| r.cursor).map_or(0, |cursor| cursor.parse().unwrap());
        let tools: Vec<Tool> = self.tools.borrow().iter().map(|tool| serde_json::from_value(tool.clone()).unwrap()).collect();
        let until = (from + self.page).min(tools.len());
        let mut page = ListToolsResult::with_all_items(tools[from..until].to_vec());
        page.next_cursor = (until < tools.len()).then(|| until.to_string());
        Ok(page)
    }
    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let meta = |key: &str| context.meta.get(key).cloned();
        let entry = json!({
            "tool": request.name, "arguments": request.arguments, "key": meta("io.maniple/idempotency-key"),
            "traceparent": meta("traceparent"), "tracestate": meta("tracestate"),
        });
        self.ledger.write(&entry);
        match (&*request.name, request.arguments.as_ref().and_then(|a| a.get("do")).and_then(Value::as_str)) {
            ("fail", _) => Ok(CallToolResult::error(vec![ContentBlock::text("no such file")]).into()),
            ("refuse", _) => Err(ErrorData::invalid_params("never heard of it", Some(json!({ "hint": "spell it" })))),
            ("hang", _) => {
                context.ct.cancelled().await;
                self.ledger.write(&json!({ "tool": "hang", "cancelled": true }));
                Err(ErrorData::internal_error("cancelled", None))
            }
            // Dies on the first arrival of a tool's call, not on the second.
            (tool, Some("die once")) if self.ledger.of(tool).len() == 1 => std::process::abort(),
            (_, Some("wait once")) if self.ledger.of(&request.name).len() == 1 => std::future::pending().await,
            (_, Some("tell its environment")) => {
                let environment: BTreeMap<String, String> = std::env::vars().collect();
                Ok(CallToolResult::structured(json!({ "environment": environment, "process": std::process::id() })).into())
            }
            _ => Ok(CallToolResult::structured(entry).into()),
        }
    }
}

/// A server behind HTTP that can be killed in the middle of anything, on a runtime of its own.
pub struct HttpServer {
    pub address: SocketAddr,
    pub served: Served,
    runtime: Option<tokio::runtime::Runtime>,
}

impl HttpServer {
    pub fn start(served: Served) -> Self {
        Self::start_at(served, "127.0.0.1:0".parse().unwrap())
    }
    pub fn start_at(served: Served, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = std::net::TcpListener::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let handler = served.clone();
        let service: StreamableHttpService<Served, LocalSessionManager> = StreamableHttpService::new(
            move || Ok(handler.clone()),
            Default::default(),
            StreamableHttpServerConfig::default().with_sse_retry(Some(Duration::from_millis(20))),
        );
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(socket).unwrap();
            axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await
        });
        Self { address, served, runtime: Some(runtime) }
    }
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
    /// Every connection breaks; nothing is said.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
    /// Until its address is free, and whoever was connected to it can know that it is gone.
    pub async fn gone(&mut self) {
        self.kill();
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if std::net::TcpListener::bind(self.address).is_ok() {
                return tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        panic!("its address is not free");
    }
    /// Another process at the same address, which knows no session of the one before.
    pub async fn restart(&mut self) {
        self.gone().await;
        let served = Served { initialized: Arc::default(), ..self.served.clone() };
        *self = Self::start_at(served, self.address);
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The command that starts this test binary as a server on its standard streams.
pub fn command() -> Vec<String> {
    let me = std::env::current_exe().unwrap().display().to_string();
    [&me, "mcp_server::serve_on_standard_streams", "--exact", "--ignored", "--nocapture", "--test-threads=1"].map(String::from).to_vec()
}

#[tokio::test]
#[ignore = "a server, started by other tests"]
async fn serve_on_standard_streams() {
    println!(); // the test harness has begun a line
    let ledger = Ledger(std::env::var("LEDGER").unwrap().into());
    let versions = if std::env::var("VERSION").as_deref() == Ok("2025-11-25") { BEFORE } else { NEWEST };
    eprintln!("here I am");
    let serving = Served::new(ledger, versions).serve((tokio::io::stdin(), tokio::io::stdout())).await;
    let _ = serving.unwrap().waiting().await;
}
