//! Reads YAML that a person wrote, and says where it is wrong as a compiler would.

use serde::de::DeserializeOwned;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// From 1; 0 where it concerns the file as a whole.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// The line itself.
    pub source_line: String,
    /// The field at fault, where that is known.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of the whole file.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { file: file.to_owned(), line: 0, column: 0, source_line: String::new(), field: None, message, hint: None }
    }
    /// A problem of a field, at the line of `text` that sets it (`first_line` is the number of its first line).
    pub fn of_field(file: &Path, text: &str, first_line: usize, field: &str, message: impl Into<String>) -> Self {
        let top = field.split(['.', '[']).next().unwrap_or(field);
        let found = text.lines().position(|line| line.trim_start().starts_with(&format!("{top}:")));
        let mut problem = Self { field: Some(field.to_owned()), ..Self::of_file(file, message) };
        if let Some(at) = found {
            problem.source_line = text.lines().nth(at).unwrap_or_default().to_owned();
            problem.line = first_line + at;
            problem.column = problem.source_line.len() - problem.source_line.trim_start().len() + 1;
        }
        problem
    }
    /// A problem of no file.
    pub fn elsewhere(message: impl Into<String>) -> Self {
        Self::of_file(Path::new(""), message)
    }
    /// With something to try.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if self.line > 0 {
            let width = self.line.to_string().len();
            write!(f, "\n{:width$}--> {}:{}:{}", "", self.file.display(), self.line, self.column)?;
            write!(
                f,
                "\n{:width$} |\n{} | {}\n{:width$} | {:>column$}",
                "",
                self.line,
                self.source_line,
                "",
                "^",
                column = self.column.max(1)
            )?;
        } else if !self.file.as_os_str().is_empty() {
            write!(f, "\n--> {}", self.file.display())?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\ntry: {hint}")?;
        }
        Ok(())
    }
}

/// Reads a value. `first_line` is the line of the file on which `text` begins.
pub fn read<T: DeserializeOwned>(file: &Path, text: &str, first_line: usize) -> Result<T, Problem> {
    maniple_registry::yaml::read(text).map_err(|error| problem(file, text, first_line, &error))
}

/// What may stand behind keys that must be there.
const EXAMPLES: [(&str, &str); 3] =
    [("version", "1.0.0"), ("description", "What it is for."), ("endpoint", "http://127.0.0.1:9300/tickets")];

fn problem(file: &Path, text: &str, first_line: usize, error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let (message, hint) = match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown key `{field}`"), Some(nearest(field, expected)))
        }
        serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown value `{variant}`"), Some(nearest(variant, expected)))
        }
        serde_saphyr::Error::SerdeMissingField { field, .. } => {
            let example = EXAMPLES.iter().find(|(name, _)| name == field);
            (format!("the key `{field}` is missing"), example.map(|(name, example)| format!("{name}: {example}")))
        }
        other => match first_sentence(&other.to_string()) {
            message if !message.contains("SemVer") && (message.contains("semver version") || message.contains("version number")) => {
                ("a version is three numbers, as in `version: 1.0.0`".to_owned(), None)
            }
            message => (message, None),
        },
    };
    let mut problem = Problem { hint, ..Problem::of_file(file, message) };
    // A key that a file misses as a whole is missing nowhere in particular.
    let is_everywhere = |column: u64| matches!(error, serde_saphyr::Error::SerdeMissingField { .. }) && column <= 1;
    if let Some(location) = error.location().filter(|location| location.line() > 0 && !is_everywhere(location.column())) {
        let line = location.line() as usize;
        problem.line = first_line + line - 1;
        problem.column = location.column() as usize;
        problem.source_line = text.lines().nth(line - 1).unwrap_or_default().to_owned();
    }
    problem
}

/// The message without the position that the library puts behind it.
fn first_sentence(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

/// "did you mean", or what there is.
pub fn nearest(written: &str, known: &[&str]) -> String {
    let best = known.iter().map(|name| (strsim::jaro_winkler(written, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, name)) if score > 0.75 => format!("did you mean `{name}`?"),
        _ => format!("there are: {}", known.join(", ")),
    }
}
