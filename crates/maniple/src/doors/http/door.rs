//! What the door stands in front of.

use super::{Auth, CorsSettings, Limits};
use crate::{config::Config, telemetry};
use async_trait::async_trait;
use maniple_api::probe::Part;
use maniple_core::{Result, ports::Upkeep};
use maniple_runtime::{Agents, desk::Desk};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A door before it opens.
pub struct Door {
    /// What decides.
    pub desk: Desk,
    /// What waits in the store.
    pub upkeep: Arc<dyn Upkeep>,
    /// The agents of this node as they are now, for their gauges.
    pub agents: Agents,
    /// Who may come in.
    pub auth: Auth,
    /// The hash of the token that opens what the node says of itself, and nothing else.
    pub collector: Option<[u8; 32]>,
    /// Which pages of other origins may use it.
    pub cors: CorsSettings,
    /// Bounds of what comes in.
    pub limits: Limits,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The parts behind `/ready`.
    pub readiness: Arc<dyn Readiness>,
    /// Ends event streams and waiting runs; their tasks go on, and their readers resume elsewhere.
    pub closing: CancellationToken,
    /// The WebSockets it tells events over: each is let say goodbye before the door is closed.
    pub sockets: TaskTracker,
    /// What it offers.
    pub serves: Serves,
    /// Says on `/ready` that this node leaves, before the door closes.
    pub leaving: CancellationToken,
}

/// What a door offers, from little to much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Serves {
    /// What a node says of itself.
    #[default]
    Itself,
    /// Tools too.
    Registry,
    /// Everything.
    All,
}

/// Says how each part is that this role works with.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// The parts. [`maniple_api::probe::PartState::Failed`] fails the probe.
    async fn parts(&self) -> Vec<Part>;
}

impl Door {
    /// The door of a node. Fails on tokens that cannot be.
    pub fn new(
        config: &Config,
        agents: Agents,
        desk: Desk,
        upkeep: Arc<dyn Upkeep>,
        metrics: PrometheusHandle,
        readiness: Arc<dyn Readiness>,
    ) -> Result<Self> {
        Ok(Self {
            desk,
            upkeep,
            agents,
            auth: Auth::of(config.auth.as_ref(), config.insecure)?,
            collector: config.metrics.hash(),
            cors: config.cors.clone(),
            limits: config.limits.door,
            metrics: Arc::new(move || telemetry::rendered(&metrics)),
            readiness,
            closing: CancellationToken::new(),
            leaving: CancellationToken::new(),
            sockets: TaskTracker::new(),
            serves: Serves::All,
        })
    }
}
