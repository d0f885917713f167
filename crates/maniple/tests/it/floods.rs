//! Many that take nothing, and many that say nothing: what a node holds for them, and who is served all the same.

use crate::node::Served;
use maniple_testkit::model::{self, Fickle};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Nothing here takes so long; a hanging test says where it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn host(node: &Served) -> String {
    node.address.trim_start_matches("http://").to_owned()
}

async fn connect(node: &Served) -> TcpStream {
    TcpStream::connect(host(node)).await.expect("the system takes it for the node")
}

/// A task whose first event is of so many bytes, at its end.
async fn large_task(node: &Served, bytes: usize) -> String {
    let asked = node.post("/run").json(&json!({ "prompt": "x".repeat(bytes) })).send().await.expect("it answers");
    assert_eq!(asked.status(), 200);
    asked.json::<Value>().await.expect("a task")["task_id"].as_str().expect("its id").to_owned()
}

/// Asks for a path, reads the first bytes of the answer, and leaves the rest where it is.
async fn unread(node: &Served, path: &str, more: &str) -> TcpStream {
    let mut stream = connect(node).await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{more}\r\n", host(node)).as_bytes()).await.expect("it listens");
    let mut status = [0; 10];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut status)).await.expect("it answers").expect("it answers");
    stream
}

