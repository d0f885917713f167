//! Registrations and tasks made to cost: whoever else asks is answered all the while, and memory stays bounded.

use crate::node::Served;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// An answer that nobody waits for: what stood still did so for many seconds.
const PROMPT: Duration = Duration::from_secs(2);
/// In MiB; six such registrations took 3,700.
const HELD: u64 = 700;

/// So many fields, each with a pattern of its own.
fn schema(count: usize, pattern: &str) -> Value {
    let fields: Map<String, Value> =
        (0..count).map(|n| (format!("f{n}"), json!({ "type": "string", "pattern": format!("{n}{pattern}") }))).collect();
    json!({ "type": "object", "properties": fields })
}

fn schemas() -> Vec<Value> {
    let choice = json!({ "anyOf": (0..990).map(|n| json!({ "const": n })).collect::<Vec<_>>() });
    vec![
        schema(900, "(a{1,9}){1,9}"),
        schema(190, "(a{1,100}){1,100}"),
        schema(4, "(a{1,100}){1,100}"),
        schema(190, "[a-z0-9._-]{1,64}"),
        json!({ "type": "object", "properties": { "list": { "type": "array", "items": choice } } }),
    ]
}

/// What comes of an attack, while `/health` is asked again and again.
async fn answered_all_the_while<T>(node: &Served, attack: impl Future<Output = T>) -> T {
    let health = async {
        let mut slowest = Duration::ZERO;
        loop {
            let asked = Instant::now();
            let answer = node.get("/health").send().await.expect("it answers");
            assert!(answer.status().is_success());
            slowest = slowest.max(asked.elapsed());
            assert!(slowest < PROMPT, "/health took {slowest:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        never = health => never,
        came = attack => came,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_made_to_cost_delay_nobody_and_hold_little() {
    let node = Served::start("");
    let attack = async {
        let mut asked = Vec::new();
        for round in 0..6 {
            for (at, schema) in schemas().into_iter().enumerate() {
                let tool = json!({
                    "name": format!("bomb_{round}_{at}"), "version": "1.0.0", "description": "d", "endpoint": "https://bomb.example/", "parameters": schema,
                });
                asked.push(node.post("/tools").json(&tool).send());
                asked.push(node.post("/tasks").json(&json!({ "prompt": "hello", "output_schema": schema })).send());
            }
        }
        futures::future::join_all(asked).await.into_iter().map(|answer| answer.expect("it answers").status().as_u16()).collect::<Vec<_>>()
    };
    let answers = answered_all_the_while(&node, attack).await;
    let of = |status: u16| answers.iter().filter(|answer| **answer == status).count();
    assert!(answers.iter().all(|answer| [200, 201, 202, 422, 429, 503].contains(answer)), "{answers:?}");
    assert!(of(422) >= 12 && of(202) >= 6, "both ways are taken: {answers:?}");
    let held = node.peak_mib();
    assert!(held < HELD, "{held} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_made_to_cost_are_read_and_delay_nobody() {
    let pages = axum::Router::new().route(
        "/{shape}",
        axum::routing::get(|axum::extract::Path(shape): axum::extract::Path<usize>| async move {
            let shapes = ["<a\">\"", "<!--", "<script>", "<", "<a b='", "&amp"];
            axum::response::Html(shapes[shape].repeat((420 << 10) / shapes[shape].len()))
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let inside = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, pages).await });
    let node = Served::with_tools("http_fetch", &format!("egress: {{ allow: [\"{inside}\"] }}\n"));
    let attack = futures::future::join_all((0..12).map(|n| {
        let call = json!({ "agent": "assistant", "arguments": { "url": format!("http://{inside}/{}", n % 6) } });
        node.post("/tools/http_fetch/invoke").json(&call).send()
    }));
    let began = Instant::now();
    for answer in answered_all_the_while(&node, attack).await {
        let answer = answer.expect("it answers");
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap_or_default());
    }
    // Read in the square of its length, one such page took 16 s.
    assert!(began.elapsed() < Duration::from_secs(10), "they took {:?}", began.elapsed());
}
