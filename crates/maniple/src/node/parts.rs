//! What a node is made of: opened once, and shared by the roles it plays.

use super::{NodeOptions, mcp, models, project, tools};
use crate::{
    config::{self, Config},
    files::Sources,
    telemetry,
};
use maniple_api::tools::RemoteTools;
use maniple_aside::Aside;
use maniple_backends::Backend;
use maniple_core::{model::ModelName, ports::ToolRegistry, task::TaskLimits};
use maniple_llm::Providers;
use maniple_registry::Files;
use maniple_runtime::{Agents, ModelHealth};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The parts of a node.
pub(super) struct Parts {
    /// Where tasks and tools live.
    pub(super) store: Backend,
    /// What tasks are carried out with.
    pub(super) runtime: maniple_runtime::Parts,
    /// The registry in this process, and how the project is taken into it.
    pub(super) tools: tools::Tools,
    /// Where what takes long to read is read.
    pub(super) aside: Aside,
    /// The registry elsewhere, where the settings name one.
    pub(super) remote: Option<Arc<RemoteTools>>,
    /// The MCP servers whose tools were taken over.
    pub(super) servers: Vec<mcp::Connected>,
    /// Whom agents ask.
    providers: Providers,
    /// Ceilings and defaults of tasks.
    pub(super) limits: TaskLimits,
    /// The model of agents that name none.
    pub(super) default_model: ModelName,
    /// Renders the metrics of this process.
    pub(super) metrics: PrometheusHandle,
    /// Cancelled when this process is to take no more work.
    pub(super) stop_work: CancellationToken,
}

impl Parts {
    /// Opens the store, and finds out who answers for models: before the door is bound, for a node that looks for a model
    /// server must not find itself. There are no agents and none of the project's tools yet: see [`Parts::load`].
    pub(super) async fn open(config: &Config, options: &NodeOptions, telemetry: &telemetry::Installed) -> anyhow::Result<Self> {
        let store = maniple_backends::open(&config.store_url()?, config.store_options()).await?;
        let (providers, default_model) = models::providers(config, options.discover).await?;
        let (agents, aside) = (Agents::default(), Aside::new(config.aside));
        let tools = tools::Tools::open(config, &store, &agents, options.files, aside.clone()).await?;
        if options.files != Files::Looking {
            // Now there are descriptors and nobody waits; the first call may come when there are none.
            let (models, tools) = (providers.clone(), tools.registry.clone());
            tokio::task::spawn_blocking(move || (models.warm(), tools.warm()));
        }
        let remote = if options.roles.is_the_registry() { None } else { tools::elsewhere(config)? };
        if let Some(remote) = &remote
            && options.files != Files::Looking
        {
            tools::not_refused(remote).await?;
        }
        let runtime = maniple_runtime::Parts {
            work: store.work.clone(),
            bus: store.bus.clone(),
            models: Arc::new(providers.clone()),
            tools: match &remote {
                Some(remote) => remote.clone(),
                None => tools.registry.clone(),
            },
            agents,
            health: Arc::new(ModelHealth::default()),
            aside: aside.clone(),
            tracing: telemetry.tracing,
        };
        let limits = TaskLimits::below(config.limits.tasks);
        let (metrics, stop_work) = (telemetry.metrics.clone(), CancellationToken::new());
        Ok(Self { store, runtime, tools, aside, remote, servers: Vec::new(), providers, limits, default_model, metrics, stop_work })
    }

    /// Reads the project and takes the tools of MCP servers over: before tasks begin, what an agent lists should be there.
    pub(super) async fn load(&mut self, config: &Config, options: &NodeOptions) -> anyhow::Result<project::Watched> {
        let sources = Sources {
            agent_folders: config.agent_folders(),
            agent_files: options.agent_files.clone(),
            tool_folders: config.tool_folders(),
        };
        let mut project = project::Watched::of(sources, self.limits, self.default_model.clone(), config.path(config::FILE_NAME));
        project.assistant = options.assistant;
        project.read(&self.runtime.agents, &self.tools).await?;
        if options.files != Files::Looking {
            if self.runtime.agents.all().is_empty() && !options.roles.is_the_registry() {
                let folders: Vec<String> = config.agent_folders().iter().map(|folder| folder.display().to_string()).collect();
                tracing::warn!(folders = folders.join(", "), "there is no agent here, so this process takes no task: look at `agents`");
            }
            self.servers = mcp::connect(config, options.keeps, &self.tools.registry, &self.aside).await?;
            models::warn_of_missing_keys(&self.runtime.agents, &self.providers);
        }
        if self.remote.is_none() {
            project::warn_of_missing_tools(&self.runtime.agents, &self.tools.registry, |_| true);
        }
        Ok(project)
    }

    /// The catalogue of tools, in this process or elsewhere.
    pub(super) fn registry(&self) -> Arc<dyn ToolRegistry> {
        match &self.remote {
            Some(remote) => remote.clone(),
            None => self.tools.registry.clone(),
        }
    }
}
