//! What can be known of an agent's body before any task renders it.

use crate::yaml::{Problem, nearest};
use maniple_runtime::agent::prompt::Prompt;
use minijinja::Environment;
use std::path::Path;

/// What a body may name, beside the functions of the template language.
const NAMES: [&str; 5] = ["today", "agent", "session_id", "context", "metadata"];

/// A body that is no template, or names that no task will ever fill; each at its line of the file.
pub(super) fn problems(file: &Path, body: &str, body_line: usize) -> Vec<Problem> {
    let at = |line: usize, column: usize, message: String| Problem {
        line: body_line + line,
        column,
        source_line: body.lines().nth(line).unwrap_or_default().into(),
        ..Problem::of_file(file, message)
    };
    let mut environment = Environment::new();
    if let Err(error) = environment.add_template("prompt", body) {
        let line = error.line().unwrap_or(1).saturating_sub(1);
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        return vec![at(line, 1, format!("the body is no template: {detail}"))];
    }
    if let Err(error) = Prompt::compile(body) {
        return vec![at(0, 1, error.to_string())]; // the language agrees, but not within our bounds
    }
    let globals: Vec<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
    let undeclared = environment.get_template("prompt").map(|template| template.undeclared_variables(false)).unwrap_or_default();
    let mut unknown: Vec<String> =
        undeclared.into_iter().filter(|name| !NAMES.contains(&name.as_str()) && !globals.contains(name)).collect();
    unknown.sort();
    let problem = |name: &String| {
        let (line, column) = place(body, name);
        at(line, column, format!("unknown name `{name}`")).hint(nearest(name, &NAMES))
    };
    unknown.iter().map(problem).collect()
}

/// Where a name first stands inside `{{ }}` or `{% %}`: its line from 0 and its column from 1.
fn place(body: &str, name: &str) -> (usize, usize) {
    let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    for (number, line) in body.lines().enumerate().filter(|(_, line)| line.contains("{{") || line.contains("{%")) {
        let from = line.find('{').unwrap_or(0);
        for (at, found) in line[from..].match_indices(name).map(|(at, found)| (from + at, found)) {
            let apart =
                !line[..at].ends_with(part_of_a_name) && !line[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
            if apart {
                return (number, line[..at].chars().count() + 1);
            }
        }
    }
    (0, 1)
}
