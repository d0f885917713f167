//! A project folder with everything it talks to, and the process that serves it.

use super::reader::Door;
use maniple_core::tool::Effect;
use maniple_testkit::{
    ledger::{self, Ledger, Mode},
    model::{self, Fickle},
};
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Agents by how they work: rounds of calls, and calls a round.
pub const AGENTS: [(&str, usize, usize); 4] = [("plain", 0, 1), ("wide", 1, 9), ("deep", 4, 1), ("both", 2, 4)];

/// What outlives every process: the folder, the model, the tools' memory.
pub struct World {
    pub folder: TempDir,
    pub door: Door,
    pub ledger: Ledger,
    pub model: Fickle,
    _model: model::Server,
    _tools: ledger::Server,
}

impl World {
    pub async fn new() -> Self {
        Self::over("sqlite:maniple.db").await
    }
    /// The same with another store.
    pub async fn over(store: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::new();
        let fickle = Fickle::new(0, 1).slow(Duration::from_millis(8));
        let model = model::Server::start(fickle.clone()).await.expect("a port");
        let tools = ledger::Server::start(ledger.clone()).await.expect("a port");
        let port = port_of_its_own();
        let settings = format!(
            "listen: 127.0.0.1:{port}\nstore: {store}\nmodels:\n  mock: {{ api: openai, base_url: \"{}\", api_key: none }}\ntelemetry: {{ level: warn }}\n",
            model.base_url()
        );
        write(&folder.path().join("maniple.yaml"), &settings);
        for (name, effect) in [("look", Effect::Pure), ("put", Effect::Idempotent), ("pay", Effect::AtMostOnce)] {
            ledger.set(name, Mode::Slow(Duration::from_millis(8)));
            let definition = ledger::definition(name, effect, &tools.endpoint(name));
            // JSON is YAML.
            write(&folder.path().join(format!("tools/{name}.yaml")), &serde_json::to_string(&definition).expect("JSON"));
        }
        let door = Door::new(format!("http://127.0.0.1:{port}"));
        let world = Self { folder, door, ledger, model: fickle, _model: model, _tools: tools };
        for (name, rounds, width) in AGENTS {
            world.employs(name, &format!("tools-{rounds}-x{width}"), "look, put, pay");
        }
        world
    }
    /// An agent, `payer`, whose one call takes this long and is never sent twice.
    pub fn has_a_payment_that_takes(&self, time: Duration) {
        self.ledger.set("pay", Mode::Slow(time));
        self.gives("pay", (2 * time).clamp(Duration::from_secs(300), Duration::from_secs(600)));
        self.employs("payer", "tools-1-x1", "pay");
    }
    /// So long may a call of this tool take.
    fn gives(&self, tool: &str, time: Duration) {
        let path = self.folder.path().join(format!("tools/{tool}.yaml"));
        let mut definition: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).expect("written")).expect("JSON");
        definition["timeout_ms"] = (time.as_millis() as u64).into();
        write(&path, &definition.to_string());
    }
    /// Says more in the settings.
    pub fn sets(&self, more: &str) {
        let path = self.folder.path().join("maniple.yaml");
        write(&path, &(fs::read_to_string(&path).expect("written") + more));
    }
    /// Its processes call tools by a registry at this port, which is started with `--config registry.yaml`.
    pub fn has_its_tools_at(&self, port: u16) {
        fs::copy(self.folder.path().join("maniple.yaml"), self.folder.path().join("registry.yaml")).expect("copied");
        self.sets(&format!("registry: \"http://127.0.0.1:{port}\"\n"));
    }
    /// One more agent.
    pub fn employs(&self, name: &str, model: &str, tools: &str) {
        let front = format!("description: works\nversion: 1.0.0\nmodel: mock/{model}\ntools: [{tools}]");
        write(&self.folder.path().join(format!("agents/{name}.md")), &format!("---\n{front}\n---\nYou work.\n"));
    }
    /// An agent, `looker`, whose one call takes this long and may be sent again.
    pub fn has_a_look_that_takes(&self, time: Duration) {
        self.ledger.set("look", Mode::Slow(time));
        let front = "description: looks\nversion: 1.0.0\nmodel: mock/tools-1-x1\ntools: [look]";
        write(&self.folder.path().join("agents/looker.md"), &format!("---\n{front}\n---\nYou look.\n"));
    }
    /// More settings, before a process reads them.
    pub fn has_settings(&self, more: &str) {
        let path = self.folder.path().join("maniple.yaml");
        write(&path, &(fs::read_to_string(&path).expect("written") + more));
    }
    /// What the processes wrote to their standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// A free port below those that a kernel gives to clients and to whoever asks for any: while the node is dead nobody else gets it.
pub fn port_of_its_own() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_768));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("it goes on for ever")
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it has a folder")).expect("made");
    fs::write(path, text).expect("written");
}

/// One process. Killed when it is dropped.
pub struct Node(Child);

impl Node {
    pub fn start(world: &World) -> Self {
        Self::start_as(world, &[])
    }
    /// The same with more arguments.
    pub fn start_as(world: &World, arguments: &[String]) -> Self {
        let log = fs::File::options().create(true).append(true).open(world.folder.path().join("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_maniple"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MANIPLE_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        command.arg("serve").args(arguments).current_dir(world.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().expect("the binary starts"))
    }
    /// Waits until it answers.
    pub async fn answers(&self, world: &World, patience: Duration) {
        let health = async {
            let url = format!("{}/health", world.door.url);
            while !world.door.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let answered = tokio::time::timeout(patience, health).await;
        assert!(answered.is_ok(), "it does not answer:\n{}", world.log());
    }
    /// Whether it has ended of its own.
    pub fn has_left(&mut self) -> bool {
        self.0.try_wait().expect("it is ours").is_some()
    }
    pub fn kill(mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
    /// `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status().expect("kill is there");
        assert!(sent.success(), "{name} was not sent");
    }
    /// Asks it to leave, and waits until it has.
    pub async fn leave(mut self, patience: Duration) {
        self.signal("TERM");
        let left = async {
            loop {
                match self.0.try_wait().expect("it is ours") {
                    Some(status) => return status,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let status = tokio::time::timeout(patience, left).await.expect("it leaves inside the bound");
        assert!(status.success(), "it left with {status}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Gone already, mostly.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
