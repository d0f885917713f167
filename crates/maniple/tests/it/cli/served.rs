//! Commands against a node: one of their own, one that runs, one that does not answer.

use super::{PATIENCE, Told, Watchdog, maniple, run, told};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A running `maniple dev` or `serve`, killed when dropped.
pub(super) struct Node {
    child: Child,
    pub(super) url: String,
    _watched: Watchdog,
}

impl Node {
    /// Starts it on a free port; with `--json` its first line says where it is.
    fn start(command: &mut Command) -> Self {
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

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
    assert!(done.expect("kill is there").success());
}

/// Reads lines until one contains `part`, within patience.
fn until(reader: &mut impl BufRead, part: &str) -> String {
    let mut read = String::new();
    let begun = Instant::now();
    while !read.contains(part) {
        let n = reader.read_line(&mut read).expect("a line");
        assert!(n > 0 && begun.elapsed() < PATIENCE, "`{part}` never came: {read}");
    }
    read
}

/// A server that answers every connection like this, again and again; its URL.
fn server(answer: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, answer) = (connection.expect("a connection"), answer.clone());
            thread::spawn(move || {
                let mut head = [0; 65_536];
                let _ = connection.read(&mut head);
                answer(&mut connection);
            });
        }
    });
    url
}

/// A model server that never answers.
fn silent() -> String {
    server(|_| thread::sleep(PATIENCE))
}
/// A model server that knows nobody.
fn denying() -> String {
    server(|connection| {
        let body = r#"{"error":{"message":"who are you?"}}"#;
        let head = format!(
            "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let _ = connection.write_all(format!("{head}{body}").as_bytes());
    })
}

/// A folder whose agents ask the model server at this URL.
fn asking(url: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = format!("model: lab/one\nmodels:\n  lab: {{ api: openai, base_url: \"{url}/v1\", api_key: k }}\n");
    fs::write(dir.path().join("maniple.yaml"), settings).expect("written");
    dir
}
/// A folder whose agents ask the demo model, whatever runs on this machine.
fn demo() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("maniple.yaml"), "model: demo/demo\n").expect("written");
    dir
}

fn first_task(dir: &Path) -> String {
    run(dir, &["task", "ls", "--json"]).json()["tasks"][0]["task_id"].as_str().expect("a task").to_owned()
}

