//! The command line: exit codes, JSON, and what a person reads.

mod around;
mod asking;
mod chat;
mod leaving;
mod project;
mod served;
mod tools;

use serde_json::Value;
use std::{
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// The longest anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary in a folder, with nothing of this process's environment that could change what it does.
fn maniple(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_maniple"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MANIPLE_") || name.starts_with("CLICOLOR") || name == "RUST_LOG")
    {
        command.env_remove(name);
    }
    command
}

/// What a command came to.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    err: String,
}

fn told(command: &mut Command) -> Told {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let _watched = Watchdog::over(child.id());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(stdout), text(stderr));
    Told { code: status.code().unwrap_or_else(|| panic!("it did not end by itself: {out}{err}")), out, err }
}

/// Kills a process that does not end, so that its test fails instead of hanging. Dropped, it does nothing.
struct Watchdog(#[allow(dead_code)] mpsc::Sender<()>);

impl Watchdog {
    fn over(pid: u32) -> Self {
        let (alive, gone) = mpsc::channel();
        thread::spawn(move || {
            if gone.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
        });
        Self(alive)
    }
}

/// Runs a command to its end.
fn run(dir: &Path, arguments: &[&str]) -> Told {
    told(&mut maniple(dir, arguments))
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
    /// The error of `--json`.
    fn error(&self) -> Value {
        let error: Value = serde_json::from_str(&self.err).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        error["error"].clone()
    }
}

#[test]
fn the_help_explains_the_exit_codes_and_a_slip_is_usage() {
    let dir = tempfile::tempdir().expect("a folder");
    let help = run(dir.path(), &["--help"]);
    assert_eq!(help.code, 0, "{help:?}");
    assert!(help.out.contains("Exit codes:") && help.out.contains("no node answers") && help.out.contains("MANIPLE_TOKEN"), "{help:?}");
    let slip = run(dir.path(), &["agnet", "ls"]);
    assert_eq!(slip.code, 2);
    assert!(slip.err.contains("agent"), "{slip:?}");
}

#[test]
fn completions_know_every_command_for_every_shell() {
    let dir = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(dir.path(), &["completions", shell]);
        assert_eq!(script.code, 0, "{shell}");
        for command in ["run", "task", "dlq", "agent", "new", "config"] {
            assert!(script.out.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn colours_appear_where_asked_for_and_never_against_no_color() {
    let dir = tempfile::tempdir().expect("a folder");
    let coloured = told(maniple(dir.path(), &["new", "a"]).env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR"));
    assert!(coloured.out.contains('\x1b'), "{coloured:?}");
    let plain = told(maniple(dir.path(), &["new", "b"]).env("NO_COLOR", "1"));
    assert!(!plain.out.contains('\x1b'), "{plain:?}");
    assert!(!run(dir.path(), &["new", "c"]).out.contains('\x1b'), "a pipe gets no colours");
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut child =
        maniple(dir.path(), &["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    let end = child.wait_with_output().expect("it ends");
    assert_eq!((end.status.code(), String::from_utf8_lossy(&end.stderr).as_ref()), (Some(0), ""));
}
