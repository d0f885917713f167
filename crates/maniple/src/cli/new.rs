//! `maniple new`: a project that starts and passes its own test at once.

use super::{
    exit::{Exit, Trouble},
    screen,
};
use clap::Args;
use maniple_core::AgentName;
use owo_colors::OwoColorize;
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const IGNORED: &str = "# The node's store and its lock\nmaniple.db*\n# Keys\n.env\n";

/// Makes a project for an agent in a new folder.
#[derive(Debug, Args)]
pub struct New {
    /// The folder to make; its name is the agent's
    #[arg(value_name = "NAME")]
    folder: PathBuf,
}

impl New {
    /// Makes it. A folder that holds anything is not touched.
    pub fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let folder = &self.folder;
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        AgentName::parse(&name).map_err(|_| {
            Trouble::usage(format!(
                "`{name}` cannot be an agent's name: it must be 1 to 63 of a-z 0-9 -, beginning and ending with a letter or digit"
            ))
            .try_next(format!("maniple new {}", legal(&name)))
        })?;
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Trouble::usage(format!("{} is not empty: nothing was written", folder.display()))
                .try_next("another name, or an empty folder"));
        }
        let files = files(&name);
        for (path, content) in &files {
            write(&folder.join(path), content)
                .map_err(|e| Trouble::from(io::Error::new(e.kind(), format!("{}: {e}", folder.join(path).display()))))?;
        }
        if as_json {
            let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
            screen::json(&json!({ "folder": folder, "agent": name, "files": paths }))?;
            return Ok(Exit::Done);
        }
        screen::answer(format!("{} {}", "made".green(), folder.display()))?;
        for (path, _) in &files {
            screen::answer(format!("  {path}"))?;
        }
        screen::answer(format!("\nNext:\n  cd {}\n  maniple agent test\n  maniple dev", folder.display()))?;
        Ok(Exit::Done)
    }
}

fn files(name: &str) -> Vec<(String, String)> {
    [
        ("maniple.yaml".to_owned(), include_str!("new/maniple.yaml").to_owned()),
        (format!("agents/{name}.md"), include_str!("new/agent.md").to_owned()),
        ("tools/weather.yaml".to_owned(), include_str!("new/weather.yaml").to_owned()),
        ("cases/calculates.yaml".to_owned(), include_str!("new/calculates.yaml").to_owned()),
        ("cases/weather.yaml".to_owned(), include_str!("new/weather_case.yaml").to_owned()),
        ("README.md".to_owned(), include_str!("new/README.md").replace("NAME", name)),
        (".gitignore".to_owned(), IGNORED.to_owned()),
    ]
    .into()
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, content)
}

/// The nearest legal name.
fn legal(name: &str) -> String {
    let legal: String =
        name.to_lowercase().chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).take(63).collect();
    let legal = legal.trim_matches('-');
    if legal.is_empty() { "my-agent".to_owned() } else { legal.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_is_answered_with_one_that_can() {
        for name in ["My Agent", "-x-", "", "größe", "_"] {
            assert!(AgentName::parse(&legal(name)).is_ok(), "{name} -> {}", legal(name));
        }
        assert_eq!(legal("My Agent"), "my-agent");
    }

    #[test]
    fn no_file_is_left_with_a_placeholder() {
        for (path, content) in files("my-agent") {
            assert!(!content.contains("NAME") && !path.contains("NAME"), "{path}");
        }
    }
}
