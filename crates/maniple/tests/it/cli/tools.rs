//! Tools of a real node: one that dies with a call in its hands, and one that a person must agree to.

use super::{around::Node, run};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

/// A tool server that remembers which key arrived at which path, and closes without an answer for the first call of each path under `/dies`.
struct Tools {
    url: String,
    arrived: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Tools {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let arrived: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
        let seen = arrived.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = seen.clone();
                thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { url, arrived }
    }
    fn keys(&self, path: &str) -> Vec<String> {
        self.arrived.lock().expect("no holder panics").get(path).cloned().unwrap_or_default()
    }
}

/// One call a connection: its body is read whole, so that it has arrived, and then the server dies or answers.
fn serve(mut stream: TcpStream, seen: &Mutex<BTreeMap<String, Vec<String>>>) {
    let mut text = String::new();
    let mut bytes = [0; 4_096];
    let is_whole = |text: &str| {
        let length = text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.trim().parse().ok());
        text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length.unwrap_or(0))
    };
    while !is_whole(&text) {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(n) => text.push_str(&String::from_utf8_lossy(&bytes[..n])),
        }
    }
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let key = text.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap_or_default().to_owned();
    let is_first = {
        let mut seen = seen.lock().expect("no holder panics");
        let keys = seen.entry(path.clone()).or_default();
        keys.push(key);
        keys.len() == 1
    };
    if path.starts_with("/dies") && is_first {
        return; // with the call in its hands
    }
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"ok\":true}");
}

fn project(dir: &Path, tools: &[(&str, String)]) {
    fs::create_dir(dir.join("agents")).expect("a folder");
    fs::create_dir(dir.join("tools")).expect("a folder");
    let names: Vec<&str> = tools.iter().map(|(name, _)| *name).collect();
    let agent = format!("---\ndescription: Helps.\nversion: 1.0.0\nmodel: demo/demo\ntools: [{}]\n---\nYou help.\n", names.join(", "));
    fs::write(dir.join("agents/helper.md"), agent).expect("written");
    for (name, more) in tools {
        let tool = format!("name: {name}\nversion: 1.0.0\ndescription: Does {name}.\n{more}");
        fs::write(dir.join(format!("tools/{name}.yaml")), tool).expect("written");
    }
}

/// The head and body of the answer to a task.
fn submit(url: &str, task: &Value) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).expect("the node answers");
    let body = task.to_string();
    let head = format!(
        "POST /tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn outcomes(dir: &Path, task: &str) -> Vec<Value> {
    let events = run(dir, &["task", "events", task, "--json"]);
    let events = events.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["type"] == "tool.finished").map(|event| event["data"]["status"].clone()).collect()
}

#[test]
fn a_tool_server_that_dies_in_mid_call_is_asked_again_only_where_that_is_allowed() {
    let (dir, tools) = (tempfile::tempdir().expect("a folder"), Tools::start());
    let of = |name: &str, effect: &str| format!("endpoint: {}/dies/{name}\neffect: {effect}\n", tools.url);
    let all = [("look", of("look", "pure")), ("save", of("save", "idempotent")), ("pay", of("pay", "at_most_once"))];
    project(dir.path(), &all);
    for (name, arrivals, outcome) in [("look", 2, "ok"), ("save", 2, "ok"), ("pay", 1, "in_doubt")] {
        let told = run(dir.path(), &["run", &format!("use {name}"), "--json"]);
        let last = told.json();
        assert_eq!((told.code, &last["status"]), (0, &json!("completed")), "{name}: {told:?}");
        let keys = tools.keys(&format!("/dies/{name}"));
        assert_eq!(keys.len(), arrivals, "{name}: {keys:?}");
        assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()), "{name} arrives under one key: {keys:?}");
        let id = last["task_id"].as_str().expect("an id");
        assert_eq!(outcomes(dir.path(), id), [outcome], "{name}");
    }
}

#[test]
fn a_call_waits_for_a_person_through_a_kill_of_the_node_and_is_made_once_or_not_at_all() {
    let (dir, tools) = (tempfile::tempdir().expect("a folder"), Tools::start());
    project(dir.path(), &[("pay", format!("endpoint: {}/pay\nrequires_approval: true\n", tools.url))]);
    let dir = dir.path();
    let node = Node::dev(dir);
    for id in ["yes", "no"] {
        let answer = submit(&node.url, &json!({ "id": id, "prompt": "use pay" }));
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    let open = || run(dir, &["approval", "ls", "--json"]).json()["approvals"].as_array().cloned().unwrap_or_default();
    let begun = Instant::now();
    while open().len() < 2 {
        assert!(begun.elapsed() < super::PATIENCE, "nobody was asked");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(tools.keys("/pay").len(), 0, "nothing is sent before a person agrees");
    drop(node); // kill -9
    let node = Node::dev(dir);
    let asked: BTreeMap<String, String> = open()
        .iter()
        .map(|one| (one["task_id"].as_str().unwrap_or_default().to_owned(), one["id"].as_str().unwrap_or_default().to_owned()))
        .collect();
    assert_eq!(asked.len(), 2, "a kill forgets no question: {asked:?}");
    let approved = run(dir, &["approval", "approve", &asked["yes"], "--reason", "go on"]);
    let denied = run(dir, &["approval", "deny", &asked["no"], "--reason", "too much"]);
    assert_eq!((approved.code, denied.code), (0, 0), "{approved:?} {denied:?}");
    let again = run(dir, &["approval", "deny", &asked["yes"]]);
    assert_ne!(again.code, 0, "what is decided is decided: {again:?}");
    for (task, outcome) in [("yes", "ok"), ("no", "refused")] {
        let begun = Instant::now();
        while run(dir, &["task", "show", task, "--json"]).json()["status"] != "completed" {
            assert!(begun.elapsed() < super::PATIENCE, "{task} does not end");
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(outcomes(dir, task), [outcome], "{task}");
    }
    assert_eq!(tools.keys("/pay"), ["yes:1:0"]);
    node.stop();
}
