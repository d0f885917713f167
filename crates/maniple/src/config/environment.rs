//! The environment as settings see it: the process's variables, and below them what `.env` beside the settings says.

use crate::{
    files::{FILE_MAX, regular},
    yaml::Problem,
};
use std::{collections::BTreeMap, fmt, io, path::Path};

/// The name looked for beside the settings.
const FILE_NAME: &str = ".env";

/// Variables by name. Prints no values.
#[derive(Clone, Default)]
pub struct Environment {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
}

impl Environment {
    /// The process's own, over that of `.env` in this folder, if there is one. Fails where a line of it is none.
    pub fn beside(folder: &Path) -> Result<Self, Problem> {
        Ok(Self { file: read(&folder.join(FILE_NAME))?, ..Self::of_process() })
    }

    /// The process's own alone.
    pub fn of_process() -> Self {
        // What is no text is no setting.
        let process = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { process: process.collect(), file: BTreeMap::new() }
    }

    /// A variable. The process's own is never overridden.
    pub fn get(&self, name: &str) -> Option<String> {
        self.process.get(name).or_else(|| self.file.get(name)).cloned()
    }

    /// All of them, each once.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let all: BTreeMap<String, String> = self.file.clone().into_iter().chain(self.process.clone()).collect();
        all.into_iter()
    }

    /// Whether a variable is as the file says.
    pub fn is_of_file(&self, name: &str) -> bool {
        self.file.contains_key(name) && !self.process.contains_key(name)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.process.keys().chain(self.file.keys())).finish()
    }
}

fn read(file: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let text = match regular::text(file, FILE_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Problem::of_file(file, format!("the file cannot be read: {error}"))),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut variables = BTreeMap::new();
    for variable in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = variable.map_err(|error| problem(file, text, &error))?;
        variables.insert(name, value);
    }
    Ok(variables)
}

/// Which line it is. What stands there may be a secret: it is not said.
fn problem(file: &Path, text: &str, error: &dotenvy::Error) -> Problem {
    let line = match error {
        dotenvy::Error::LineParse(line, _) => text.lines().position(|other| line.contains(other) && !other.trim().is_empty()),
        _ => None,
    };
    let place = line.map(|line| format!("line {}", line + 1)).unwrap_or_else(|| "it".into());
    Problem::of_file(file, format!("{place} is no NAME=VALUE")).hint("NAME='value': in single quotes every character is itself")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Environment, Problem> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
        Environment::beside(folder.path())
    }

    #[test]
    fn a_file_is_read_as_everybody_reads_it() {
        let text = "\u{feff}# keys\nexport A=1\r\nB = two # not this\nC=\"x # y\"\nD='$A \\n'\nE=a#b\n\nF=\nG=\"one\ntwo\"\n";
        let environment = of(text).unwrap();
        let got = ["A", "B", "C", "D", "E", "F", "G"].map(|name| environment.get(name).unwrap_or_else(|| "none".into()));
        assert_eq!(got, ["1", "two", "x # y", "$A \\n", "a#b", "", "one\ntwo"]);
    }

    #[test]
    fn the_process_is_never_overridden_and_values_are_not_printed() {
        let environment = of("PATH=mine\nONLY_HERE=s3cr3t\n").unwrap();
        assert_eq!(environment.get("PATH"), std::env::var("PATH").ok());
        assert_eq!(environment.variables().filter(|(name, _)| name == "PATH").map(|(_, value)| value).next(), std::env::var("PATH").ok());
        assert_eq!((environment.is_of_file("PATH"), environment.is_of_file("ONLY_HERE")), (false, true));
        assert!(!format!("{environment:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_line_that_is_none_is_named_by_its_number_and_not_said() {
        let told = of("A=1\ns3cr3t without a name\n").unwrap_err().to_string();
        assert!(told.contains("line 2 is no NAME=VALUE") && !told.contains("s3cr3t"), "{told}");
    }

    #[test]
    fn without_a_file_there_is_the_process_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Environment::beside(folder.path()).unwrap().get("PATH"), std::env::var("PATH").ok());
    }
}