/// Reads on until the last event has come, and so many bytes before it.
async fn rest(mut stream: TcpStream, wanted: usize, ends_with: &'static [u8]) {
    let (mut chunk, mut count, mut last) = (vec![0; 256 << 10], 0, Vec::new());
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.expect("it goes on").expect("it goes on");
        assert_ne!(read, 0, "it broke off after {count}");
        count += read;
        last.extend_from_slice(&chunk[read.saturating_sub(2_000)..read]);
        if last.windows(ends_with.len()).any(|window| window == ends_with) {
            break;
        }
        last.drain(..last.len().saturating_sub(2_000));
    }
    assert!(count >= wanted, "{count} of {wanted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_hold_next_to_nothing_and_lose_no_event() {
    // More than the kernel keeps for a connection on this machine, which is 4 MiB.
    const LARGE: usize = 6 << 20;
    let node = Served::start("limits: { body_bytes: 16777216 }\ntelemetry: { level: warn }\n");
    let path = format!("/tasks/{}/events", large_task(&node, LARGE).await);
    let before = node.peak_mib();
    let upgrade =
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let mut streams = Vec::new();
    for n in 0..60 {
        let as_socket = n % 4 == 3;
        streams.push((unread(&node, &path, if as_socket { upgrade } else { "" }).await, as_socket));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held = node.peak_mib().saturating_sub(before);
    assert!(held < 100, "60 unread streams hold {held} MiB");
    let reading = streams.into_iter().map(|(stream, as_socket)| {
        tokio::spawn(async move {
            let end: &[u8] = if as_socket { b"\"type\":\"task.completed\"" } else { b"event: task.completed" };
            rest(stream, LARGE, end).await;
        })
    });
    for read in reading.collect::<Vec<_>>() {
        read.await.expect("every event came");
    }
    assert!(node.peak_mib() - before < 150, "while they are read: {} MiB", node.peak_mib() - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_out_of_places_says_how_it_is_works_on_and_recovers() {
    let model = model::Server::start(Fickle::new(0, 1)).await.expect("a port");
    let more =
        format!("models:\n  mock: {{ api: openai, base_url: \"{}\", api_key: none }}\ntelemetry: {{ level: warn }}\n", model.base_url());
    let node = Served::with_descriptors(64, "mock/tools-0-x1", &more);
    let health = || async {
        let mut stream = connect(&node).await;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("it listens");
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it answers");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let mut early = connect(&node).await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(connect(&node).await);
    }
    for _ in 0..5 {
        let answer = health().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
    // Who has a place is served, and so is its task: the first call of its model needs descriptors of its own.
    let body = json!({ "prompt": "hello" }).to_string();
    let asking = format!(
        "POST /run HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    early.write_all(asking.as_bytes()).await.expect("it listens");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, early.read_to_string(&mut answer)).await.expect("it answers").expect("it answers");
    assert!(answer.contains("\"status\":\"completed\""), "{answer}");
    drop(flood);
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match node.post("/run").json(&json!({ "prompt": "again" })).send().await {
            Ok(answer) if answer.status() == 200 => {
                assert_eq!(answer.json::<Value>().await.expect("a task")["status"], "completed");
                break;
            }
            _ => assert!(tokio::time::Instant::now() < until, "it does not recover"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What is answered once there is a place: a new connection needs a descriptor too, and says 503 without.
async fn in_time(request: impl Fn() -> reqwest::RequestBuilder) -> Value {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match request().send().await {
            Ok(answer) if answer.status().is_success() => return answer.json().await.expect("JSON"),
            Ok(answer) => assert_eq!(answer.status(), 503),
            Err(_) => {}
        }
        assert!(tokio::time::Instant::now() < until, "there is no place");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_tasks_than_descriptors_all_end_well_and_ask_once() {
    const TASKS: usize = 100;
    let fickle = Fickle::new(0, 1).slow(Duration::from_secs(3));
    let model = model::Server::start(fickle.clone()).await.expect("a port");
    let more =
        format!("models:\n  mock: {{ api: openai, base_url: \"{}\", api_key: none }}\ntelemetry: {{ level: warn }}\n", model.base_url());
    let node = Served::with_descriptors(96, "mock/tools-0-x1", &more);
    let mut tasks = Vec::new();
    for n in 0..TASKS {
        let accepted = in_time(|| node.post("/tasks").json(&json!({ "prompt": format!("task {n}") }))).await;
        tasks.push(accepted["task_id"].as_str().expect("its id").to_owned());
    }
    for task in tasks {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let now = in_time(|| node.get(&format!("/tasks/{task}"))).await;
            match now["status"].as_str() {
                Some("completed") => break,
                Some("pending" | "running") => assert!(tokio::time::Instant::now() < until, "{now}"),
                _ => panic!("{now}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(fickle.asked(), TASKS as u64, "a call that finds no descriptor is not sent");
}

/// Whether a process is there and no corpse.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// The number that a process wrote into a file.
async fn written(path: &std::path::Path) -> String {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => assert!(tokio::time::Instant::now() < until, "{} is not written", path.display()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn gone(what: &str, pid: &str) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while lives(pid) {
        assert!(tokio::time::Instant::now() < until, "{what} is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that hears nothing, has started something, and is loud.
const LOUD: &str = r#"mcp: { loud: { command: [sh, -c, "trap '' HUP INT TERM; sleep 1000 & echo $! > below; echo $$ > itself; while :; do yes loud >&2; done"] } }
telemetry: { level: warn }
"#;

#[tokio::test]
async fn a_server_that_floods_its_standard_error_costs_little_and_goes_with_the_node() {
    let node = Served::start(LOUD);
    let (itself, below) = (written(&node.folder().join("itself")).await, written(&node.folder().join("below")).await);
    // It listens to signals once it has waited for its servers.
    while !node.get("/health").send().await.is_ok_and(|answer| answer.status() == 200) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = node.cpu();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let spent = node.cpu() - before;
    assert!(spent < Duration::from_millis(1_200), "it spent {spent:?} of 4 s on listening");
    tokio::task::spawn_blocking(move || node.stop()).await.expect("it stops");
    gone("the server", &itself).await;
    gone("what it has started", &below).await;
}

#[tokio::test]
async fn a_server_and_what_it_has_started_go_with_a_node_that_is_killed() {
    let node = Served::start(&LOUD.replace("yes loud >&2", "sleep 1"));
    let (itself, below) = (written(&node.folder().join("itself")).await, written(&node.folder().join("below")).await);
    assert!(lives(&itself) && lives(&below));
    node.kill();
    gone("the server", &itself).await;
    gone("what it has started", &below).await;
}
