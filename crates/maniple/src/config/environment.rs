//! The environment as settings see it: the process's variables, and below them what `.env` beside the settings says.

use crate::{
    files::{FILE_MAX, regular},
    yaml::Problem,
};
use std::{cell::Cell, collections::BTreeMap, fmt, io, path::Path};

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
    let (lines, mut variables) = (Cell::new(0), BTreeMap::new());
    for variable in dotenvy::from_read_iter(Lines { left: text.as_bytes(), read: &lines }) {
        let (name, value) = variable.map_err(|error| problem(file, lines.get(), &error))?;
        variables.insert(name, value);
    }
    Ok(variables)
}

/// A text, handed out a line at a time: how many were read tells where a reader stands.
struct Lines<'a> {
    left: &'a [u8],
    read: &'a Cell<usize>,
}

impl io::Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.left.iter().position(|byte| *byte == b'\n').map_or(self.left.len(), |end| end + 1);
        let (piece, left) = self.left.split_at(line.min(buffer.len()));
        buffer[..piece.len()].copy_from_slice(piece);
        if !piece.is_empty() && piece.len() == line {
            self.read.set(self.read.get() + 1);
        }
        self.left = left;
        Ok(piece.len())
    }
}

/// Which line it is, of which `read` were read. What stands there may be a secret: it is not said.
fn problem(file: &Path, read: usize, error: &dotenvy::Error) -> Problem {
    // A value in quotes may have several: its first is meant.
    let lines = if let dotenvy::Error::LineParse(text, _) = error { text.lines().count().max(1) } else { 1 };
    let line = (read + 1).saturating_sub(lines);
    Problem::of_file(file, format!("line {line} is no NAME=VALUE"))
        .hint("NAME='value': in single quotes every character is itself but `'`, and `\\` right before one")
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
        for (text, line) in [
            ("A=1\ns3cr3t without a name\n", 2),
            ("# s3cr3t x\nA=1\n\nB=s3cr3t x\n", 4),
            ("A='two\nlines'\nB=s3cr3t x", 3),
            ("A=1\nB='s3cr3t\nC=2\n", 2),
            ("A=1\nB='\ns3cr3t' x\nC=2\n", 2),
            (&format!("A={}\nB=s3cr3t x\n", "a".repeat(20_000)), 2),
        ] {
            let told = of(text).unwrap_err().to_string();
            assert!(told.contains(&format!("line {line} is no NAME=VALUE")) && !told.contains("s3cr3t"), "{text:.50}: {told}");
        }
    }

    #[test]
    fn without_a_file_there_is_the_process_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Environment::beside(folder.path()).unwrap().get("PATH"), std::env::var("PATH").ok());
    }
}