#[test]
fn without_a_node_a_command_is_its_own_and_what_it_did_stays() {
    let dir = demo();
    let dir = dir.path();
    let asked = run(dir, &["run", "What is 17 * 23?"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    assert!(asked.out.contains("391") && asked.out.lines().count() == 1, "the answer, and nothing else, is on standard output: {asked:?}");
    for part in [
        "step 1 · demo/demo",
        "→ calculator {\"expression\":\"17 * 23\"}",
        "← calculator ok",
        "{\"result\":391}",
        "step 2",
        "completed · 2 steps · 1 tool call",
    ] {
        assert!(asked.err.contains(part), "{part}: {}", asked.err);
    }
    let id = first_task(dir);
    let shown = run(dir, &["task", "show", &id, "--json"]).json();
    assert_eq!((&shown["status"], shown["output"].as_str()), (&json!("completed"), Some(asked.out.trim_end())));
    let events = run(dir, &["task", "events", &id, "--json"]);
    let numbers: Vec<u64> =
        events.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let later = run(dir, &["task", "events", &id, "--after", "3"]);
    assert_eq!((later.code, later.out.lines().count()), (0, numbers.len() - 3), "{later:?}");
    let cancelled = run(dir, &["task", "cancel", &id]);
    assert!(cancelled.code == 0 && cancelled.out.contains("completed already"), "{cancelled:?}");
    assert_eq!(run(dir, &["task", "retry", &id]).code, 6, "only a failed task can be retried");
    assert_eq!(run(dir, &["task", "ls", "--status", "failed", "--json"]).json()["tasks"], json!([]));
    let human = run(dir, &["task", "ls"]);
    assert!(human.out.starts_with("TASK") && human.out.contains(&id), "{human:?}");
}

#[test]
fn a_prompt_comes_from_a_pipe_and_json_is_all_there_is() {
    let dir = demo();
    for arguments in [&["run", "--json"][..], &["run", "-", "--json"]] {
        let mut child =
            maniple(dir.path(), arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        child.stdin.take().expect("piped").write_all(b"What is 2 + 3?\n").expect("written");
        let output = child.wait_with_output().expect("it ends");
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((output.status.code(), &result["status"]), (Some(0), &json!("completed")));
        assert!(result["output"].as_str().is_some_and(|output| output.contains("What is 2 + 3?") && output.contains('5')), "{result}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    let nothing = run(dir.path(), &["run"]);
    assert!(nothing.code == 2 && nothing.err.contains("try: maniple run"), "{nothing:?}");
}

#[test]
fn what_cannot_be_right_is_usage_and_names_the_field() {
    let dir = demo();
    let refused = |arguments: &[&str], part: &str| {
        let told = run(dir.path(), &[&["run", "hello"], arguments].concat());
        assert!(told.code == 2 && told.err.contains(part), "{arguments:?}: {told:?}");
    };
    refused(&["--max-steps", "99"], "max_steps must be 1 to 25");
    refused(&["--token-budget", "1"], "token_budget must be 512");
    refused(&["--schema", "missing.json"], "missing.json cannot be read");
    refused(&["--context", "novalue"], "name=value");
    let unknown = run(dir.path(), &["run", "hello", "--agent", "nobody", "--json"]);
    assert!([2, 5].contains(&unknown.code) && unknown.error()["message"].as_str().is_some_and(|m| m.contains("nobody")), "{unknown:?}");
}

#[test]
fn who_is_not_there_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let away = run(dir.path(), &["task", "ls", "--url", "http://127.0.0.1:1", "--json"]);
    assert_eq!((away.code, &away.error()["code"]), (3, &json!(3)));
    assert!(away.error()["try"].as_str().is_some_and(|next| next.contains("maniple dev")), "{away:?}");
    let by_variable = told(maniple(dir.path(), &["task", "ls"]).env("MANIPLE_URL", "http://127.0.0.1:1"));
    assert_eq!(by_variable.code, 3, "{by_variable:?}");
    let no_store = run(dir.path(), &["task", "ls"]);
    assert!(no_store.code == 3 && no_store.err.contains("no store") && no_store.err.contains("--url"), "{no_store:?}");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0, "looking leaves nothing behind");
}

#[test]
fn a_running_node_is_found_by_its_store_and_stops_gracefully() {
    let dir = demo();
    let node = Node::dev(dir.path());
    let agents = run(dir.path(), &["agent", "ls", "--json"]).json();
    assert_eq!(agents["agents"][0]["name"], "assistant", "without a project a built-in assistant answers");
    // The store has one owner, so an answer can only come from that node.
    assert_eq!(run(dir.path(), &["run", "What is 1 + 1?"]).code, 0);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let by_url = run(elsewhere.path(), &["task", "ls", "--url", &node.url, "--json"]).json();
    assert_eq!(by_url["tasks"].as_array().map(Vec::len), Some(1));
    let second = told(&mut maniple(dir.path(), &["dev", "--listen", "127.0.0.1:0"]));
    assert!(second.code == 6 && second.err.contains("belongs to process"), "{second:?}");
    assert_eq!(node.stop(), Some(0));
    assert_eq!(run(dir.path(), &["task", "ls", "--json"]).json()["tasks"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_call_for_an_agent_that_is_not_there_is_told_from_one_that_was_not_granted() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(run(dir.path(), &["new", "helper"]).code, 0);
    let project = dir.path().join("helper");
    let node = Node::dev(&project);
    for (agent, code, next) in [("nobody", 5, "maniple agent ls"), ("helper", 4, "list `http_fetch` under `tools` in agents/helper.md")] {
        let call = run(&project, &["tool", "call", "http_fetch", "{\"url\": \"http://x.test/\"}", "--agent", agent, "--url", &node.url]);
        assert!(call.code == code && call.err.contains(next), "{agent}: {call:?}");
    }
}

#[test]
fn an_address_in_use_says_how_to_take_another() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let dir = demo();
    let told = run(dir.path(), &["dev", "--listen", &address]);
    assert!(told.code == 6 && told.err.contains(&address) && told.err.contains("try: --listen"), "{told:?}");
}

#[test]
fn the_banner_says_where_what_and_how_to_try_it() {
    let dir = demo();
    let mut child =
        maniple(dir.path(), &["dev", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let _watched = Watchdog::over(child.id());
    let banner = until(&mut BufReader::new(child.stdout.take().expect("piped")), "built-in assistant");
    signal(&child, "INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    for part in
        ["assistant  demo/demo  clock, calculator, http_fetch", "/docs", "maniple run \"", "curl http://127.0.0.1:", "maniple new NAME"]
    {
        assert!(banner.contains(part), "{part}: {banner}");
    }
}

#[test]
fn a_changed_file_is_used_by_the_next_task_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(run(dir.path(), &["new", "helper"]).code, 0);
    let project = dir.path().join("helper");
    let file = project.join("agents/helper.md");
    let text = fs::read_to_string(&file).expect("read");
    let mut node = Node::start(maniple(&project, &["dev"]).stderr(Stdio::piped()));
    let mut log = BufReader::new(node.child.stderr.take().expect("piped"));
    let version = || run(&project, &["agent", "ls", "--url", &node.url, "--json"]).json()["agents"][0]["version"].clone();
    fs::write(&file, text.replace("version: 0.1.0", "vresion: 0.2.0")).expect("written");
    let warned = until(&mut log, "did you mean");
    assert!(warned.contains("not taken over") && warned.contains("helper.md:3") && !warned.contains('\x1b'), "{warned}");
    assert_eq!(version(), "0.1.0");
    fs::write(&file, text.replace("version: 0.1.0", "version: 0.3.0")).expect("written");
    until(&mut log, "new tasks use them");
    let begun = Instant::now();
    while version() != "0.3.0" {
        assert!(begun.elapsed() < PATIENCE, "the change was never taken over");
    }
}

#[test]
fn a_question_outlives_the_node_that_was_asked() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let url = server(move |connection| {
        if asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            thread::sleep(PATIENCE);
        }
        let said = json!({ "choices": [{ "index": 0, "delta": { "content": "Back again." }, "finish_reason": "stop" }] });
        let _ = write!(
            connection,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {said}\n\ndata: [DONE]\n\n"
        );
    });
    let dir = asking(&url);
    let node = Node::dev(dir.path());
    let mut child = maniple(dir.path(), &["run", "hello"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let _watched = Watchdog::over(child.id());
    let mut err = BufReader::new(child.stderr.take().expect("piped"));
    until(&mut err, "step 1");
    drop(node); // SIGKILL
    until(&mut err, "completed");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(0), "Back again.\n"));
}

#[test]
fn a_failed_task_is_unsuccessful_and_goes_on_from_its_record_when_asked() {
    let url = denying();
    let dir = asking(&url);
    let dir = dir.path();
    let failed = run(dir, &["run", "hello"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.out.is_empty() && failed.err.contains("failed · model_denied"), "{failed:?}");
    let id = first_task(dir);
    let retried = run(dir, &["task", "retry", &id]);
    assert!(retried.code == 0 && retried.out.contains(&format!("from the record of {id}")), "{retried:?}");
    assert!(retried.err.contains("no node is running"), "{retried:?}");
    let new = first_task(dir);
    let pending = run(dir, &["task", "events", &new]);
    assert!(pending.code == 0 && pending.out.contains("task.accepted") && pending.err.contains("no node is running"), "{pending:?}");
    let cancelled = run(dir, &["task", "cancel", &new]);
    assert!(cancelled.code == 0 && cancelled.out.ends_with("is cancelled\n"), "{cancelled:?}");
}

#[test]
fn ctrl_c_asks_the_node_to_cancel() {
    let url = silent();
    let dir = asking(&url);
    let mut child = maniple(dir.path(), &["run", "hello", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let _watched = Watchdog::over(child.id());
    drop(child.stderr.take());
    // With --json nothing is told until the end: the store shows when the model is being asked.
    let begun = Instant::now();
    while run(dir.path(), &["task", "ls", "--status", "running", "--json"]).out.matches("task_id").count() == 0 {
        assert!(begun.elapsed() < PATIENCE, "it never ran");
        thread::sleep(Duration::from_millis(20));
    }
    signal(&child, "INT");
    let output = child.wait_with_output().expect("it ends");
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &result["status"]), (Some(1), &json!("cancelled")));
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    // A node that begins a stream and then never says anything again, not even to a cancel.
    let url = server(|connection| {
        let accepted = json!({ "id": 1, "type": "task.accepted", "task_id": "t", "at": "2026-01-01T00:00:00Z", "step": 0, "data": {} });
        let _ = write!(
            connection,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nid: 1\nevent: task.accepted\ndata: {accepted}\n\n"
        );
        thread::sleep(PATIENCE);
    });
    let dir = tempfile::tempdir().expect("a folder");
    let mut child = maniple(dir.path(), &["run", "hello", "--url", &url]).stderr(Stdio::piped()).spawn().expect("starts");
    let _watched = Watchdog::over(child.id());
    let mut err = BufReader::new(child.stderr.take().expect("piped"));
    until(&mut err, "task ");
    signal(&child, "INT");
    until(&mut err, "Ctrl-C again leaves");
    signal(&child, "INT");
    until(&mut err, "maniple task watch");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

#[test]
fn a_node_with_tokens_refuses_strangers_and_knows_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    // sha256 of "sesame"
    let hash = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
    let tokens = format!("tokens: [{{ name: me, sha256: {hash}, tenant: default, scopes: [run, read, cancel] }}]");
    fs::write(dir.path().join("maniple.yaml"), format!("model: demo/demo\nauth:\n  {tokens}\n")).expect("written");
    let _node = Node::dev(dir.path());
    let stranger = run(dir.path(), &["run", "hello", "--json"]);
    assert_eq!(stranger.code, 4, "{stranger:?}");
    assert!(stranger.error()["try"].as_str().is_some_and(|next| next.contains("MANIPLE_TOKEN")), "{stranger:?}");
    let known: Told = told(maniple(dir.path(), &["run", "hello"]).env("MANIPLE_TOKEN", "sesame"));
    assert_eq!(known.code, 0, "{known:?}");
}

#[test]
fn dead_letters_are_listed_and_one_that_is_none_is_not_found() {
    let dir = demo();
    assert_eq!(run(dir.path(), &["run", "hello"]).code, 0);
    let id = first_task(dir.path());
    let none = run(dir.path(), &["dlq", "ls"]);
    assert_eq!((none.code, none.err.as_str()), (0, "no dead letters\n"));
    for command in ["show", "requeue", "drop"] {
        let told = run(dir.path(), &["dlq", command, &id]);
        assert!([5, 6].contains(&told.code), "{command}: {told:?}");
    }
    let unknown = run(dir.path(), &["dlq", "show", "nope"]);
    assert!(unknown.code == 5 && unknown.err.contains("try: maniple dlq ls"), "{unknown:?}");
}

#[test]
fn serve_takes_one_agent_file_and_refuses_roles_it_cannot_part() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(run(dir.path(), &["new", "helper"]).code, 0);
    let project = dir.path().join("helper");
    fs::copy(project.join("agents/helper.md"), project.join("agents/other.md")).expect("copied");
    for (roles, part) in [(&["--role", "api"][..], "cannot be apart"), (&["--role", "console"], "not in this build")] {
        let refused = run(&project, &[&["serve"], roles].concat());
        assert!(refused.code == 2 && refused.err.contains(part) && refused.err.contains("try:"), "{refused:?}");
    }
    let open = run(&project, &["serve", "--listen", "0.0.0.0:0"]);
    assert!(open.code == 2 && open.err.contains("loopback only") && open.err.contains("--insecure"), "{open:?}");
    let missing = run(&project, &["serve", "--config", "nothing.yaml"]);
    assert!(missing.code == 2 && missing.err.contains("nothing.yaml"), "{missing:?}");
    let node =
        Node::start(maniple(&project, &["serve", "--agent", "agents/other.md", "--role", "api", "--role", "worker"]).stderr(Stdio::null()));
    let agents = run(&project, &["agent", "ls", "--url", &node.url, "--json"]).json();
    let names: Vec<&Value> = agents["agents"].as_array().expect("agents").iter().map(|agent| &agent["name"]).collect();
    assert_eq!(names, ["other"]);
}

#[test]
fn the_examples_are_right_and_pass_their_own_tests() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut projects = 0;
    for folder in fs::read_dir(&examples).expect("examples").flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let checked = run(&folder, &["agent", "check"]);
        assert_eq!(checked.code, 0, "{}: {checked:?}", folder.display());
        let tested = run(&folder, &["agent", "test"]);
        assert_eq!(tested.code, 0, "{}: {tested:?}", folder.display());
        projects += 1;
    }
    assert!(projects >= 2);
}

#[test]
fn commands_need_no_secrets_of_the_node_they_speak_to() {
    let dir = demo();
    let node = Node::dev(dir.path());
    fs::write(dir.path().join("maniple.yaml"), "model: demo/demo\nmodels: { lab: { api: openai, api_key: \"${env:NOT_SET_HERE}\" } }\n")
        .expect("written");
    assert_eq!(run(dir.path(), &["run", "What is 1 + 1?"]).code, 0, "the node that runs has them");
    assert_eq!(run(dir.path(), &["task", "ls"]).code, 0);
    node.stop();
    let looked = run(dir.path(), &["task", "ls", "--json"]);
    assert_eq!((looked.code, looked.json()["tasks"].as_array().map(Vec::len)), (0, Some(1)), "what it left can be looked at");
    let asked = run(dir.path(), &["run", "hello"]);
    assert!(asked.code == 2 && asked.err.contains("NOT_SET_HERE is not set"), "to work, they are needed: {asked:?}");
}

#[test]
fn an_address_without_a_scheme_is_one_and_what_is_none_is_said() {
    let dir = demo();
    let node = Node::dev(dir.path());
    let port = node.url.rsplit(':').next().expect("a port");
    for url in [format!("127.0.0.1:{port}"), format!("localhost:{port}/")] {
        let listed = run(dir.path(), &["agent", "ls", "--url", &url]);
        assert_eq!(listed.code, 0, "{url}: {listed:?}");
    }
    let wrong = run(dir.path(), &["agent", "ls", "--url", "ftp://x"]);
    assert!(wrong.code == 2 && wrong.err.contains("`ftp://x` is no address of a node: write http://HOST:PORT"), "{wrong:?}");
}

#[test]
fn a_task_can_be_left_to_the_node_listed_with_its_prompt_and_followed_later() {
    let dir = demo();
    let dir = dir.path();
    let node = Node::dev(dir);
    let left = run(dir, &["run", "-d", "--session", "sums", "What is 17 * 23?"]);
    assert_eq!((left.code, left.out.lines().count()), (0, 1), "the id alone is on standard output: {left:?}");
    let id = left.out.trim();
    assert!(left.err.contains(&format!("maniple task watch {id}")), "{left:?}");
    let watched = run(dir, &["task", "watch", id]);
    assert_eq!(watched.code, 0, "{watched:?}");
    assert!(
        watched.out.contains("391") && watched.err.contains("→ calculator") && watched.err.contains("completed · 2 steps"),
        "{watched:?}"
    );
    let json = run(dir, &["task", "watch", id, "--json"]);
    assert_eq!((&json.json()["status"], json.err.as_str()), (&json!("completed"), ""));
    for command in [&["task", "ls"][..], &["task", "show", id], &["session", "ls"], &["session", "show", "sums"]] {
        let told = run(dir, command);
        assert!(told.code == 0 && told.out.contains("What is 17 * 23?"), "{command:?}: {told:?}");
    }
    let sessions = run(dir, &["session", "ls", "--json"]).json();
    assert_eq!((&sessions["sessions"][0]["session_id"], &sessions["sessions"][0]["tasks"]), (&json!("sums"), &json!(1)));
    node.stop();
    let waits = run(dir, &["run", "--detach", "later"]);
    assert!(waits.code == 0 && waits.err.contains("no node is running: it waits"), "{waits:?}");
    let listed = run(dir, &["task", "ls", "--status", "pending"]);
    assert!(listed.out.contains("(waits for a worker with a free place)"), "{listed:?}");
    let nobody = run(dir, &["task", "watch", waits.out.trim()]);
    assert!(nobody.code == 3 && nobody.err.contains("no node is running"), "{nobody:?}");
}

/// Lines given to `maniple chat` through a pipe, and what it came to.
fn chat(dir: &Path, arguments: &[&str], lines: &str) -> Told {
    let mut command = maniple(dir, &[&["chat"], arguments].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let _watched = Watchdog::over(child.id());
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Told { code: output.status.code().expect("by itself"), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_chat_through_a_pipe_is_a_line_a_turn_of_one_conversation() {
    let dir = demo();
    let dir = dir.path();
    let told = chat(dir, &["--session", "talk"], "What is 2 + 3?\n\n  What is 17 * 23?\n/session\n/quit\nnever asked\n");
    assert_eq!((told.code, told.out.lines().count()), (0, 2), "an answer a line: {told:?}");
    assert!(told.out.contains('5') && told.out.contains("391") && told.err.contains("→ calculator"), "{told:?}");
    assert!(told.err.contains("session talk") && !told.err.contains("tokens in") && !told.err.contains("step 1"), "{told:?}");
    let said = run(dir, &["session", "show", "talk", "--json"]).json();
    assert_eq!(said["messages"].as_array().map(Vec::len), Some(4), "{said}");
    let other = chat(dir, &["--json"], "one\n/new\ntwo\n");
    let sessions: Vec<Value> =
        other.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["session_id"].clone()).collect();
    assert!(sessions.len() == 2 && sessions[0] != sessions[1], "{other:?}");
    let slip = chat(dir, &[], "/quti\n/etc/hosts is a file\n");
    assert!(slip.err.contains("there is no /quti; did you mean `/quit`?") && slip.out.contains("/etc/hosts"), "{slip:?}");
}

#[test]
fn a_chat_says_at_once_who_is_not_there_and_in_the_end_whether_all_went_well() {
    let dir = demo();
    let nobody = chat(dir.path(), &["--agent", "asistant"], "hello\n");
    assert!(nobody.code == 2 && nobody.err.contains("there is no agent `asistant`") && nobody.err.contains("`assistant`"), "{nobody:?}");
    let denied = asking(&denying());
    let told = chat(denied.path(), &[], "hello\nagain\n");
    assert!(told.code == 1 && told.err.matches("model_denied").count() == 2, "a failed turn is not the end of the talk: {told:?}");
}

#[test]
fn ctrl_c_cancels_the_turn_of_a_chat_and_not_the_chat() {
    let (asks, asked) = std::sync::mpsc::channel();
    let asks = std::sync::Mutex::new(asks);
    let dir = asking(&server(move |_| {
        asks.lock().expect("no panic").send(()).expect("waited for");
        thread::sleep(PATIENCE);
    }));
    let mut child = maniple(dir.path(), &["chat", "--session", "s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let _watched = Watchdog::over(child.id());
    let mut input = child.stdin.take().expect("piped");
    let mut err = BufReader::new(child.stderr.take().expect("piped"));
    for _ in 0..2 {
        input.write_all(b"hello\n").expect("written");
        asked.recv_timeout(PATIENCE).expect("the model is asked");
        signal(&child, "INT");
        until(&mut err, "cancelled");
    }
    drop(input);
    assert_eq!(child.wait().expect("it ends").code(), Some(1), "no turn came to an answer");
}
