//! The project of a node, read at the start and again when its files change.

use super::tools::Tools;
use crate::files::{self, Project, Sources};
use maniple_core::{
    AgentName, Tenant,
    agent::{AgentDefinition, AgentLimits, Memory},
    model::ModelName,
    task::TaskLimits,
    tool::{ToolState, ToolVersion, ToolWish},
};
use maniple_registry::Registry;
use maniple_runtime::Agents;
use std::{fmt::Display, path::PathBuf, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What changes with the files.
type Fingerprint = (u64, Vec<Option<std::time::SystemTime>>);

/// Where a project comes from and against what it is checked.
pub(super) struct Watched {
    sources: Sources,
    limits: TaskLimits,
    model: ModelName,
    /// Where there is no agent, offer one that shows what there is.
    pub(super) assistant: bool,
    /// The settings, which are read at the start only.
    settings: PathBuf,
    /// What the files were like before they were last read.
    known: Fingerprint,
}

impl Watched {
    /// A project that was not read yet; `settings` is where they stand.
    pub(super) fn of(sources: Sources, limits: TaskLimits, model: ModelName, settings: PathBuf) -> Self {
        Self { sources, limits, model, assistant: false, settings, known: Fingerprint::default() }
    }

    /// The project as its files say.
    fn load(&self) -> anyhow::Result<Project> {
        let mut project = Project::load(&self.sources, &self.limits, &self.model).map_err(all_of)?;
        for remark in &project.remarks {
            tracing::warn!(file = %remark.file.display(), "{}", remark.message);
        }
        if project.agents.is_empty() && self.assistant {
            project.agents.push(assistant(&self.model)?);
        }
        Ok(project)
    }

    /// What changes when any file of the project does.
    fn fingerprint(&self, tools: &Tools) -> Fingerprint {
        (files::fingerprint(&self.sources), tools.changed())
    }

    /// Takes the project over as its files say now. One with problems changes nothing.
    pub(super) async fn read(&mut self, agents: &Agents, tools: &Tools) -> anyhow::Result<()> {
        // Before the files are read: a change in between is a change.
        self.known = self.fingerprint(tools);
        let project = self.load()?;
        tools.take(project.tools).await?;
        agents.replace(project.agents);
        Ok(())
    }

    /// Takes changes over until `stop`; running tasks keep what they began with.
    pub(super) async fn watch(mut self, agents: Agents, tools: Tools, stop: CancellationToken) {
        let written = |settings: &PathBuf| std::fs::metadata(settings).and_then(|about| about.modified()).ok();
        let mut settings = written(&self.settings);
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            if written(&self.settings) != settings {
                settings = written(&self.settings);
                tracing::warn!("{} changed: what it says now holds after a restart", self.settings.display());
            }
            if self.fingerprint(&tools) == self.known {
                continue;
            }
            match self.read(&agents, &tools).await {
                Ok(()) => {
                    tracing::info!(agents = agents.all().len(), "the project's files changed: new tasks use them");
                    warn_of_missing_tools(&agents, &tools.registry, |_| true);
                }
                Err(problems) => {
                    tracing::warn!("the project's files changed, but they are not taken over:");
                    // A line of the log each: in one they would be unreadable.
                    format!("{problems:#}").lines().filter(|line| !line.trim().is_empty()).for_each(|line| tracing::warn!("{line}"));
                }
            }
        }
    }
}

/// An agent may wait for a tool that is registered later; but mostly it is a slip. Looks at these wishes.
pub(super) fn warn_of_missing_tools(agents: &Agents, registry: &Registry, is_meant: impl Fn(&ToolWish) -> bool) {
    for agent in agents.all().values() {
        let wishes: Vec<ToolWish> = agent.tools.iter().filter(|wish| is_meant(wish)).cloned().collect();
        // A tenant may have a tool that the node has not.
        let of_tenant = |tenant| registry.catalog().check_wishes(tenant, &agent.name, &wishes);
        let tenants = registry.catalog().tenants();
        if let Some(error) = of_tenant(&Tenant::default()).err().filter(|_| tenants.iter().all(|tenant| of_tenant(tenant).is_err())) {
            tracing::warn!(agent = %agent.name, %error, "the agent's tasks go without");
        }
        for (name, why) in wishes.iter().filter_map(|wish| quarantined(registry, wish)) {
            tracing::warn!(agent = %agent.name, tool = %name, why, "the tool is quarantined: the agent's tasks go without; see `maniple tool show {name}`");
        }
    }
}

/// A tool that is known to the node and of which every version that will do is quarantined, with the reason.
fn quarantined<'a>(registry: &Registry, wish: &'a ToolWish) -> Option<(&'a str, String)> {
    let versions = registry.catalog().versions(&Tenant::default(), &wish.name).ok()?;
    let met: Vec<&ToolVersion> = versions.iter().filter(|version| wish.range.matches(&version.definition.version)).collect();
    let all = !met.is_empty() && met.iter().all(|version| version.state == ToolState::Quarantined);
    all.then(|| (wish.name.as_str(), met.first().and_then(|version| version.reason.clone()).unwrap_or_default()))
}

/// All problems as one error.
pub(super) fn all_of<E: Display>(problems: Vec<E>) -> anyhow::Error {
    anyhow::anyhow!(problems.iter().map(E::to_string).collect::<Vec<_>>().join("\n\n"))
}

/// What `maniple dev` offers where there is no agent yet.
pub(super) fn assistant(model: &ModelName) -> anyhow::Result<AgentDefinition> {
    let tools = ["clock", "calculator", "http_fetch"].into_iter().map(ToolWish::parse).collect::<Result<_, _>>()?;
    Ok(AgentDefinition {
        publish: Default::default(),
        name: AgentName::parse("assistant")?,
        description: "Answers, with a clock, a calculator and the web at hand.".into(),
        version: semver::Version::new(1, 0, 0),
        model: model.clone(),
        fallbacks: Vec::new(),
        tools,
        limits: AgentLimits::default(),
        options: Default::default(),
        memory: Memory::default(),
        output_schema: None,
        examples: Vec::new(),
        prompt: "You are a helpful assistant. Today is {{ today }}. Use your tools where they help; answer briefly.".into(),
    })
}
