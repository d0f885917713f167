//! What a caller can make of the catalogue of a running node.

use crate::node::Served;
use reqwest::StatusCode;
use serde_json::{Value, json};

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
