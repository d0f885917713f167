//! A node in this process: starts what its roles ask for, and stops it in order.

mod disk;
mod kafka;
mod left_out;
mod mcp;
mod models;
mod openapi;
mod parts;
mod project;
mod readiness;
mod roles;
mod tools;
mod watchdog;

pub use readiness::{Need, ReadinessSettings};
pub use roles::{RoleName, Roles};

use crate::{config::Config, doors::http, telemetry};
use anyhow::Context as _;
use maniple_backends::{Backend, StoreUrl};
use maniple_core::{Kind, Tenant, ports::ToolRegistry};
use maniple_registry::Files;
use maniple_runtime::{
    Agents,
    desk::{self, Desk, DeskParts},
};
use parts::Parts;
use readiness::Probes;
use roles::{Job, Role};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How a process differs from its configuration.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// What it plays. Default: every role.
    pub roles: Roles,
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
    /// This program is `maniple`: commands are started with `maniple keep`, so that they end with it even where it is killed.
    pub keeps: bool,
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
    working: Vec<(&'static str, JoinHandle<()>)>,
    door: JoinHandle<()>,
    telemetry: telemetry::Installed,
    registry: Arc<dyn ToolRegistry>,
    store: Backend,
}

impl Node {
    /// Starts everything; when it returns, the node answers.
    pub async fn start(config: Config, options: NodeOptions) -> anyhow::Result<Self> {
        let telemetry = telemetry::install(&config.telemetry, options.quiet)?;
        let listen = options.listen.map_or_else(|| config.listen_address(), Ok)?;
        let mut parts = Parts::open(&config, &options, &telemetry).await?;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("{listen} cannot be listened on; another process may: choose one with `listen` or --listen"))?;
        let address = listener.local_addr()?;
        parts.store.set_address(&format!("http://{address}"))?;
        let project = parts.load(&config, &options).await?;

        let Role { routes, mut jobs, probes, starter } = options.roles.build(&config, &parts);
        let agents = parts.runtime.agents.clone();
        let metrics = telemetry.metrics.clone();
        jobs.push(Job::new("metrics", move |stop| telemetry::upkeep(metrics, stop)));
        jobs.push(Job::new("watchdog", watchdog::watch));
        if let Some(file) = config.store_url()?.file().map(Path::to_owned) {
            jobs.push(Job::new("disk", move |stop| disk::watch(file, stop)));
        }
        if options.watch {
            let (agents, tools) = (agents.clone(), parts.tools.clone());
            jobs.push(Job::new("watch", move |stop| project.watch(agents, tools, stop)));
        } else if options.files != Files::Looking {
            let tools = parts.tools.clone();
            jobs.push(Job::new("pins", move |stop| tools.follow_pins(stop)));
        }
        let (stop_work, stop_door) = (parts.stop_work.clone(), CancellationToken::new());
        let (tasks, bus) = (parts.store.tasks.clone(), parts.store.bus.clone());
        let terms = desk::Terms {
            limits: config.limits.desk,
            tasks: parts.limits,
            sync_run: config.worker.sync_run.duration(),
            several_tenants: config.has_several_tenants(),
            publishes: config.brokers()?.is_some(),
        };
        let desk = Desk::new(
            DeskParts {
                tasks,
                bus,
                agents: agents.clone(),
                registry: parts.registry(),
                aside: parts.aside.clone(),
                starter,
                tracing: telemetry.tracing,
            },
            terms,
        );
        let (upkeep, probes) = (parts.store.upkeep.clone(), Arc::new(Probes(probes)));
        let door = |desk, serves| {
            let door = http::Door::new(&config, agents.clone(), desk, upkeep.clone(), parts.metrics.clone(), probes.clone())?;
            anyhow::Ok(http::Door { leaving: stop_work.clone(), serves, ..door })
        };
        if let Some(address) = config.metrics.check()? {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("{address} cannot be listened on: choose another `metrics.listen`"))?;
            // Whoever reaches this address may see the node, and nothing but that.
            let auth = http::Auth::of(None, !address.ip().is_loopback())?;
            let door = http::Door { auth, cors: http::CorsSettings::default(), ..door(desk.clone(), http::Serves::Itself)? };
            jobs.push(Job::new("metrics door", move |stop| http::serve(listener, door, stop)));
        }
        if options.roles.has(RoleName::Worker) && options.files != Files::Looking {
            jobs.extend(kafka::jobs(&config, desk.clone(), agents.clone(), parts.store.events.clone())?);
        }
        let door = door(desk, routes)?;
        let working = jobs.into_iter().map(|job| (job.name, tokio::spawn((job.work)(stop_work.clone())))).collect();
        let door = tokio::spawn(http::serve(listener, door, stop_door.clone()));
        if config.insecure && config.auth.is_none() {
            match listen.ip().is_loopback() {
                false => tracing::warn!(%address, "--insecure: everyone who reaches this address may do everything"),
                true => {
                    tracing::warn!(%address, "--insecure: by whatever name this node is asked it answers, so a web page that moves its own name to this address may do everything")
                }
            }
        }
        // As it is written, but for a password.
        let store: StoreUrl = config.store.parse()?;
        tracing::info!(%address, roles = %options.roles, agents = agents.all().len(), %store, bus = %config.store_options().bus, "ready");
        let (registry, default_model) = (parts.registry(), parts.default_model.to_string());
        let store = parts.store;
        Ok(Self { address, default_model, agents, stop_work, stop_door, working, door, telemetry, registry, store })
    }

    /// The tools that its agents list and that nobody has brought so far. Where a registry elsewhere does not answer, none.
    pub async fn missing_tools(&self) -> BTreeSet<String> {
        let agents = self.agents.all();
        let listed: BTreeSet<&str> = agents.values().flat_map(|agent| &agent.tools).map(|wish| wish.name.as_str()).collect();
        let mut missing = BTreeSet::new();
        for name in listed {
            match self.registry.versions(&Tenant::default(), name).await {
                Ok(_) => {}
                Err(error) if error.kind == Kind::NotFound => drop(missing.insert(name.to_owned())),
                Err(_) => break,
            }
        }
        missing
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
        for (job, work) in self.working {
            if let Err(error) = work.await {
                tracing::error!(job, %error, "broke off before it was told to stop");
            }
        }
        self.stop_door.cancel();
        // Its bound is its own, [`http::CLOSE_MAX`], and not `worker.drain`: whoever waits is told where its task is before the end.
        if let Err(error) = self.door.await {
            tracing::error!(%error, "the door broke off");
        }
        self.telemetry.flush();
        // The last one out: closing an embedded store folds its log into its file.
        drop((self.registry, self.store));
        tracing::info!("stopped");
    }
}
