//! A copy of an old store with the project it belongs to, everything that project talks to, and the built binary over it.

use super::manifest::{Manifest, Task};
use crate::node;
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Uri},
    routing::{any, post},
};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read},
    path::Path,
    process::Child,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

/// Where the project finds its model and its tools: it is in the definitions that the store keeps by their hash, so it cannot be chosen here.
const OUTSIDE: (&str, u16) = ("127.0.0.1", 17_113);
/// How long another test may have that port.
const TURN: Duration = Duration::from_secs(120);
/// The longest anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    /// Killed first: nothing it sends may reach whoever has the port next.
    _node: Killed,
    pub outside: Outside,
    pub manifest: Manifest,
    url: String,
    client: reqwest::Client,
    _folder: TempDir,
}

struct Killed(Child);
impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    /// Opens the store that was made for this version of its tables.
    pub async fn of(version: &str) -> Self {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stores").join(version);
        let folder = tempfile::tempdir().expect("a folder");
        copy(&fixture, folder.path());
        let outside = Outside::start().await;
        let mut node = Killed(node::spawn(folder.path(), &["serve", "--json"]));
        let mut line = String::new();
        BufReader::new(node.0.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        if line.is_empty() {
            let mut log = String::new();
            let _ = node.0.stderr.take().expect("piped").read_to_string(&mut log);
            panic!("it does not open: {log}");
        }
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        let (manifest, url) = (Manifest::read(folder.path()), said["url"].as_str().expect("a URL").to_owned());
        Self { _node: node, outside, manifest, url, client, _folder: folder }
    }

    fn token(&self, who: &str) -> &str {
        &self.manifest.tokens[who]
    }

    pub async fn get(&self, who: &str, path: &str) -> (StatusCode, Value) {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(self.token(who));
        answer(request.send().await.expect("the node answers")).await
    }

    /// The answer, and whether it says that it is a repeated one.
    pub async fn post(&self, who: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> (StatusCode, Value, bool) {
        let mut request = self.client.post(format!("{}{path}", self.url)).bearer_auth(self.token(who));
        request = key.into_iter().fold(request, |request, key| request.header("Idempotency-Key", key));
        request = body.into_iter().fold(request, |request, body| request.json(body));
        let response = request.send().await.expect("the node answers");
        let is_replayed = response.headers().get("idempotency-replayed").is_some_and(|told| told == "true");
        let (status, answer) = answer(response).await;
        (status, answer, is_replayed)
    }

    /// Asks until the answer will do.
    pub async fn until(&self, who: &str, path: &str, will_do: impl Fn(StatusCode, &Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let (status, found) = self.get(who, path).await;
            if will_do(status, &found) {
                return found;
            }
            assert!(Instant::now() < end, "{path} stays {status} {found}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The ids of all tasks of a principal's tenant, sorted.
    pub async fn tasks_of(&self, who: &str) -> Vec<String> {
        let (_, page) = self.get(who, "/tasks?limit=200").await;
        let tasks = page["tasks"].as_array().expect("tasks");
        let mut ids: Vec<String> = tasks.iter().map(|task| task["task_id"].as_str().expect("an id").to_owned()).collect();
        ids.sort_unstable();
        ids
    }

    /// All events of a task that has ended, each as the line that readers are sent.
    pub async fn events(&self, task: &Task) -> Vec<String> {
        let request = self.client.get(format!("{}/tasks/{}/events", self.url, task.id)).bearer_auth(self.token(&task.r#as));
        let text = request.send().await.expect("the node answers").text().await.expect("a stream that ends");
        let numbered = text.split("\n\n").filter(|frame| frame.starts_with("id: "));
        numbered.filter_map(|frame| frame.lines().find_map(|line| line.strip_prefix("data: "))).map(str::to_owned).collect()
    }
}

async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    (status, response.json().await.expect("JSON"))
}

/// As the manifest has it.
pub fn sha256(events: &[String]) -> String {
    let mut hash = Sha256::new();
    for event in events {
        hash.update(event);
        hash.update("\n");
    }
    hex::encode(hash.finalize())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(path, copied).expect("copied");
        }
    }
}

/// One server for the model and all tools: it remembers everything, answers all prompts alike and fails nothing.
pub struct Outside {
    memory: Memory,
    serving: JoinHandle<()>,
}

type Memory = Arc<Mutex<Heard>>;
#[derive(Default)]
struct Heard {
    /// The Idempotency-Keys of tool calls, in the order in which they came.
    keys: Vec<String>,
    /// The bodies of model requests.
    asked: Vec<Value>,
}

impl Outside {
    /// Waits for its turn at the port.
    async fn start() -> Self {
        let end = Instant::now() + TURN;
        let listener = loop {
            match TcpListener::bind(OUTSIDE).await {
                Ok(listener) => break listener,
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("port {} cannot be listened on: {error}", OUTSIDE.1),
            }
        };
        let memory = Memory::default();
        let router = Router::new().route("/v1/chat/completions", post(model)).fallback(any(tool)).with_state(memory.clone());
        let serving = tokio::spawn(async move {
            // It ends with its listener, which never does.
            let _ = axum::serve(listener, router).await;
        });
        Self { memory, serving }
    }

    /// The keys under which calls arrived at tools, sorted.
    pub fn arrivals(&self) -> Vec<String> {
        let mut keys = self.memory.lock().expect("no holder panics").keys.clone();
        keys.sort_unstable();
        keys
    }

    /// The messages of every model request in which this prompt stands last among those of users.
    pub fn asked(&self, prompt: &str) -> Vec<Value> {
        let heard = self.memory.lock().expect("no holder panics");
        let is_it = |messages: &&Value| {
            let by_user = |message: &&Value| message["role"] == "user";
            messages.as_array().and_then(|all| all.iter().rfind(by_user)).is_some_and(|last| last["content"] == prompt)
        };
        heard.asked.iter().map(|request| &request["messages"]).filter(is_it).cloned().collect()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn model(State(memory): State<Memory>, Json(request): Json<Value>) -> Json<Value> {
    let message = json!({ "role": "assistant", "content": "Answered by a newer one." });
    let reply = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request["model"],
        "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 40, "completion_tokens": 12, "total_tokens": 52 },
    });
    memory.lock().expect("no holder panics").asked.push(request);
    Json(reply)
}

async fn tool(State(memory): State<Memory>, uri: Uri, headers: HeaderMap, _whole: Bytes) -> Json<Value> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    memory.lock().expect("no holder panics").keys.push(key.to_owned());
    Json(json!({ "done": uri.path(), "by": "a newer server" }))
}
