//! A model and a tool in one process, fast enough not to be what is measured.
//!
//! `mock PORT`. `POST /v1/chat/completions` speaks Chat Completions, streamed or not; the model's name says what it does:
//!
//! | model | does |
//! |---|---|
//! | `final` | answers at once |
//! | `slow-MS` | answers after MS milliseconds |
//! | `tools-N` | asks for N rounds of one tool call, each with other arguments, then answers |
//!
//! `POST /tool` answers any call with 1,000 characters of text. `GET /peak` tells how many model calls were
//! in flight at once at most, and begins to count anew.

use axum::{
    Json, Router,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    env::args,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What of a request the mock looks at.
#[derive(Deserialize)]
struct Request {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    stream: bool,
}
#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<String>,
    #[serde(default)]
    tool_calls: Vec<serde::de::IgnoredAny>,
}
#[derive(Deserialize)]
struct Tool {
    function: Function,
}
#[derive(Deserialize)]
struct Function {
    name: String,
}

/// What is counted.
#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    in_flight: AtomicU64,
    peak: AtomicU64,
}

/// What the model says.
struct Reply {
    id: String,
    model: String,
    text: Option<String>,
    call: Option<Value>,
    usage: Value,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = args().nth(1).ok_or("usage: mock PORT")?.parse()?;
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(async || Json(json!({ "object": "list", "data": [{ "id": "final", "object": "model" }] }))))
        .route("/tool", post(async || "x".repeat(1_000)))
        .route("/peak", get(peak))
        .with_state(Arc::new(Counts::default()));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, router).await?)
}

async fn peak(State(counts): State<Arc<Counts>>) -> String {
    counts.peak.swap(0, Ordering::Relaxed).to_string()
}

async fn chat(State(counts): State<Arc<Counts>>, Json(request): Json<Request>) -> Response {
    let in_flight = counts.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
    counts.peak.fetch_max(in_flight, Ordering::Relaxed);
    if let Some(wait) = request.model.strip_prefix("slow-").and_then(|ms| ms.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    counts.in_flight.fetch_sub(1, Ordering::Relaxed);
    let number = counts.calls.fetch_add(1, Ordering::Relaxed);
    let is_streamed = request.stream;
    let reply = Reply::to(request, number);
    if is_streamed { reply.streamed() } else { reply.plain() }
}

impl Reply {
    fn to(request: Request, number: u64) -> Self {
        let Request { model, messages, tools, .. } = request;
        let rounds: usize = model.strip_prefix("tools-").and_then(|n| n.parse().ok()).unwrap_or(0);
        let done = messages.iter().filter(|message| !message.tool_calls.is_empty()).count();
        let tool = tools.into_iter().next().filter(|_| done < rounds);
        let call = tool.map(|tool| {
            // Other arguments each time: a model that repeats itself is stopped.
            let function = json!({ "name": tool.function.name, "arguments": json!({ "query": format!("page {done}") }).to_string() });
            json!({ "id": format!("call_{number}"), "type": "function", "function": function })
        });
        let asked = messages.iter().rev().find(|message| message.role == "user").and_then(|message| message.content.as_deref());
        let text = call.is_none().then(|| format!("answer to: {}", asked.unwrap_or_default()));
        let characters: usize = messages.iter().filter_map(|message| message.content.as_ref()).map(String::len).sum();
        let (input, output) = (characters / 4 + 1, 16);
        let usage = json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output });
        Self { id: format!("chatcmpl-{number}"), model, text, call, usage }
    }

    fn finish_reason(&self) -> &'static str {
        if self.call.is_some() { "tool_calls" } else { "stop" }
    }

    fn plain(self) -> Response {
        let mut message = json!({ "role": "assistant", "content": self.text });
        if let Some(call) = &self.call {
            message["tool_calls"] = json!([call]);
        }
        let choice = json!({ "index": 0, "message": message, "finish_reason": self.finish_reason() });
        Json(json!({ "id": self.id, "object": "chat.completion", "created": 1, "model": self.model, "choices": [choice], "usage": self.usage }))
            .into_response()
    }

    /// Role, then a piece for each word or the call, then the reason, then the usage.
    fn streamed(self) -> Response {
        let mut deltas = vec![json!({ "role": "assistant", "content": "" })];
        deltas.extend(self.text.iter().flat_map(|text| text.split_inclusive(' ')).map(|word| json!({ "content": word })));
        deltas.extend(self.call.iter().map(|call| {
            let mut call = call.clone();
            call["index"] = json!(0);
            json!({ "tool_calls": [call] })
        }));
        let chunk = |choices: Value, usage: &Value| json!({ "id": self.id, "object": "chat.completion.chunk", "created": 1, "model": self.model, "choices": choices, "usage": usage });
        let choice = |delta: Value, reason: Value| json!([{ "index": 0, "delta": delta, "finish_reason": reason }]);
        let mut chunks: Vec<String> = deltas.into_iter().map(|delta| chunk(choice(delta, Value::Null), &Value::Null).to_string()).collect();
        chunks.push(chunk(choice(json!({}), json!(self.finish_reason())), &Value::Null).to_string());
        chunks.push(chunk(json!([]), &self.usage).to_string());
        chunks.push("[DONE]".into());
        Sse::new(stream::iter(chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Event::default().data(chunk))))).into_response()
    }
}
