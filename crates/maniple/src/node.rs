//! The wiring of a process: opens the store, reads the project, sets the worker and the doors to work, stops them in order.

mod mcp;
mod models;
mod openapi;
mod project;
mod readiness;
mod tools;

pub use readiness::{Need, ReadinessSettings};

use crate::{
    config::{self, Config},
    files::Sources,
    http, telemetry,
};
use anyhow::Context as _;
use maniple_backends::{Store, SystemClock, local};
use maniple_core::{
    ports::{self, Models},
    task::TaskLimits,
};
use maniple_registry::Files;
use maniple_runtime::{Agents, ModelHealth, Parts, Worker, WorkerSettings, jobs};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How a process differs from its configuration.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// Carry tasks out; without it the node only answers.
    pub work: bool,
    /// What its door offers.
    pub serves: http::Serves,
    /// Read the project again when its files change.
    pub watch: bool,
    /// Listen here instead.
    pub listen: Option<SocketAddr>,
    /// Log warnings only.
    pub quiet: bool,
    /// Serve these agent files instead of the folders'.
    pub agent_files: Vec<PathBuf>,
    /// Look for a model server on this machine, for agents that name no model.
    pub discover: bool,
    /// How the project's tool files are taken in.
    pub files: Files,
    /// Where there is no agent, offer one that shows what there is.
    pub assistant: bool,
}

/// A running node.
pub struct Node {
    address: SocketAddr,
    /// The model of agents that name none.
    pub default_model: String,
    /// The agents, as they are now.
    pub agents: Agents,
    stop_work: CancellationToken,
    stop_door: CancellationToken,
    working: Vec<JoinHandle<()>>,
    door: JoinHandle<()>,
    telemetry: telemetry::Installed,
    drain: std::time::Duration,
    store: Store,
}

impl Node {
    /// Starts everything; when it returns, the node answers.
    pub async fn start(config: Config, options: NodeOptions) -> anyhow::Result<Self> {
        let telemetry = telemetry::install(&config.telemetry, options.quiet)?;
        let listen = options.listen.map_or_else(|| config.listen.parse().context("listen is no address"), Ok)?;
        let store = maniple_backends::open(&config.store_url(), Arc::new(SystemClock))?;
        // Before the door is bound: a node that looks for a model server must not find itself.
        let (providers, default_model) = models::providers(&config, options.discover).await?;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("{listen} cannot be listened on; another process may: choose one with `listen` or --listen"))?;
        let address = listener.local_addr()?;
        store.set_address(&format!("http://{address}"))?;

        let providers: Arc<dyn Models> = Arc::new(providers);
        let limits = TaskLimits::below(config.limits.tasks);
        let sources = Sources {
            agent_folders: config.agent_folders(),
            agent_files: options.agent_files.clone(),
            tool_folders: config.tool_folders(),
        };
        let project = project::Watched {
            sources,
            limits,
            model: default_model.clone(),
            assistant: options.assistant,
            settings: config.path(config::FILE_NAME),
        };
        let agents = Agents::default();
        let tools = tools::Tools::open(&config, &store, &agents, options.files).await?;
        // Before the files are read: a change in between is a change.
        let known = project.fingerprint(&tools);
        let first = project.load()?;
        agents.replace(first.agents);
        tools.take(first.tools).await?;
        // Before tasks begin: what an agent lists should be there.
        let servers = if options.files == Files::Looking { Vec::new() } else { mcp::connect(&config, &tools.registry).await? };
        let remote = tools::elsewhere(&config)?;
        let (called, registry): (Arc<dyn ports::Tools>, Arc<dyn ports::ToolRegistry>) = match &remote {
            Some(remote) => (remote.clone(), remote.clone()),
            None => (tools.registry.clone(), tools.registry.clone()),
        };
        if remote.is_none() {
            project::warn_of_missing_tools(&agents, &tools.registry);
        }

        let parts = Parts {
            store: store.tasks(),
            bus: Arc::new(local::Bus::default()),
            models: providers,
            tools: called,
            agents: agents.clone(),
            health: Arc::new(ModelHealth::default()),
            tracing: telemetry.tracing,
        };
        let (stop_work, stop_door) = (CancellationToken::new(), CancellationToken::new());
        let mut working = Vec::new();
        if options.work {
            let settings = WorkerSettings { renew_every: maniple_backends::rules::LEASE / 3, ..config.worker };
            working.push(tokio::spawn(Worker::new(parts.clone(), settings).work(stop_work.clone())));
            working.push(tokio::spawn(jobs::sweep(parts.clone(), stop_work.clone())));
            working.push(tokio::spawn(jobs::forget(parts.clone(), config.retention, stop_work.clone())));
        }
        let (own, stopping) = (tools.registry.clone(), stop_work.clone());
        working.push(tokio::spawn(async move { own.work(stopping).await }));
        if options.files != Files::Looking {
            working.extend(tools.follow(&stop_work));
        }
        for server in servers {
            working.push(tokio::spawn(mcp::follow(server, tools.registry.clone(), stop_work.clone())));
        }
        working.push(tokio::spawn(telemetry::upkeep(telemetry.metrics.clone(), stop_work.clone())));
        if options.watch {
            working.push(tokio::spawn(project.watch(known, agents.clone(), tools.clone(), stop_work.clone())));
        }
        let drain = config.worker.drain.duration();
        let door = http::Door {
            leaving: stop_work.clone(),
            serves: options.serves,
            ..http::Door::new(&config, &parts, registry, remote, limits, telemetry.metrics.clone())?
        };
        let door = tokio::spawn(http::serve(listener, door, stop_door.clone()));
        if config.insecure && config.auth.is_none() && !listen.ip().is_loopback() {
            tracing::warn!(%address, "--insecure: everyone who reaches this address may do everything");
        }
        tracing::info!(%address, agents = agents.all().len(), store = %config.store, "ready");
        Ok(Self { address, default_model: default_model.to_string(), agents, stop_work, stop_door, working, door, telemetry, drain, store })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until SIGTERM or SIGINT, then stops.
    pub async fn run_until_signal(self) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: handing claims over; a second signal leaves at once");
        tokio::select! {
            () = self.stop() => Ok(()),
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    }

    /// Takes no more work, hands its claims over, lets open requests end, and leaves within the bound.
    pub async fn stop(self) {
        self.stop_work.cancel();
        // Event streams and waiting requests see the hand-over; the door closes when the work is handed over.
        for work in self.working {
            let _ = work.await;
        }
        self.stop_door.cancel();
        if tokio::time::timeout(self.drain.min(http::CLOSE_MAX), self.door).await.is_err() {
            tracing::warn!("open connections were cut at the bound");
        }
        self.telemetry.flush();
        // The last one out: closing an embedded store folds its log into its file.
        drop(self.store);
        tracing::info!("stopped");
    }
}
