//! The fickle model behind OpenAI's Chat Completions, streaming and not, on loopback.

use super::Fickle;
use axum::{
    Json, Router,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::post,
};
use maniple_core::message::{FinishReason, ModelReply};
use serde_json::{Value, json};
use std::{convert::Infallible, io, net::SocketAddr};
use tokio::{net::TcpListener, task::JoinHandle};

/// A model server. It ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    /// Listens on a port of its own. A model named `tools-R-xW` asks for R rounds of W calls; any other is `model`.
    pub async fn start(model: Fickle) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/v1/chat/completions", post(chat)).with_state(model);
        let serving = tokio::spawn(async move {
            // It ends with its listener, which never does.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, serving })
    }
    /// What a provider's `base_url` is.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn chat(State(model): State<Fickle>, Json(request): Json<Value>) -> Response {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let by_user = |message: &&Value| message["role"] == "user";
    let mark = messages.iter().rev().find(by_user).map(|message| content(&message["content"])).unwrap_or_default();
    let since = messages.iter().rev().take_while(|message| !by_user(message));
    let done = since.filter(|m| m["role"] == "assistant" && m["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty())).count();
    let tools: Vec<&str> = request["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["function"]["name"].as_str()).collect();
    let model = named(model, request["model"].as_str().unwrap_or_default());
    let reply = model.say(&mark, done, &tools);
    tokio::time::sleep(model.delay).await;
    if request["stream"] == true { stream(&reply) } else { Json(whole(&reply)).into_response() }
}

fn named(model: Fickle, name: &str) -> Fickle {
    let numbers = name.strip_prefix("tools-").and_then(|rest| rest.split_once("-x"));
    match numbers.and_then(|(rounds, width)| Some((rounds.parse().ok()?, width.parse().ok()?))) {
        Some((rounds, width)) => Fickle { rounds, width, ..model },
        None => model,
    }
}

fn content(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn calls(reply: &ModelReply) -> Vec<Value> {
    let call = |call: &maniple_core::message::ToolCall| json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } });
    reply.calls.iter().map(call).collect()
}

fn finish(reply: &ModelReply) -> &'static str {
    if reply.finish_reason == FinishReason::ToolCalls { "tool_calls" } else { "stop" }
}

fn usage(reply: &ModelReply) -> Value {
    let (input, output) = (reply.usage.input_tokens, reply.usage.output_tokens);
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
}

fn whole(reply: &ModelReply) -> Value {
    let mut message = json!({ "role": "assistant", "content": reply.text });
    if !reply.calls.is_empty() {
        message["tool_calls"] = calls(reply).into();
    }
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish(reply) });
    json!({ "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": reply.model, "choices": [choice], "usage": usage(reply) })
}

/// Words one by one; the arguments of every call in two halves.
fn stream(reply: &ModelReply) -> Response {
    let mut deltas = vec![json!({ "role": "assistant", "content": "" })];
    deltas.extend(reply.text.iter().flat_map(|text| text.split_inclusive(' ')).map(|word| json!({ "content": word })));
    for (index, call) in reply.calls.iter().enumerate() {
        let (first, second) = call.arguments.split_at(call.arguments.len() / 2);
        let begins = json!({ "index": index, "id": call.id, "type": "function", "function": { "name": call.name, "arguments": first } });
        deltas.push(json!({ "tool_calls": [begins] }));
        deltas.push(json!({ "tool_calls": [{ "index": index, "function": { "arguments": second } }] }));
    }
    let mut choices: Vec<Value> = deltas.into_iter().map(|delta| json!([{ "index": 0, "delta": delta, "finish_reason": null }])).collect();
    choices.push(json!([{ "index": 0, "delta": {}, "finish_reason": finish(reply) }]));
    let chunk = |choices: Value, usage: Value| json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": reply.model, "choices": choices, "usage": usage });
    let mut chunks: Vec<String> = choices.into_iter().map(|choices| chunk(choices, Value::Null).to_string()).collect();
    chunks.push(chunk(json!([]), usage(reply)).to_string());
    chunks.push("[DONE]".to_owned());
    let events = chunks.into_iter().map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    Sse::new(futures::stream::iter(events)).into_response()
}
