//! What the process tells an observer: spans by OTLP, metrics, logs with task and trace.

use crate::node::Served;
use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode},
};
use prost::Message;
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

/// The spans of what a collector kept, each body by itself.
async fn spans_collector() -> (String, Arc<Mutex<Vec<Span>>>) {
    let kept: Arc<Mutex<Vec<Span>>> = Arc::default();
    let take = |State(kept): State<Arc<Mutex<Vec<Span>>>>, body: Bytes| async move {
        let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        kept.lock().expect("no panic").extend(scopes.flat_map(|scope| scope.spans));
    };
    let app = Router::new().route("/v1/traces", post(take)).with_state(kept.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), kept)
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text; a list with its parts joined.
fn attribute(span: &Span, name: &str) -> Option<String> {
    let read = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(list) => {
            list.values.iter().filter_map(|v| v.value.as_ref()).map(|v| format!("{v:?}")).collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    };
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    found.value.as_ref()?.value.as_ref().map(read)
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_tell_what_a_run_cost_who_answered_and_what_failed_and_begin_where_the_trace_does() {
    let (endpoint, kept) = spans_collector().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let exporting = format!("telemetry: {{ otlp_endpoint: \"{endpoint}\" }}\n");
    let served = Served::start(&exporting);
    let away = format!("models: {{ away: {{ api: openai, base_url: \"http://127.0.0.1:{free}/v1\" }} }}\n");
    let lost = Served::with_model("away/m", &format!("{exporting}{away}"));
    let asks = async |served: &Served, prompt: &str| -> serde_json::Value {
        let run = served.post("/run").json(&serde_json::json!({"prompt": prompt, "session_id": "s"}));
        run.send().await.expect("an answer").json().await.expect("JSON")
    };
    let (well, ill) = (asks(&served, "What is 17 * 23?").await, asks(&lost, "hello").await);
    lost.stop();
    assert_eq!((well["status"].as_str(), ill["error"].as_str()), (Some("completed"), Some("model_unavailable")), "{well} {ill}");
    let direct = served.post("/tools/calculator/invoke").header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let direct =
        direct.json(&serde_json::json!({"agent": "assistant", "arguments": {"expression": "1/0"}})).send().await.expect("an answer");
    assert_eq!(direct.status(), 502);
    let metrics = served.get("/metrics").send().await.expect("metrics").text().await.expect("text");
    served.stop();

    let spans = kept.lock().expect("no panic").clone();
    let of = |trace: &serde_json::Value, name: &str| {
        let all = spans.iter().filter(|span| Some(hex(&span.trace_id).as_str()) == trace.as_str() && span.name == name);
        all.cloned().collect::<Vec<_>>()
    };
    let run = of(&well["trace_id"], "invoke_agent assistant");
    assert_eq!(run.len(), 1, "the trace that the answer names");
    assert!(run[0].parent_span_id.is_empty(), "nobody exports a parent of it");
    assert_eq!(attribute(&run[0], "gen_ai.provider.name").as_deref(), Some("demo"));
    let chats = of(&well["trace_id"], "chat demo");
    let tokens =
        |span: &Span, kind: &str| attribute(span, &format!("gen_ai.usage.{kind}_tokens")).expect("known").parse::<u64>().expect("a number");
    for kind in ["input", "output"] {
        assert_eq!(tokens(&run[0], kind), chats.iter().map(|span| tokens(span, kind)).sum::<u64>(), "{kind}");
    }
    assert_eq!(attribute(&chats[0], "gen_ai.conversation.id").as_deref(), Some("s"));
    assert!(attribute(&chats[0], "gen_ai.response.model").is_some());
    assert!(attribute(&chats[0], "gen_ai.response.finish_reasons").is_some_and(|list| list.contains("tool_calls")), "{:?}", chats[0]);
    assert!(!spans.iter().any(|span| failed(span) && hex(&span.trace_id) == well["trace_id"].as_str().expect("a trace")));

    let run = of(&ill["trace_id"], "invoke_agent assistant");
    assert_eq!((failed(&run[0]), attribute(&run[0], "error.type").as_deref()), (true, Some("model_unavailable")));
    let chat = of(&ill["trace_id"], "chat m");
    assert_eq!((chat.len(), failed(&chat[0]), attribute(&chat[0], "error.type").as_deref()), (3, true, Some("unreachable")));
    assert_eq!(attribute(&chat[0], "server.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(attribute(&chat[0], "server.port"), Some(free.to_string()));

    let call = of(&"4bf92f3577b34da6a3ce929d0e0e4736".into(), "execute_tool calculator");
    assert_eq!((call.len(), failed(&call[0]), hex(&call[0].parent_span_id).as_str()), (1, true, "00f067aa0ba902b7"));
    assert!(metrics.contains("maniple_tool_calls_total{tool=\"calculator\",status=\"error\"} 1"), "a direct call is counted:\n{metrics}");
    for family in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().expect("a name");
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} has no help text");
    }
}
