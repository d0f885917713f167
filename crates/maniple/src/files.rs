//! A project's files: `agents/NAME.md` and `tools/NAME.yaml`.

mod agent_file;
pub mod regular;
mod template;
mod tool_file;

use crate::yaml::Problem;
use maniple_core::{agent::AgentDefinition, model::ModelName, task::TaskLimits, tool::ToolDefinition};
use semver::Version;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
};

/// The agents and tools of a project, checked.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// By name, sorted.
    pub agents: Vec<AgentDefinition>,
    /// By name and version, sorted.
    pub tools: Vec<ToolDefinition>,
    /// What is legal and looks like a slip.
    pub remarks: Vec<Problem>,
}

/// What a project is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Folders with agent files.
    pub agent_folders: Vec<PathBuf>,
    /// Agent files named one by one; with any, the folders are not looked into for agents.
    pub agent_files: Vec<PathBuf>,
    /// Folders with tool files.
    pub tool_folders: Vec<PathBuf>,
}

/// The largest agent, tool or settings file, in bytes.
pub const FILE_MAX: u64 = 1 << 20;
/// The largest `tools.lock`, in bytes.
pub const LOCK_MAX: u64 = 16 << 20;
/// The most files of one folder.
const FILES_MAX: usize = 10_000;

impl Project {
    /// Reads all files; either all are right, or every problem is told.
    ///
    /// `limits` are the node's ceilings; `model` is whom agents ask that name no model.
    pub fn load(sources: &Sources, limits: &TaskLimits, model: &ModelName) -> Result<Self, Vec<Problem>> {
        let mut project = Self::default();
        let mut problems = Vec::new();
        let mut tool_files: BTreeMap<(String, Version), PathBuf> = BTreeMap::new();
        for file in listed(&sources.tool_folders, &["yaml", "yml"], &mut problems) {
            match text(&file).and_then(|text| tool_file::read(&file, &text)) {
                Ok(tool) => match tool_files.entry((tool.name.clone(), tool.version.clone())) {
                    Entry::Occupied(other) => {
                        let (name, version, other) = (&tool.name, &tool.version, other.get().display());
                        problems.push(Problem::of_file(&file, format!("tool `{name}` {version} is defined twice: in {other} too")));
                    }
                    Entry::Vacant(new) => {
                        project.remarks.extend(tool_file::remarks(&file, &tool));
                        new.insert(file);
                        project.tools.push(tool);
                    }
                },
                Err(problem) => problems.push(problem),
            }
        }
        let agent_files = if sources.agent_files.is_empty() {
            let mut files = listed(&sources.agent_folders, &["md"], &mut problems);
            files.retain(|file| is_agent(file));
            files
        } else {
            sources.agent_files.clone()
        };
        for file in agent_files {
            match text(&file).map_err(|problem| vec![problem]).and_then(|text| agent_file::read(&file, &text, limits, model)) {
                Ok(agent) => project.agents.push(agent),
                Err(more) => problems.extend(more),
            }
        }
        project.agents.sort_by(|a, b| a.name.cmp(&b.name));
        project.tools.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        problems.extend(project.twice());
        if problems.is_empty() { Ok(project) } else { Err(problems) }
    }

    /// Agents have the names of their files, which may lie in several folders.
    fn twice(&self) -> Vec<Problem> {
        let twice = self.agents.windows(2).filter(|pair| pair[0].name == pair[1].name);
        twice.map(|pair| Problem::of_file(Path::new("."), format!("agent `{}` is defined twice", pair[0].name))).collect()
    }
}

/// What changes when any file of the project does: names, lengths and times. Cheap enough to ask every second.
pub fn fingerprint(sources: &Sources) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let mut unread = Vec::new();
    let folders = sources.tool_folders.iter().chain(&sources.agent_folders).cloned().collect::<Vec<_>>();
    for file in listed(&folders, &["yaml", "yml", "md"], &mut unread).iter().chain(&sources.agent_files) {
        file.hash(&mut hasher);
        if let Ok(about) = std::fs::metadata(file) {
            about.len().hash(&mut hasher);
            about.modified().ok().hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Whether a file of a folder of agents is one. A README beside them is not.
pub fn is_agent(file: &Path) -> bool {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    file.extension().is_some_and(|extension| extension == "md") && !stem.starts_with('.') && !stem.eq_ignore_ascii_case("readme")
}

/// The files of these folders with one of these endings, sorted. A folder that is not there holds none.
fn listed(folders: &[PathBuf], endings: &[&str], problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in folders.iter().filter(|folder| folder.exists()) {
        match std::fs::read_dir(folder) {
            Ok(entries) => files.extend(entries.flatten().map(|entry| entry.path()).take(FILES_MAX)),
            Err(error) => problems.push(Problem::of_file(folder, format!("the folder cannot be read: {error}"))),
        }
    }
    let hidden = |file: &Path| file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    files.retain(|file| !hidden(file) && file.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e)));
    files.sort();
    files
}

fn text(file: &Path) -> Result<String, Problem> {
    regular::text(file, FILE_MAX).map_err(|e| Problem::of_file(file, format!("the file cannot be read: {e}")))
}

#[cfg(test)]
mod tests;
