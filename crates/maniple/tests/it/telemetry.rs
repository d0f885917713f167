//! What the process tells an observer: spans by OTLP, metrics, logs with task and trace.

use crate::node::Served;
use axum::{Router, body::Bytes, extract::State, routing::post};
use std::sync::{Arc, Mutex};

/// An OTLP collector that keeps what it was sent.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let app =
        Router::new()
            .route(
                "/v1/traces",
                post(|State(kept): State<Arc<Mutex<Vec<u8>>>>, body: Bytes| async move {
                    kept.lock().expect("no panic").extend_from_slice(&body)
                }),
            )
            .with_state(kept.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), kept)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spans_of_a_run_join_the_callers_trace_and_keep_its_words_to_themselves() {
    let (endpoint, kept) = collector().await;
    let served = Served::start(&format!("telemetry: {{ otlp_endpoint: \"{endpoint}\", log: json, level: debug }}\n"));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = serde_json::json!({"prompt": "What is 17 * 23? hush-hush", "session_id": "s"});
    let run = served.post("/run").header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).json(&body);
    let result: serde_json::Value = run.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!((result["status"].as_str(), result["trace_id"].as_str()), (Some("completed"), Some(trace)), "{result}");

    let metrics = served.get("/metrics").send().await.expect("metrics").text().await.expect("text");
    for name in [
        "maniple_tasks_total{",
        "maniple_tokens_total{",
        "maniple_steps_total{",
        "maniple_tool_calls_total{",
        "maniple_model_call_seconds_bucket{",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    let logs = served.stop();
    // Stopping flushes what was not yet exported.
    let spans = kept.lock().expect("no panic").clone();
    for name in [
        "invoke_agent assistant",
        "chat demo",
        "execute_tool calculator",
        "gen_ai.usage.input_tokens",
        "llm.prompt_tokens",
        "agent.task_id",
    ] {
        assert!(contains(&spans, name), "{name} was not exported");
    }
    let id: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&trace[i * 2..i * 2 + 2], 16).expect("hex")).collect();
    assert!(spans.windows(16).any(|window| window == id), "the spans do not join the caller's trace");
    assert!(!contains(&spans, "hush-hush"), "a prompt was exported");
    let told: Vec<&str> = logs.lines().filter(|line| line.contains("\"task completed\"")).collect();
    let [line] = told.as_slice() else { panic!("one line tells the end of a task:\n{logs}") };
    let line: serde_json::Value = serde_json::from_str(line).expect("logs are JSON");
    assert_eq!((&line["level"], &line["agent"], &line["steps"]), (&"INFO".into(), &"assistant".into(), &2.into()), "{line}");
    assert!(line.to_string().contains(result["task_id"].as_str().expect("an id")) && line.to_string().contains(trace), "{line}");
    assert!(!logs.contains("hush-hush"), "a prompt was logged");
}
