use crate::{
    config::Config,
    node::{Node, NodeOptions},
};
use std::time::Duration;

#[tokio::test]
async fn pins_that_are_written_anew_let_a_tool_out_of_quarantine_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tools")).unwrap();
    let tool = "name: pay\nversion: 1.0.0\ndescription: Pays.\nendpoint: http://127.0.0.1:9/pay\n";
    std::fs::write(folder.path().join("tools/pay.yaml"), tool).unwrap();
    let lock = folder.path().join("tools.lock");
    std::fs::write(&lock, "tools:\n  pay:\n    1.0.0: { contract: another, hosts: ['127.0.0.1:9'] }\n").unwrap();
    let config = Config { listen: "127.0.0.1:0".into(), store: "memory:".into(), folder: folder.path().into(), ..Config::default() };
    let node = Node::start(config, NodeOptions { quiet: true, ..NodeOptions::default() }).await.unwrap();
    let state = async || {
        let answer = reqwest::get(format!("http://{}/tools/pay", node.address())).await.unwrap().text().await.unwrap();
        let known: serde_json::Value = serde_json::from_str(&answer).unwrap();
        known["state"].as_str().map(str::to_owned)
    };
    assert_eq!(state().await.as_deref(), Some("quarantined"));
    std::fs::write(&lock, "tools: {}\n").unwrap();
    for _ in 0..100 {
        if state().await.as_deref() == Some("healthy") {
            node.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it stays in quarantine");
}
