//! Processes that share a store, behind a door that leads to any of those that answer.

use super::node::{Node, World, port_of_its_own};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// A place in the fleet, whoever stands in it.
pub struct Place {
    arguments: Vec<String>,
    /// Where it listens.
    port: u16,
    node: Option<Node>,
}

impl Place {
    /// Starts a process of that role.
    pub fn of(world: &World, role: &str) -> Self {
        let port = port_of_its_own();
        let arguments = ["--role".into(), role.into(), "--listen".into(), format!("127.0.0.1:{port}")].to_vec();
        let node = Some(Node::start_as(world, &arguments));
        Self { arguments, port, node }
    }
    /// It dies, and another takes its place.
    pub fn kill(&mut self, world: &World) {
        self.node.take().expect("it is there").kill();
        self.node = Some(Node::start_as(world, &self.arguments));
    }
    /// It is asked to leave, and another takes its place once it has.
    pub async fn replace(&mut self, world: &World, patience: Duration) {
        self.leave(patience).await;
        self.node = Some(Node::start_as(world, &self.arguments));
        self.is_ready(world, patience).await;
    }
    /// It is asked to leave.
    pub async fn leave(&mut self, patience: Duration) {
        self.node.take().expect("it is there").leave(patience).await;
    }
    /// `STOP` and `CONT`.
    pub fn signal(&self, name: &str) {
        self.node.as_ref().expect("it is there").signal(name);
    }
    /// Waits until it says that it is.
    pub async fn is_ready(&self, world: &World, patience: Duration) {
        let url = format!("http://127.0.0.1:{}/ready", self.port);
        let ready = async {
            while !world.door.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(patience, ready).await.is_ok(), "it is not ready:\n{}", world.log());
    }
}

/// Leads each connection to one of the apis that answers, as a plain balancer does.
pub async fn balance(world: &World, apis: &[Place]) {
    let address = world.door.url.strip_prefix("http://").expect("an address");
    let listener = TcpListener::bind(address).await.expect("its own port");
    let ports: Vec<u16> = apis.iter().map(|api| api.port).collect();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let mut ports = ports.clone();
            fastrand::shuffle(&mut ports);
            tokio::spawn(async move {
                for port in ports {
                    if let Ok(mut api) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = tokio::io::copy_bidirectional(&mut caller, &mut api).await;
                        return;
                    }
                }
            });
        }
    });
}
