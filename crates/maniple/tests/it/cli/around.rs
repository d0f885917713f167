//! Who commands have to do with in tests: nodes, model servers, folders.

use super::{PATIENCE, Watchdog, maniple, run};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

/// A running `maniple dev` or `serve`, killed when dropped.
pub(super) struct Node {
    pub(super) child: Child,
    pub(super) url: String,
    _watched: Watchdog,
}

impl Node {
    /// Starts it on a free port; with `--json` its first line says where it is.
    pub(super) fn start(command: &mut Command) -> Self {
        let child = command.args(["--listen", "127.0.0.1:0", "--json"]).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the binary starts");
        let _watched = Watchdog::over(child.id());
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        Self { child, url: said["url"].as_str().expect("a url").to_owned(), _watched }
    }
    pub(super) fn dev(dir: &Path) -> Self {
        Self::start(maniple(dir, &["dev"]).stderr(Stdio::null()))
    }
    /// Asks it to stop and returns its exit code.
    pub(super) fn stop(mut self) -> Option<i32> {
        signal(&self.child, "TERM");
        self.child.wait().expect("it ends").code()
    }
}
impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
    assert!(done.expect("kill is there").success());
}

/// Reads lines until one contains `part`, within patience.
pub(super) fn until(reader: &mut impl BufRead, part: &str) -> String {
    let mut read = String::new();
    let begun = Instant::now();
    while !read.contains(part) {
        let n = reader.read_line(&mut read).expect("a line");
        assert!(n > 0 && begun.elapsed() < PATIENCE, "`{part}` never came: {read}");
    }
    read
}

/// A server that answers every connection like this, by the first line of what it is asked, again and again; its URL.
pub(super) fn server(answer: impl Fn(&mut TcpStream, &str) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, answer) = (connection.expect("a connection"), answer.clone());
            thread::spawn(move || {
                let mut head = [0; 65_536];
                let read = connection.read(&mut head).unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]);
                answer(&mut connection, head.lines().next().unwrap_or_default());
            });
        }
    });
    url
}

/// A model server that never answers.
pub(super) fn silent() -> String {
    server(|_, _| thread::sleep(PATIENCE))
}
/// A model server that knows nobody.
pub(super) fn denying() -> String {
    server(|connection, _| refuse(connection, "401 Unauthorized", &json!({ "error": { "message": "who are you?" } })))
}
/// Answers with a status and JSON, and closes.
pub(super) fn refuse(connection: &mut TcpStream, status: &str, body: &Value) {
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = connection.write_all(format!("{head}{body}").as_bytes());
}
/// The problem of a node that does not do what it is asked.
pub(super) fn problem(status: u16) -> Value {
    json!({ "type": "about:blank", "title": "no", "status": status, "detail": "no" })
}

/// A folder whose agents ask the model server at this URL.
pub(super) fn asking(url: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = format!("model: lab/one\nmodels:\n  lab: {{ api: openai, base_url: \"{url}/v1\", api_key: k }}\n");
    fs::write(dir.path().join("maniple.yaml"), settings).expect("written");
    dir
}
/// A folder whose agents ask the demo model, whatever runs on this machine.
pub(super) fn demo() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("maniple.yaml"), "model: demo/demo\n").expect("written");
    dir
}

pub(super) fn first_task(dir: &Path) -> String {
    run(dir, &["task", "ls", "--json"]).json()["tasks"][0]["task_id"].as_str().expect("a task").to_owned()
}
