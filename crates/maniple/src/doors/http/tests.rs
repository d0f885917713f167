//! The door over a whole node in one process: the memory store, the real worker, a model that says what it is told to.

mod approvals;
mod asking;
mod described;
pub(super) mod guarding;
mod matrix;
mod mcp;
mod reading;
mod tools;

use super::*;
use crate::config;
use axum::{body::Body, response::Response};
use futures::StreamExt;
use http::{HeaderMap, Request, StatusCode, header};
use maniple_api::probe::{Part, PartState};
use maniple_backends::{TokioClock, local, memory};
use maniple_core::{
    AgentName, Time,
    agent::{AgentDefinition, AgentLimits},
    message::{FinishReason, ModelReply, Reasoning},
    model::{Fault, FaultKind, ModelName, ModelRequest},
    ports::{Bus, ToolRegistry, Upkeep, Work as _},
    task::TaskLimits,
};
use maniple_runtime::{
    Agents, ModelHealth, Parts, Worker, WorkerSettings,
    desk::{self, Desk, DeskParts},
    jobs,
    spans::Tracing,
};
use maniple_testkit::{
    catalogue::Fake,
    ledger::{Ledger, Tools},
    model::{self, text},
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use tower::ServiceExt;

/// A node, its door, and what a test may want to touch.
pub(super) struct House {
    pub router: Router,
    pub store: Arc<memory::TaskStore>,
    pub bus: Arc<local::Bus>,
    pub closing: CancellationToken,
    pub ready: Arc<AtomicBool>,
    _stop: tokio_util::sync::DropGuard,
}

/// How a house differs from the usual one.
pub(super) struct Plan {
    pub agents: Vec<AgentDefinition>,
    pub limits: Limits,
    pub desk: desk::Limits,
    pub tasks: TaskLimits,
    pub auth: Auth,
    pub collector: Option<[u8; 32]>,
    pub cors: CorsSettings,
    pub work: bool,
    pub registry: Arc<dyn ToolRegistry>,
    pub serves: Serves,
    pub upkeep: Option<Arc<dyn Upkeep>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            agents: vec![agent("search")],
            limits: Limits::default(),
            desk: desk::Limits::default(),
            tasks: TaskLimits::default(),
            auth: Auth::Open,
            cors: CorsSettings::default(),
            collector: None,
            work: true,
            registry: Arc::new(Fake::default()),
            serves: Serves::All,
            upkeep: None,
        }
    }
}

pub(super) fn agent(name: &str) -> AgentDefinition {
    AgentDefinition {
        publish: Default::default(),
        name: AgentName::parse(name).unwrap(),
        description: "For tests.".into(),
        version: "1.0.0".parse().unwrap(),
        model: ModelName::parse("fake/model").unwrap(),
        fallbacks: vec![],
        tools: vec![],
        limits: AgentLimits { sync_run_ms: Some(2_000), ..AgentLimits::default() },
        options: Default::default(),
        memory: Default::default(),
        output_schema: None,
        examples: vec![],
        prompt: "You are tested.".into(),
    }
}

struct Switch(Arc<AtomicBool>);
#[async_trait::async_trait]
impl Readiness for Switch {
    async fn parts(&self) -> Vec<Part> {
        let (state, detail) = match self.0.load(Ordering::SeqCst) {
            true => (PartState::Ready, None),
            false => (PartState::Failed, Some("the disk is gone".to_owned())),
        };
        vec![Part { name: "store".into(), state, detail }, Part { name: "model:search".into(), state: PartState::Ready, detail: None }]
    }
}

/// Says `answer to: …`; a prompt that begins with `slow` takes 3 s, one that begins with `fail` fails, over one that begins with
/// `hard` it thinks.
fn says(_: u64, request: &ModelRequest) -> (Duration, Result<ModelReply, Fault>) {
    let asked = request.messages.iter().rev().find_map(|message| match message {
        maniple_core::message::Message::User { content } => Some(content.clone()),
        _ => None,
    });
    let asked = asked.unwrap_or_default();
    let wait = Duration::from_secs(if asked.starts_with("slow") { 3 } else { 0 });
    match asked.starts_with("fail") {
        true => (wait, Err(Fault::new(FaultKind::Denied, "the key is wrong"))),
        false => {
            let thought = Reasoning { text: "hm".into(), verbatim: Some("SIGNED".into()), ..Reasoning::default() };
            let reasoning = asked.starts_with("hard").then_some(thought);
            (wait, Ok(ModelReply { finish_reason: FinishReason::Stop, reasoning, ..text(format!("answer to: {asked}")) }))
        }
    }
}

