//! What lies in a project's folder and is no file.

use crate::node::spawn;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

/// Nothing here takes so long, unless something waits for a pipe.
const PATIENCE: Duration = Duration::from_secs(30);

const AGENT: &str = "---\ndescription: For tests.\nversion: 1.0.0\nmodel: demo/demo\n---\nYou are a test.\n";

/// Whether `maniple serve` names this place and what is wrong with it.
fn complains(folder: &Path, place: &str, what: &str) -> bool {
    let mut child = spawn(folder, &["serve"]);
    let (said, hears) = mpsc::channel();
    let errors = BufReader::new(child.stderr.take().expect("piped"));
    let listening = std::thread::spawn(move || {
        let mut text = String::new();
        for line in errors.lines().map_while(Result::ok) {
            text.push_str(&line);
            let _ = said.send(text.clone());
        }
    });
    let until = Instant::now() + PATIENCE;
    let is_told = std::iter::from_fn(|| hears.recv_timeout(until.saturating_duration_since(Instant::now())).ok())
        .any(|text| text.contains(place) && text.contains(what));
    let _ = child.kill();
    let _ = child.wait();
    listening.join().expect("it hears the end");
    is_told
}

#[test]
fn a_pipe_or_a_device_in_a_project_is_named_and_never_waited_for() {
    for (place, settings) in [
        ("agents/x.md", ""),
        ("tools/x.yaml", ""),
        ("maniple.yaml", ""),
        ("tools.lock", ""),
        ("secret", "telemetry: { level: \"${file:secret}\" }\n"),
        ("api.yaml", "openapi: { shop: { file: api.yaml } }\n"),
    ] {
        for as_device in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = |name: &str| folder.path().join(name);
            ["agents", "tools"].iter().for_each(|name| fs::create_dir(path(name)).expect("a folder"));
            fs::write(path("agents/assistant.md"), AGENT).expect("a file");
            fs::write(path("maniple.yaml"), format!("listen: 127.0.0.1:0\n{settings}")).expect("a file");
            let _ = fs::remove_file(path(place));
            if as_device {
                std::os::unix::fs::symlink("/dev/zero", path(place)).expect("a link");
            } else {
                assert!(Command::new("mkfifo").arg(path(place)).status().expect("it is there").success());
            }
            let what = if as_device { "it is a device" } else { "it is a pipe" };
            assert!(complains(folder.path(), place, what), "{place}: {what}");
        }
    }
}
