//! Servers of its own, because they are killed: each is started again on what it left.

use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};
use tokio::time::Instant;

/// So long may a server take to be gone, and to be there again.
const PATIENCE: Duration = Duration::from_secs(90);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/services");

/// Postgres, Redis and Kafka. They end with this.
pub struct Servers {
    folder: PathBuf,
    urls: BTreeMap<String, String>,
}

impl Servers {
    pub fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("maniple-chaos-{}", std::process::id()));
        let mut servers = Self { folder, urls: BTreeMap::new() };
        let mut command = servers.command("up");
        let said = command.args(["postgres", "redis", "kafka"]).output().expect("scripts/services runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let url = |line: &str| {
            let (name, url) = line.strip_prefix("export MANIPLE_TEST_")?.split_once('=')?;
            Some((name.to_lowercase(), url.to_owned()))
        };
        servers.urls = said.lines().filter_map(url).collect();
        servers
    }
    /// Where `postgres`, `redis` or `kafka` is.
    pub fn url(&self, name: &str) -> &str {
        &self.urls[name]
    }
    /// Sends it a signal that ends it, and waits until it has ended. What it has said is returned: the next one begins anew.
    pub async fn end(&self, name: &str, signal: &str) -> String {
        let pid = std::fs::read_to_string(self.folder.join(format!("{name}.pid"))).expect("it was started");
        let sent = Command::new("kill").args([&format!("-{signal}"), pid.trim()]).status().expect("kill is there");
        assert!(sent.success(), "{name} had ended before it was told to");
        // Postgres takes one that nobody has taken leave of yet for one that lives.
        let process = PathBuf::from("/proc").join(pid.trim());
        let until = Instant::now() + PATIENCE;
        while process.exists() {
            assert!(Instant::now() < until, "{name} does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.said(name)
    }
    /// Starts it again.
    pub async fn start_again(&self, name: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = tokio::process::Command::from(self.command("up")).arg(name).output().await.expect("scripts/services runs");
            if said.status.success() {
                return;
            }
            // Children of a Postgres that was killed take a moment to notice.
            assert!(Instant::now() < until, "{name} does not come back: {}", String::from_utf8_lossy(&said.stderr));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    /// What it has said since it was started.
    pub fn said(&self, name: &str) -> String {
        let said = std::fs::read(self.folder.join(format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }
    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(SCRIPT);
        command.arg(what).arg(&self.folder);
        command
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // What does not end is said, and no reason to hide why a test failed.
        if !self.command("down").status().is_ok_and(|status| status.success()) {
            eprintln!("servers are left behind in {}", self.folder.display());
        }
    }
}
