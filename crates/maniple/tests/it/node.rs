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
    folder: tempfile::TempDir,
    pub address: String,
    child: Child,
    client: reqwest::Client,
}

const ASSISTANT: &str = "---\ndescription: For tests.\nversion: 1.0.0\nmodel: demo/demo\ntools: [clock, calculator]\n---\nYou are a test. Today is {{ today }}.\n";

impl Served {
    /// Serves an assistant with the demo model; `more` is added to its maniple.yaml.
    pub fn start(more: &str) -> Self {
        Self::begin(ASSISTANT, more, |folder| spawn(folder, &["serve"]))
    }

    /// The same, where the assistant has these tools.
    pub fn with_tools(tools: &str, more: &str) -> Self {
        Self::begin(&ASSISTANT.replace("clock, calculator", tools), more, |folder| spawn(folder, &["serve"]))
    }

    /// The same with another model.
    pub fn with_model(model: &str, more: &str) -> Self {
        Self::begin(&ASSISTANT.replace("demo/demo", model), more, |folder| spawn(folder, &["serve"]))
    }

    /// The same with another model, in a process that may have so many file descriptors.
    pub fn with_descriptors(most: u32, model: &str, more: &str) -> Self {
        let limited = format!("ulimit -n {most}; exec \"$0\" serve");
        Self::begin(&ASSISTANT.replace("demo/demo", model), more, |folder| {
            launch(folder, Command::new("sh").args(["-c", &limited, env!("CARGO_BIN_EXE_maniple")]))
        })
    }

    fn begin(assistant: &str, more: &str, spawn: impl FnOnce(&Path) -> Child) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("agents")).expect("a folder");
        std::fs::write(folder.path().join("agents/assistant.md"), assistant).expect("a file");
        std::fs::write(folder.path().join("maniple.yaml"), format!("listen: 127.0.0.1:0\n{more}")).expect("a file");
        let mut child = spawn(folder.path());
        let address = address(folder.path(), &mut child);
        Self { folder, address, child, client: reqwest::Client::new() }
    }

    /// Where its project is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The time that its process has spent on processors.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let behind_name = stat.rsplit(')').next().expect("it has a name");
        // Fields 14 and 15, in hundredths of a second (proc(5)); the name is field 2.
        let ticks: u64 = behind_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Kills it, and leaves its project as it is.
    pub fn kill(&self) {
        let killed = Command::new("kill").args(["-KILL", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
    }

    /// The most memory that its process has held so far, in MiB.
    pub fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.address))
    }
    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.address))
    }

    /// Kills it, and serves the same folder anew.
    pub fn killed_and_served_again(mut self) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(self.folder.path(), &["serve"]);
        self.address = address(self.folder.path(), &mut self.child);
        self
    }
    /// How much memory it has in use, in MiB.
    pub fn resident_mib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
        line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).expect("a number") >> 10
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
    launch(folder, Command::new(env!("CARGO_BIN_EXE_maniple")).args(arguments))
}

fn launch(folder: &Path, command: &mut Command) -> Child {
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
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
