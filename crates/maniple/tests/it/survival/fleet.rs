//! Processes that share a store, behind a door that leads to any of those that answer.

use super::node::{Node, World, port_of_its_own};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

/// A place in the fleet, whoever stands in it.
pub struct Place {
    arguments: Vec<String>,
    /// Where it listens.
    port: u16,
    node: Option<Node>,
    since: Instant,
}

impl Place {
    /// Starts a process of that role.
    pub fn of(world: &World, role: &str) -> Self {
        Self::with(world, role, port_of_its_own(), &[])
    }
    /// The same at a port that is known already, with more arguments.
    pub fn with(world: &World, role: &str, port: u16, more: &[&str]) -> Self {
        let words = ["--role", role, "--listen", &format!("127.0.0.1:{port}")];
        let arguments: Vec<String> = words.iter().chain(more).map(|word| (*word).to_owned()).collect();
        let node = Some(Node::start_as(world, &arguments));
        Self { arguments, port, node, since: Instant::now() }
    }
    /// Where its door is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
    /// It dies, and nobody takes its place yet.
    pub fn die(&mut self) {
        self.node.take().expect("it is there").kill();
    }
    /// Another takes its place.
    pub fn revive(&mut self, world: &World) {
        (self.node, self.since) = (Some(Node::start_as(world, &self.arguments)), Instant::now());
    }
    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }
    /// Whether it has left of its own.
    pub fn has_left(&mut self) -> bool {
        self.node.as_mut().is_some_and(Node::has_left)
    }
    /// It dies, and another takes its place.
    pub fn kill(&mut self, world: &World) {
        self.die();
        self.revive(world);
    }
    /// It is asked to leave, and another takes its place once it has.
    pub async fn replace(&mut self, world: &World, patience: Duration) {
        self.leave(patience).await;
        self.revive(world);
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
        let url = format!("{}/ready", self.url());
        let ready = async {
            while !world.door.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(patience, ready).await.is_ok(), "it is not ready:\n{}", world.log());
    }
}

/// Leads each connection to one of the apis that answers, as a plain balancer does.
pub async fn balance(world: &World, apis: &[&Place]) {
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