pub(super) fn house() -> House {
    build(Plan::default())
}

pub(super) fn build(plan: Plan) -> House {
    let clock = TokioClock::starting_at(Time::parse("2026-11-22T12:00:00Z").unwrap());
    let store = Arc::new(memory::TaskStore::with_clock(Arc::new(clock)));
    let bus = Arc::new(local::Bus::new());
    let agents = Agents::new(plan.agents);
    let parts = Parts {
        work: store.clone(),
        bus: bus.clone() as Arc<dyn Bus>,
        models: Arc::new(model::Fake::new(says)),
        tools: Arc::new(Tools::new(Ledger::new(), vec![])),
        agents: agents.clone(),
        health: Arc::new(ModelHealth::default()),
        aside: Default::default(),
        tracing: Tracing::default(),
    };
    let stop = CancellationToken::new();
    let worker = Worker::new(parts.clone(), WorkerSettings::default(), stop.clone());
    let mut starter = None;
    if plan.work {
        starter = Some(worker.starter(store.clone()));
        tokio::spawn(jobs::sweep(store.clone(), bus.clone(), worker.holds(), stop.clone()));
        tokio::spawn(worker.work());
    }
    let (closing, ready) = (CancellationToken::new(), Arc::new(AtomicBool::new(true)));
    let desk_parts = DeskParts {
        tasks: store.clone(),
        bus: bus.clone(),
        agents: agents.clone(),
        registry: plan.registry,
        aside: Default::default(),
        starter,
        tracing: Default::default(),
    };
    let door = Door {
        desk: Desk::new(desk_parts, desk::Terms { limits: plan.desk, tasks: plan.tasks, ..Default::default() }),
        upkeep: plan.upkeep.unwrap_or_else(|| store.clone()),
        agents,
        auth: plan.auth,
        collector: plan.collector,
        cors: plan.cors,
        limits: plan.limits,
        metrics: Arc::new(|| "# TYPE maniple_up gauge\nmaniple_up 1\n".to_owned()),
        readiness: Arc::new(Switch(ready.clone())),
        closing: closing.clone(),
        sockets: tokio_util::task::TaskTracker::new(),
        leaving: CancellationToken::new(),
        serves: plan.serves,
    };
    House { router: router(door), store, bus, closing, ready, _stop: stop.drop_guard() }
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.bytes)))
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
    /// It is a problem of this status; returns it.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem} lacks {member}");
        }
        problem
    }
}

/// A body as a connection takes it, piece by piece.
pub async fn taken(body: Body) -> Vec<u8> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    bytes
}

impl House {
    pub async fn open(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }
    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.open(request).await;
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, bytes: taken(body).await }
    }
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Request::delete(path).body(Body::empty()).unwrap()).await
    }
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(posting(path, &body)).await
    }
    pub async fn post_with(&self, path: &str, body: Value, header: (&str, &str)) -> Answer {
        let mut request = posting(path, &body);
        request.headers_mut().insert(http::HeaderName::from_bytes(header.0.as_bytes()).unwrap(), header.1.parse().unwrap());
        self.ask(request).await
    }
    /// A finished task.
    pub async fn run(&self, prompt: &str) -> Value {
        let answer = self.post("/run", json!({ "prompt": prompt })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        answer.json()
    }
    pub async fn ended(&self, id: &str) -> Value {
        loop {
            let task = self.get(&format!("/tasks/{id}")).await.json();
            if task["finished_at"].is_string() {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub(super) fn posting(path: &str, body: &Value) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
}

pub(super) fn empty_post(path: &str) -> Request<Body> {
    Request::post(path).body(Body::empty()).unwrap()
}

/// One SSE frame: id, event, data.
pub(super) type Frame = (Option<u64>, String, Value);

pub(super) fn frames(bytes: &[u8]) -> Vec<Frame> {
    let text = std::str::from_utf8(bytes).unwrap();
    // What was cut off in the middle was not received.
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    let field = |block: &str, name: &str| block.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    let blocks = whole.split("\n\n").filter(|block| block.contains("data: "));
    blocks
        .map(|block| {
            let data = serde_json::from_str(&field(block, "data: ").unwrap()).unwrap();
            (field(block, "id: ").map(|id| id.parse().unwrap()), field(block, "event: ").unwrap(), data)
        })
        .collect()
}
