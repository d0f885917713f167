//! What could not work though every file can be read: providers, keys, credentials, folders. Nobody is asked anything.

use super::{Checked, of_field};
use crate::{
    config::{Config, FILE_NAME, Folders},
    files::{FILE_MAX, regular},
    yaml::Problem,
};
use maniple_core::{
    agent::AgentDefinition,
    model::ModelName,
    ports::Models,
    tool::{Realm, ToolDefinition},
};
use maniple_llm::Providers;
use maniple_registry::credentials::Credentials;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Everything of a project that is right by its files and could not work.
pub(super) fn problems(checked: &Checked, dir: &Path) -> Vec<Problem> {
    let config = &checked.config;
    let mut problems = folders(config);
    if problems.is_empty() && checked.project.agents.is_empty() {
        let agents: Vec<String> = config.agents.paths().iter().map(|path| config.path(path).display().to_string()).collect();
        let message = format!("there is no agent in {}", agents.join(", "));
        problems.push(Problem::of_file(dir, message).hint("maniple new NAME makes a project with one"));
    }
    match Providers::with_environment(config.models.clone(), |name| config.environment.get(name)) {
        Ok(providers) => problems.extend(checked.project.agents.iter().flat_map(|agent| models(config, &providers, agent))),
        Err(error) => problems.push(of_settings(config, error.field.as_deref().unwrap_or("models"), &error.message)),
    }
    match config.credentials() {
        Ok(credentials) => {
            problems.extend(checked.project.tools.iter().filter_map(|tool| credential(config, &credentials, tool)));
            problems.extend(of_imports(config, &credentials));
        }
        Err(error) => problems.push(of_settings(config, "credentials", &error.message)),
    }
    problems.extend(documents(config));
    problems
}

/// Folders that the settings name and that are not there. Those nobody named need not be.
fn folders(config: &Config) -> Vec<Problem> {
    let defaults = Config::default();
    let missing = |field: &str, folders: &Folders, default: &Folders| {
        let absent = folders.paths().iter().filter(|path| !config.path(path).is_dir());
        let named = absent.filter(|_| folders != default);
        named.map(|path| of_settings(config, field, &format!("there is no folder {}", config.path(path).display()))).collect::<Vec<_>>()
    };
    let mut problems = missing("agents", &config.agents, &defaults.agents);
    problems.extend(missing("tools", &config.tools, &defaults.tools));
    problems
}

/// An agent works while one of its models can be asked; a name that leads nowhere is a slip wherever it stands.
fn models(config: &Config, providers: &Providers, agent: &AgentDefinition) -> Vec<Problem> {
    let all: Vec<(&str, &ModelName)> =
        std::iter::once(("model", &agent.model)).chain(agent.fallbacks.iter().map(|model| ("fallbacks", model))).collect();
    let unknown = all.iter().filter_map(|(field, model)| Some((field, providers.model(model).err()?)));
    let mut problems: Vec<Problem> = unknown.map(|(field, error)| of_field(config, agent.name.as_str(), field, &error.message)).collect();
    let keyless: Vec<(&str, String)> = all
        .iter()
        .filter_map(|(field, model)| Some((*field, format!("model `{model}` has no key: {}", providers.missing_key(model)?))))
        .collect();
    if problems.is_empty() && keyless.len() == all.len() {
        let of = |(field, message): &(&str, String)| {
            of_field(config, agent.name.as_str(), field, message).hint("the environment, or .env beside maniple.yaml")
        };
        problems.extend(keyless.first().map(of));
    }
    problems
}

/// What a tool's file says of its credential does not hold.
fn credential(config: &Config, credentials: &Credentials, tool: &ToolDefinition) -> Option<Problem> {
    let error = credentials.check(tool, &Realm::Node).err()?;
    let files =
        config.tool_folders().into_iter().flat_map(|folder| ["yaml", "yml"].map(|ending| folder.join(format!("{}.{ending}", tool.name))));
    let file: PathBuf = files.into_iter().find(|file| file.exists()).unwrap_or_else(|| format!("{}.yaml", tool.name).into());
    let text = regular::text(&file, FILE_MAX).unwrap_or_default();
    Some(Problem::of_field(
        &file,
        &text,
        1,
        error.field.as_deref().unwrap_or("credential"),
        format!("tool `{}`: {}", tool.name, error.message),
    ))
}

/// Credentials that imports name and that the node's own tools may not use, or nobody defines.
fn of_imports(config: &Config, credentials: &Credentials) -> Vec<Problem> {
    let known = credentials.kinds(&Realm::Node);
    let named = config.openapi.iter().flat_map(|(import, settings)| {
        settings.credential.iter().chain(settings.credentials.values()).map(move |credential| (import, credential))
    });
    let missing = named.filter(|(_, credential)| !known.contains_key(*credential));
    missing.map(|(import, name)| of_settings(config, "openapi", &format!("openapi.{import}: there is no credential `{name}`"))).collect()
}

/// OpenAPI documents that are files and not there.
fn documents(config: &Config) -> Vec<Problem> {
    let files = config.openapi.iter().filter_map(|(name, import)| Some((name, config.path(import.file.as_deref()?))));
    let missing = files.filter(|(_, file)| !fs::metadata(file).is_ok_and(|about| about.is_file()));
    missing.map(|(name, file)| of_settings(config, "openapi", &format!("openapi.{name}: there is no file {}", file.display()))).collect()
}

fn of_settings(config: &Config, field: &str, message: &str) -> Problem {
    let file = config.path(FILE_NAME);
    let text = regular::text(&file, FILE_MAX).unwrap_or_default();
    Problem::of_field(&file, &text, 1, field, message)
}
