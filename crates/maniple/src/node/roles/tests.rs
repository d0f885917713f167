use super::*;
use crate::node::{Node, NodeOptions};

/// A node with these roles, the status of three calls, and the parts of `/ready`.
async fn played(names: &[RoleName]) -> ([u16; 3], Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { listen: "127.0.0.1:0".into(), store: "memory:".into(), folder: folder.path().into(), ..Config::default() };
    let options = NodeOptions { roles: Roles::of(names.iter().copied()), quiet: true, assistant: true, ..NodeOptions::default() };
    let node = Node::start(config, options).await.unwrap();
    let ask = async |path: &str| reqwest::get(format!("http://{}{path}", node.address())).await.unwrap();
    let mut answers = [0; 3];
    for (answer, path) in answers.iter_mut().zip(["/tasks", "/tools", "/metrics"]) {
        *answer = ask(path).await.status().as_u16();
    }
    let ready: serde_json::Value = serde_json::from_str(&ask("/ready").await.text().await.unwrap()).unwrap();
    let parts = ready["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap().to_owned()).collect();
    node.stop().await;
    (answers, parts)
}

#[tokio::test]
async fn a_process_offers_and_needs_what_its_roles_do() {
    use RoleName::{Api, Registry, Worker};
    let (store, model) = ("store".to_owned(), "model:assistant".to_owned());
    assert_eq!(played(&[Api, Worker]).await, ([200; 3], vec![store.clone(), model.clone()]));
    assert_eq!(played(&[Registry]).await, ([404, 200, 200], vec![store.clone()]));
    assert_eq!(played(&[Api]).await, ([200; 3], vec![store.clone()]));
    // It keeps a registry to call tools by, and shows it to nobody.
    assert_eq!(played(&[Worker]).await, ([404, 404, 200], vec![store, model]));
}

#[tokio::test]
async fn a_process_that_is_a_registry_serves_its_own_tools_whatever_registry_the_settings_name_for_the_others() {
    let folder = tempfile::tempdir().unwrap();
    // Its own address: one file serves all processes of a fleet.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config {
        listen: free.to_string(),
        registry: format!("http://{free}"),
        store: "memory:".into(),
        folder: folder.path().into(),
        ..Config::default()
    };
    let options = NodeOptions { roles: Roles::of([RoleName::Registry]), quiet: true, ..NodeOptions::default() };
    let node = Node::start(config, options).await.unwrap();
    let listed = reqwest::get(format!("http://{free}/tools")).await.unwrap().text().await.unwrap();
    assert!(listed.contains("calculator"), "{listed}");
    node.stop().await;
}

#[test]
fn roles_are_told_in_their_order() {
    use RoleName::{Api, Registry, Worker};
    assert_eq!(Roles::of([Registry, Worker]).to_string(), "worker,registry");
    assert_eq!(Roles::default().to_string(), "api,worker,registry");
    let alone = |roles: &[RoleName]| Roles::of(roles.iter().copied()).is_the_registry();
    assert_eq!([alone(&[Registry]), alone(&[Api]), alone(&[Worker, Registry])], [true, false, false]);
}
