//! What a caller can make of the catalogue of a running node.

use crate::node::Served;
use axum::{Json, Router, extract::State, response::IntoResponse, routing::post};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Registers tools of 60 KiB each until one is refused, at most 1,500; how many came, and why the next one did not.
async fn fill(node: &Served, name: &str) -> (usize, Value) {
    let words: Vec<String> = (0..4_000).map(|n| format!("word-{n:06}")).collect();
    for n in 0..1_500 {
        let parameters = json!({ "type": "object", "properties": { "word": { "enum": words } } });
        let tool = json!({ "name": format!("{name}{n}"), "version": "1.0.0", "description": "d", "parameters": parameters,
            "endpoint": "https://tools.example.com/x" });
        let answer = node.post("/tools?source=added").json(&tool).send().await.expect("an answer");
        if answer.status() != StatusCode::CREATED {
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            return (n, answer.json().await.expect("a problem"));
        }
    }
    (1_500, Value::Null)
}

#[tokio::test]
async fn nobody_fills_the_catalogue_of_a_node_and_a_restart_gives_no_more_room() {
    let node = Served::start("");
    let before = node.resident_mib();
    let (came, why) = fill(&node, "a").await;
    assert!((20..100).contains(&came), "{came}: {why}");
    let detail = why["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("`gateway.bytes_per_principal`") && detail.contains("maniple tool rm a0@1.0.0"), "it says what to do: {why}");
    let more = node.resident_mib().saturating_sub(before);
    assert!(more < 128, "{more} MiB for what one caller brought");
    let node = node.killed_and_served_again();
    assert_eq!(fill(&node, "b").await.0, 0, "what is stored counts");
    let again = node.resident_mib();
    assert!(again < before + 128, "{again} MiB");
}

/// An MCP server with the tool `pay` that answers once it may; where it is.
async fn slow_server(may_answer: watch::Receiver<bool>) -> String {
    async fn answer(State(mut may_answer): State<watch::Receiver<bool>>, Json(message): Json<Value>) -> axum::response::Response {
        let _ = may_answer.wait_for(|may| *may).await;
        let server = json!({ "name": "s", "version": "1.0.0" });
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": server }),
            "tools/list" => json!({ "tools": [{ "name": "pay", "description": "Pays.", "inputSchema": { "type": "object" } }] }),
            "ping" => json!({}),
            _ if message.get("id").is_none() => return StatusCode::ACCEPTED.into_response(),
            _ => {
                let unknown = json!({ "code": -32601, "message": "not found" });
                return Json(json!({ "jsonrpc": "2.0", "id": message["id"], "error": unknown })).into_response();
            }
        };
        Json(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })).into_response()
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    let router = Router::new().route("/mcp", post(answer)).with_state(may_answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Waits until that is there.
async fn until(node: &Served, path: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while node.get(path).send().await.is_ok_and(|answer| answer.status() != StatusCode::OK) {
        assert!(Instant::now() < until, "{path} is there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_a_slow_server_turns_out_not_to_have_is_told() {
    let (may, may_answer) = watch::channel(false);
    let url = slow_server(may_answer).await;
    let node = Served::with_tools("shop_pay, shop_pya, clokc", &format!("mcp:\n  shop: {{ url: \"{url}\" }}\n"));
    until(&node, "/ready").await;
    may.send_replace(true);
    until(&node, "/tools/shop_pay").await;
    let logs = node.stop();
    let told: Vec<&str> = logs.lines().filter(|line| line.contains("the agent's tasks go without")).collect();
    assert_eq!((told.len(), told[0].contains("clokc"), told[0].contains("shop_")), (2, true, false), "{logs}");
    assert_eq!((told[1].contains("shop_pya"), told[1].contains("clokc")), (true, false), "what was told is not told again: {logs}");
}
