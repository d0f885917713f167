//! Processes of a fleet over one Postgres and one Redis: what is read at one of them goes on at another.
//!
//! `MANIPLE_TEST_POSTGRES` is the URL of a server that lets its user create databases: `scripts/services up` starts one and says it. The Redis is
//! the test's own, because its connections are killed: by the `redis-server` that is installed.

use crate::node::spawn;
use axum::{Router, body::Body, http::header, response::IntoResponse, routing::post};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio_postgres::NoTls;

/// What must happen happens long before that.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many words the model says, and how long after each other.
const WORDS: usize = 150;
const A_WORD: Duration = Duration::from_millis(40);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a port").port()
}

/// A database of its own, that goes with it.
struct Database {
    server: String,
    name: String,
}

impl Database {
    async fn new() -> Self {
        let server = std::env::var("MANIPLE_TEST_POSTGRES").expect(
            "MANIPLE_TEST_POSTGRES must be the URL of a Postgres whose user may create databases: start one with `scripts/services up`",
        );
        let database = Self { server, name: format!("maniple_over_redis_{}", std::process::id()) };
        database.say("DROP DATABASE IF EXISTS THIS WITH (FORCE)").await;
        database.say("CREATE DATABASE THIS").await;
        database
    }
    async fn say(&self, what: &str) {
        let (client, connection) = tokio_postgres::connect(&self.server, NoTls).await.expect("the server answers");
        let connection = tokio::spawn(connection);
        client.batch_execute(&what.replace("THIS", &self.name)).await.expect("it may");
        drop(client);
        let _ = connection.await;
    }
    fn url(&self) -> String {
        format!("{}/{}", self.server.rsplit_once('/').expect("a URL with a database").0, self.name)
    }
}

/// A model that says one word after the other.
async fn model() -> SocketAddr {
    let answers = post(|| async {
        let chunk = |delta: Value, finish: Value| {
            let said = json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
            Ok::<_, std::convert::Infallible>(format!("data: {said}\n\n"))
        };
        let words = stream::iter(0..WORDS).then(move |number| async move {
            tokio::time::sleep(A_WORD).await;
            chunk(json!({ "content": format!("word{number} ") }), Value::Null)
        });
        let end = stream::iter([chunk(json!({}), json!("stop")), Ok("data: [DONE]\n\n".into())]);
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(words.chain(end))).into_response()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/chat/completions", answers)).await });
    address
}

/// Redis on that port, and something said to it.
fn redis(port: u16) -> Running {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Running(started.expect("`redis-server` must be installed: Debian's package redis-server has it"))
}
fn say(port: u16, words: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    write!(connection, "{words}\r\nQUIT\r\n").expect("said");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("text");
    answer
}

async fn is_ready(address: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = reqwest::get(format!("{address}/ready")).await;
        let told = match answer {
            Ok(answer) if answer.status() == 200 => answer.text().await.unwrap_or_default(),
            Ok(answer) => answer.text().await.unwrap_or_default() + " not ready",
            Err(error) => format!("not ready: {error}"),
        };
        if told.contains("bus") && !told.contains("degraded") && !told.contains("not ready") {
            return;
        }
        assert!(Instant::now() < until, "{told}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What was read of a stream of events.
#[derive(Default, Debug)]
struct Seen {
    ids: Vec<u64>,
    kinds: Vec<String>,
    deltas: usize,
}

/// Reads a task's events after a number, until enough was read.
async fn read(address: &str, task: &str, after: u64, mut is_enough: impl FnMut(&Seen) -> bool) -> Seen {
    let request = reqwest::Client::new().get(format!("{address}/tasks/{task}/events")).header("Last-Event-ID", after.to_string());
    let answer = request.send().await.expect("it answers");
    assert_eq!(answer.status(), 200);
    let (mut body, mut unread, mut seen) = (answer.bytes_stream(), String::new(), Seen::default());
    while let Some(piece) = tokio::time::timeout(PATIENCE, body.next()).await.expect("a stream is not left waiting") {
        unread.push_str(std::str::from_utf8(&piece.expect("it is not cut")).expect("plain text"));
        while let Some((block, rest)) = unread.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let Some(id) = field("id:") {
                seen.ids.push(id.parse().expect("a number"));
                seen.kinds.push(field("event:").unwrap_or_default().to_owned());
            } else if field("event:") == Some("delta") {
                seen.deltas += 1;
            }
            unread = rest.to_owned();
        }
        if is_enough(&seen) {
            break;
        }
    }
    seen
}

fn process(folder: &Path, role: &str, port: u16) -> (Running, String) {
    let listen = format!("127.0.0.1:{port}");
    (Running(spawn(folder, &["serve", "--role", role, "--listen", &listen])), format!("http://{listen}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn text_reaches_readers_at_other_processes_and_a_stream_goes_on_at_another_whose_connection_is_killed() {
    let (database, model, port) = (Database::new().await, model().await, free_port());
    let _redis = redis(port);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("agents")).expect("a folder");
    let agent = "---\ndescription: For tests.\nversion: 1.0.0\nmodel: lab/words\n---\nYou are a test.\n";
    std::fs::write(folder.path().join("agents/assistant.md"), agent).expect("a file");
    let settings = format!(
        "store: {}\nbus: redis://127.0.0.1:{port}/2\nmodels: {{ lab: {{ api: openai, base_url: \"http://{model}/v1\" }} }}\n",
        database.url()
    );
    std::fs::write(folder.path().join("maniple.yaml"), settings).expect("a file");
    let (first, second, worker) = (
        process(folder.path(), "api", free_port()),
        process(folder.path(), "api", free_port()),
        process(folder.path(), "worker", free_port()),
    );
    for (_, address) in [&first, &second, &worker] {
        is_ready(address).await;
    }

    let body = json!({ "prompt": "Say something long." });
    let accepted = reqwest::Client::new().post(format!("{}/tasks", first.1)).json(&body).send().await.expect("it answers");
    let accepted: Value = accepted.json().await.expect("JSON");
    let task = accepted["task_id"].as_str().expect("an id");

    // Words come from the worker while it says them, here and there.
    let here = read(&first.1, task, 0, |seen| seen.deltas >= 5).await;
    let after = here.ids.last().copied().unwrap_or(0);
    let mut killed_at = None;
    let there = read(&second.1, task, after, |seen| {
        if seen.deltas >= 5 && killed_at.is_none() {
            assert!(say(port, "CLIENT KILL TYPE pubsub").starts_with(":3"), "each process listens");
            killed_at = Some(seen.deltas);
        }
        false
    })
    .await;
    assert!(killed_at.is_some_and(|killed_at| there.deltas > killed_at + 5), "{there:?}: words come again after {killed_at:?}");
    let ids: Vec<u64> = here.ids.iter().chain(&there.ids).copied().collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "no gap and no repeat: {here:?} {there:?}");
    assert_eq!(there.kinds.last().map(String::as_str), Some("task.completed"), "{there:?}");
    drop((first, second, worker));
    database.say("DROP DATABASE IF EXISTS THIS WITH (FORCE)").await;
}
