//! `maniple agent check`: every problem of a project's files, told as a compiler would.
//!
//! [`works`] asks what the files alone do not tell: whether there is a provider, a key, a credential for what they name.

mod works;

use super::{
    cases::{format, is_yaml},
    exit::{Exit, Trouble},
    screen,
};
use crate::{
    config::Config,
    files::{self, Project, Sources, regular},
    yaml::Problem,
};
use maniple_core::{Tenant, model::ModelName, task::TaskLimits};
use maniple_registry::Catalog;
use owo_colors::OwoColorize;
use serde_json::json;
use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

/// A project that is right as far as files can tell.
pub struct Checked {
    /// Its agents and tools.
    pub project: Project,
    /// Its tools and the built-in ones.
    pub catalog: Arc<Catalog>,
    /// The ceilings and defaults of its tasks.
    pub limits: TaskLimits,
    /// The tools that agents ask for and that only a running node has, from where the settings say.
    pub unseen: BTreeSet<String>,
    /// The tools that agents ask for and that nobody defines: they may register themselves. With the name that could be meant.
    pub unknown: BTreeSet<String>,
    /// The settings.
    pub config: Config,
}

/// Checks settings, agents, tools and cases.
pub fn check(dir: &Path, as_json: bool) -> Result<Exit, Trouble> {
    if !dir.is_dir() {
        return Err(Trouble::usage(format!("there is no folder {}", dir.display())).try_next("maniple new NAME"));
    }
    let mut problems = Vec::new();
    let checked = project(dir).map_err(|more| problems.extend(more)).ok();
    if let Some(checked) = &checked {
        problems.extend(works::problems(checked, dir));
    }
    let cases = cases(&dir.join("cases"), &mut problems);
    let count = |number: usize, thing| screen::count(number as u64, thing);
    if as_json {
        let problems: Vec<_> = problems.iter().map(as_value).collect();
        screen::json(&json!({ "ok": problems.is_empty(), "problems": problems }))?;
    } else if let (Some(checked), []) = (&checked, problems.as_slice()) {
        let (agents, tools) = (checked.project.agents.len(), checked.project.tools.len());
        screen::answer(format!("{}: {}, {}, {}", "all right".green(), count(agents, "agent"), count(tools, "tool"), count(cases, "case")))?;
        for remark in &checked.project.remarks {
            screen::remark(format!("{} {}\n", "warning:".yellow(), screen::clean(&remark.to_string())));
        }
        let note = |names: &BTreeSet<String>, why: &str| {
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                screen::remark(format!("{} not checked, as {why}: {}", "note:".cyan(), names.join(", ")));
            }
        };
        note(&checked.unseen, "a running node imports them");
        note(&checked.unknown, "no file defines them; they are had once they register themselves");
    } else {
        for problem in &problems {
            screen::answer(format!("{} {}\n", "error:".red().bold(), screen::clean(&problem.to_string())))?;
        }
        screen::answer(count(problems.len(), "problem").red())?;
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Unsuccessful })
}

