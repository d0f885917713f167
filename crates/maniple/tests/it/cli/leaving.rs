//! Ctrl-C: what it does, and that it always does something.

use super::{
    PATIENCE, Watchdog,
    around::{asking, problem, refuse, server, signal, silent, until},
    maniple, run,
};
use serde_json::{Value, json};
use std::{
    io::{BufReader, Write},
    path::Path,
    process::{Child, ChildStderr, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

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

/// A node that begins a stream and then never says anything again, not even to a cancel; and what it is asked, line by line.
fn half_silent() -> (String, Receiver<String>) {
    let (asks, asked) = mpsc::channel();
    let url = server(move |connection, line| {
        let _ = asks.send(line.to_owned());
        let accepted = json!({ "id": 1, "type": "task.accepted", "task_id": "t", "at": "2026-01-01T00:00:00Z", "step": 0, "data": {} });
        let stream = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nid: 1\nevent: task.accepted\ndata: {accepted}\n\n");
        match line {
            _ if line.starts_with("POST /run ") => drop(connection.write_all(stream.as_bytes())),
            _ if line.starts_with("GET /agents?") => return refuse(connection, "403 Forbidden", &problem(403)),
            _ => {}
        }
        thread::sleep(PATIENCE);
    });
    (url, asked)
}

/// A command with its streams in our hands.
fn started(dir: &Path, arguments: &[&str]) -> (Child, Watchdog, BufReader<ChildStderr>) {
    let mut command = maniple(dir, arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let (watched, err) = (Watchdog::over(child.id()), BufReader::new(child.stderr.take().expect("piped")));
    (child, watched, err)
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let (url, _asked) = half_silent();
    let dir = tempfile::tempdir().expect("a folder");
    let (mut child, _watched, mut err) = started(dir.path(), &["run", "hello", "--url", &url]);
    until(&mut err, "task ");
    signal(&child, "INT");
    until(&mut err, "Ctrl-C again leaves");
    signal(&child, "INT");
    until(&mut err, "maniple task watch");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

#[test]
fn ctrl_c_cancels_the_turn_of_a_chat_and_not_the_chat() {
    let (asks, asked) = mpsc::channel();
    let asks = std::sync::Mutex::new(asks);
    let dir = asking(&server(move |_, _| {
        asks.lock().expect("no panic").send(()).expect("waited for");
        thread::sleep(PATIENCE);
    }));
    let (mut child, _watched, mut err) = started(dir.path(), &["chat", "--session", "s"]);
    let mut input = child.stdin.take().expect("piped");
    for _ in 0..2 {
        input.write_all(b"hello\n").expect("written");
        asked.recv_timeout(PATIENCE).expect("the model is asked");
        signal(&child, "INT");
        until(&mut err, "cancelled");
    }
    drop(input);
    assert_eq!(child.wait().expect("it ends").code(), Some(1), "no turn came to an answer");
}

#[test]
fn ctrl_c_before_the_node_has_answered_leaves_and_asks_it_to_cancel_all_the_same() {
    let (asks, asked) = mpsc::channel();
    let url = server(move |_, line| {
        let _ = asks.send(line.to_owned());
        thread::sleep(PATIENCE);
    });
    let dir = tempfile::tempdir().expect("a folder");
    let (mut child, _watched, mut err) = started(dir.path(), &["run", "hello", "--url", &url]);
    assert_eq!(asked.recv_timeout(PATIENCE).expect("it is asked"), "POST /run HTTP/1.1");
    signal(&child, "INT");
    let cancel = asked.recv_timeout(PATIENCE / 2).expect("what may have been accepted is to be cancelled");
    assert!(cancel.starts_with("POST /tasks/") && cancel.ends_with("/cancel HTTP/1.1"), "{cancel}");
    until(&mut err, "maniple task watch");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

#[test]
fn a_turn_that_was_left_ends_a_chat_through_a_pipe() {
    let (url, asked) = half_silent();
    let dir = tempfile::tempdir().expect("a folder");
    let (mut child, _watched, mut err) = started(dir.path(), &["chat", "--url", &url]);
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"hello\nagain\n").expect("written");
    while !asked.recv_timeout(PATIENCE).expect("it is asked").starts_with("POST /run") {}
    signal(&child, "INT");
    until(&mut err, "Ctrl-C again leaves");
    signal(&child, "INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(asked.try_iter().all(|line| !line.starts_with("POST /run")), "the next line is not asked");
}

#[test]
fn ctrl_c_gives_up_looking_back_at_a_conversation() {
    let (url, asked) = half_silent();
    let dir = tempfile::tempdir().expect("a folder");
    let (mut child, _watched, mut err) = started(dir.path(), &["chat", "--url", &url]);
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"/session other\n").expect("written");
    while !asked.recv_timeout(PATIENCE).expect("it is asked").starts_with("GET /sessions/other/messages") {}
    signal(&child, "INT");
    input.write_all(b"/session\n").expect("written");
    until(&mut err, "session other");
    drop(input);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
