//! A conversation through a pipe.

use super::{
    Told, Watchdog,
    around::{asking, demo, denying, problem, refuse, server},
    maniple, run,
};
use serde_json::Value;
use std::{io::Write, path::Path, process::Stdio};

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
    assert!(told.out.lines().all(|answer| !told.err.contains(answer)), "an answer is not told twice: {told:?}");
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
fn of_a_conversation_that_cannot_be_looked_at_nothing_is_said() {
    let url = server(|connection, line| {
        if line.starts_with("GET /agents?") {
            refuse(connection, "403 Forbidden", &problem(403));
        } else {
            refuse(connection, "503 Service Unavailable", &problem(503));
        }
    });
    let dir = tempfile::tempdir().expect("a folder");
    let told = chat(dir.path(), &["--url", &url], "/session other\n/session\n");
    assert!(told.code == 0 && told.err.contains("session other") && !told.err.contains("nothing was said"), "{told:?}");
    let known = chat(demo().path(), &[], "/session other\n");
    assert!(known.err.contains("nothing was said in it yet"), "{known:?}");
}
