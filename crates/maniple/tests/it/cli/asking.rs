//! Asking an agent, with a node and without, and what is kept of it.

use super::{
    PATIENCE, Watchdog,
    around::{Node, asking, demo, denying, first_task, server, until},
    maniple, run, told,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufReader, Write},
    process::Stdio,
    thread,
};

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
    assert!(!asked.err.contains(asked.out.trim_end()), "what is on standard output is not told twice: {asked:?}");
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
fn a_call_for_an_agent_that_is_not_there_is_told_from_one_that_was_not_granted() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(run(dir.path(), &["new", "helper"]).code, 0);
    let project = dir.path().join("helper");
    let node = Node::dev(&project);
    for (agent, code, next) in [("nobody", 5, "maniple agent ls"), ("helper", 4, "list `http_fetch` under `tools` in agents/helper.md")] {
        let call = run(&project, &["tool", "call", "http_fetch", "{\"url\": \"http://x.test/\"}", "--agent", agent, "--url", &node.url]);
        assert!(call.code == code && call.err.contains(next), "{agent}: {call:?}");
    }
    let whose = run(&project, &["tool", "call", "clock"]);
    assert!(whose.code == 2 && whose.err.contains("helper") && whose.err.contains("--agent helper"), "{whose:?}");
    let nobodys = run(&project, &["tool", "call", "http_fetch"]);
    assert!(nobodys.code == 2 && nobodys.err.contains("no agent lists `http_fetch`"), "{nobodys:?}");
}

#[test]
fn a_question_outlives_the_node_that_was_asked() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let url = server(move |connection, _| {
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