/// Reads a project; either it is right, or every problem is told.
pub fn project(dir: &Path) -> Result<Checked, Vec<Problem>> {
    let config = Config::for_dev(dir).map_err(|error| vec![problem(&dir.join(crate::config::FILE_NAME), &error)])?;
    let limits = TaskLimits::below(config.limits.tasks);
    let default_model = config.model.as_deref().unwrap_or("demo/demo");
    let wrong_model = |error: maniple_core::Error| vec![Problem::of_file(&config.folder.join(crate::config::FILE_NAME), error.to_string())];
    let model = ModelName::parse(default_model).map_err(wrong_model)?;
    let sources = Sources { agent_folders: config.agent_folders(), agent_files: Vec::new(), tool_folders: config.tool_folders() };
    let project = Project::load(&sources, &limits, &model)?;
    let of_tools =
        |errors: Vec<maniple_core::Error>| errors.iter().map(|e| Problem::of_file(&dir.join("tools"), e.to_string())).collect::<Vec<_>>();
    let catalog = Arc::new(Catalog::new(project.tools.clone()).map_err(of_tools)?);
    let (mut problems, mut unseen, mut unknown) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let known = catalog.list(&Tenant::default(), None, usize::MAX);
    let known: BTreeSet<&str> = known.iter().map(|tool| tool.definition.name.as_str()).collect();
    for agent in &project.agents {
        let mut here = Vec::new();
        for wish in &agent.tools {
            let name = wish.name.as_str();
            if known.contains(name) || (!is_imported(&config, name) && known.iter().any(|known| is_slip(name, known))) {
                here.push(wish.clone());
            } else if is_imported(&config, name) {
                unseen.insert(wish.name.clone());
            } else {
                let near = known.iter().find(|known| is_near(name, known));
                unknown.insert(near.map_or_else(|| wish.name.clone(), |near| format!("{name} (did you mean {near}?)")));
            }
        }
        problems.extend(
            catalog
                .check_wishes(&Tenant::default(), &agent.name, &here)
                .err()
                .map(|error| of_agent(&config, agent.name.as_str(), &error.to_string())),
        );
    }
    if problems.is_empty() { Ok(Checked { project, catalog, limits, unseen, unknown, config }) } else { Err(problems) }
}

/// Whether a name is one that is known with a letter out of place. `pay_v2` beside `pay_v1` is a name of its own, and so is `block`
/// beside `clock`: they may register themselves.
fn is_slip(name: &str, known: &str) -> bool {
    let digits = |name: &str| name.chars().filter(char::is_ascii_digit).collect::<String>();
    is_near(name, known)
        && strsim::damerau_levenshtein(name, known) == 1
        && name.chars().next() == known.chars().next()
        && digits(name) == digits(known)
}

/// Whether a name could be meant for one that is known. `search_v2` beside `search` is not.
fn is_near(name: &str, known: &str) -> bool {
    let goes_on = name.starts_with(known) || known.starts_with(name);
    known.len() > 3 && !goes_on && strsim::damerau_levenshtein(name, known) <= 2
}

/// Whether a tool of that name would come from an MCP server, an OpenAPI document or another registry of the settings.
fn is_imported(config: &Config, tool: &str) -> bool {
    let of = |import: &String| tool.strip_prefix(import.as_str()).is_some_and(|rest| rest.starts_with('_'));
    config.mcp.keys().any(of) || config.openapi.keys().any(of) || config.registry != "local"
}

/// How many cases there are; a folder without is none.
fn cases(folder: &Path, problems: &mut Vec<Problem>) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| is_yaml(path)).collect();
    files.sort();
    let mut count = 0;
    for file in files {
        match format::read(&file) {
            Ok(cases) => count += cases.len(),
            Err(problem) => problems.push(problem),
        }
    }
    count
}

/// What the settings said is wrong, with its place where it has one.
fn problem(file: &Path, error: &anyhow::Error) -> Problem {
    let placed = error.chain().find_map(|cause| cause.downcast_ref::<Problem>()).cloned();
    placed.unwrap_or_else(|| Problem::of_file(file, format!("{error:#}")))
}

/// A problem with an agent's tools, at the line that lists them.
fn of_agent(config: &Config, name: &str, message: &str) -> Problem {
    of_field(config, name, "tools", message)
}

/// A problem with a field of an agent's front matter, at its line.
fn of_field(config: &Config, name: &str, field: &str, message: &str) -> Problem {
    let file = config.agent_folders().iter().map(|folder| folder.join(format!("{name}.md"))).find(|file| file.exists());
    let file = file.unwrap_or_else(|| format!("{name}.md").into());
    let text = regular::text(&file, files::FILE_MAX).unwrap_or_default();
    Problem::of_field(&file, &text, 1, field, message)
}

fn as_value(problem: &Problem) -> serde_json::Value {
    json!({ "file": problem.file, "line": problem.line, "column": problem.column, "field": problem.field,
        "message": problem.message, "try": problem.hint })
}
