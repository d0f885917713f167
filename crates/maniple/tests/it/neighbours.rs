//! Two tenants on one node: what one of them does to itself stays with it.

use crate::node::Served;
use axum::{Router, http::header, response::IntoResponse, routing::post};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{net::SocketAddr, time::Duration};

/// A model that answers at once, but for prompts that say so: then it never does.
async fn model() -> SocketAddr {
    let answers = post(|request: String| async move {
        if request.contains("hang") {
            std::future::pending::<()>().await;
        }
        let choice = |delta: Value, finish: Value| json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
        let said = [choice(json!({ "content": "done" }), Value::Null), choice(json!({}), json!("stop"))];
        let text: String = said.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        ([(header::CONTENT_TYPE, "text/event-stream")], format!("{text}data: [DONE]\n\n")).into_response()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let router = Router::new().route("/v1/chat/completions", answers);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A node of two tenants, with so few places.
async fn node(more: &str) -> Served {
    let provider = format!("models: {{ lab: {{ api: openai, base_url: \"http://{}/v1\" }} }}\n", model().await);
    let token = |tenant: &str| format!("    - {{ name: {tenant}, tenant: {tenant}, sha256: {} }}\n", hex::encode(Sha256::digest(tenant)));
    Served::with_model("lab/m", &format!("{provider}auth:\n  tokens:\n{}{}{more}", token("acme"), token("beta")))
}

async fn submit(node: &Served, tenant: &str, body: Value) -> String {
    let answer = node.post("/tasks").bearer_auth(tenant).json(&body).send().await.expect("it answers");
    assert_eq!(answer.status(), 202);
    answer.json::<Value>().await.expect("a task")["task_id"].as_str().expect("its id").to_owned()
}

#[tokio::test]
async fn calls_that_hang_and_a_high_priority_keep_no_neighbour_waiting() {
    let node = node("worker: { max_running: 2 }\n").await;
    for _ in 0..20 {
        submit(&node, "acme", json!({ "prompt": "hang", "priority": 9 })).await;
    }
    for n in 0..5 {
        let asked = node.post("/run").bearer_auth("beta").json(&json!({ "prompt": format!("say {n}"), "priority": 0 })).send();
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("the other place is theirs").expect("it answers");
        let result: Value = answer.json().await.expect("a result");
        assert_eq!((&result["status"], &result["output"]), (&json!("completed"), &json!("done")), "{result}");
    }
}

#[tokio::test]
async fn streams_of_one_tenant_leave_some_for_the_other() {
    let node = node("limits: { event_streams: 5 }\n").await;
    let (theirs, ours) =
        (submit(&node, "acme", json!({ "prompt": "hang" })).await, submit(&node, "beta", json!({ "prompt": "hang" })).await);
    let open =
        async |tenant: &str, id: &str| node.get(&format!("/tasks/{id}/events")).bearer_auth(tenant).send().await.expect("it answers");
    let mut held = Vec::new();
    for expected in [200, 200, 200, 200, 429, 429] {
        let answer = open("acme", &theirs).await;
        assert_eq!(answer.status(), expected, "four of five are theirs");
        held.push(answer);
    }
    assert_eq!(open("beta", &ours).await.status(), 200);
}
