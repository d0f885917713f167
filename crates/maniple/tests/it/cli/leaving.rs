//! Ctrl-C: what it does, and that it always does something.

use super::{
    PATIENCE, Watchdog,
    around::{asking, server, signal, silent, until},
    maniple, run,
};
use serde_json::{Value, json};
use std::{
    io::{BufReader, Write},
    process::Stdio,
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
