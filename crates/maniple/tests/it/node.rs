//! A served project for tests: the built binary over a temporary folder, killed at the end.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running `maniple serve`.
pub struct Served {
    /// Kept until the end: its files are in use.
    _folder: tempfile::TempDir,
    pub address: String,
    child: Child,
    client: reqwest::Client,
}

const ASSISTANT: &str = "---\ndescription: For tests.\nversion: 1.0.0\nmodel: demo/demo\ntools: [clock, calculator]\n---\nYou are a test. Today is {{ today }}.\n";

impl Served {
    /// Serves an assistant with the demo model; `more` is added to its maniple.yaml.
    pub fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("agents")).expect("a folder");
        std::fs::write(folder.path().join("agents/assistant.md"), ASSISTANT).expect("a file");
        std::fs::write(folder.path().join("maniple.yaml"), format!("listen: 127.0.0.1:0\n{more}")).expect("a file");
        let mut child = spawn(folder.path(), &["serve"]);
        let address = address(folder.path(), &mut child);
        Self { _folder: folder, address, child, client: reqwest::Client::new() }
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.address))
    }
    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.address))
    }

    /// The most that it ever held, in MiB, as the kernel counts it.
    pub fn fullest_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_024
    }

    /// Asks it to stop, and returns what it logged.
    pub fn stop(mut self) -> String {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(told.success());
        let mut logs = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut logs).expect("UTF-8");
        assert!(self.child.wait().expect("it ends").success(), "{logs}");
        logs
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, in a folder, with none of this process's settings.
pub fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_maniple"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    std::env::vars().filter(|(name, _)| name.starts_with("MANIPLE_") || name == "RUST_LOG").for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.spawn().expect("the binary starts")
}

/// Where it answers, from the lock file of its store.
fn address(folder: &Path, child: &mut Child) -> String {
    let store = maniple_backends::StoreUrl::Sqlite(folder.join("maniple.db"));
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if let Some(holder) = maniple_backends::holder(&store)
            && let Some(address) = holder.address
        {
            return address;
        }
        if let Ok(Some(status)) = child.try_wait() {
            let mut logs = String::new();
            let _ = child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut logs));
            panic!("it left with {status}: {logs}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it does not answer");
}
