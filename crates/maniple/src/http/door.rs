//! What the door stands in front of.

use super::{Auth, Limits};
use crate::{
    config::Config,
    node::{Need, ReadinessSettings},
};
use async_trait::async_trait;
use maniple_api::{
    probe::{Part, PartState},
    tools::RemoteTools,
};
use maniple_core::{Result, agent::AgentDefinition, model::ModelName, ports::ToolRegistry, task::TaskLimits};
use maniple_runtime::{Agents, ModelHealth, Parts, desk::Desk};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// A door before it opens.
pub struct Door {
    /// The service behind every door.
    pub desk: Desk,
    /// The agents of this node as they are now.
    pub agents: Agents,
    /// The catalogue of tools, in this process or elsewhere.
    pub registry: Arc<dyn ToolRegistry>,
    /// Who may come in.
    pub auth: Auth,
    /// Bounds of what comes in.
    pub limits: Limits,
    /// Ceilings and defaults of tasks.
    pub task_limits: TaskLimits,
    /// How long `POST /run` waits for an agent that does not say. 50 s.
    pub sync_run: Duration,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The parts behind `/ready`.
    pub readiness: Arc<dyn Readiness>,
    /// Ends event streams and waiting runs; their tasks go on, and their readers resume elsewhere.
    pub closing: CancellationToken,
    /// What it offers.
    pub serves: Serves,
    /// Says on `/ready` that this node leaves, before the door closes.
    pub leaving: CancellationToken,
}

/// What a door offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Serves {
    /// Everything.
    #[default]
    All,
    /// Tools, and what a node says of itself.
    Registry,
}

/// Says how each part is that this role works with.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// The parts. [`PartState::Failed`] fails the probe.
    async fn parts(&self) -> Vec<Part>;
}

impl Door {
    /// The door of a node. Fails on tokens that cannot be.
    pub fn new(
        config: &Config,
        parts: &Parts,
        registry: Arc<dyn ToolRegistry>,
        remote: Option<Arc<RemoteTools>>,
        task_limits: TaskLimits,
        metrics: PrometheusHandle,
    ) -> Result<Self> {
        let desk = Desk::new(parts.store.clone(), parts.bus.clone(), config.limits.desk);
        let readiness = NodeReadiness {
            desk: desk.clone(),
            agents: parts.agents.clone(),
            health: parts.health.clone(),
            registry: remote,
            needs: config.readiness,
        };
        Ok(Self {
            desk,
            agents: parts.agents.clone(),
            registry,
            auth: Auth::of(config.auth.as_ref(), config.insecure)?,
            limits: config.limits.door,
            task_limits,
            sync_run: config.worker.sync_run.duration(),
            metrics: Arc::new(move || metrics.render()),
            readiness: Arc::new(readiness),
            closing: CancellationToken::new(),
            leaving: CancellationToken::new(),
            serves: Serves::All,
        })
    }
}

/// A node that runs agents: its store, for each agent one model whose breaker is not open, and its registry if that is elsewhere.
struct NodeReadiness {
    desk: Desk,
    agents: Agents,
    health: Arc<ModelHealth>,
    registry: Option<Arc<RemoteTools>>,
    needs: ReadinessSettings,
}

#[async_trait]
impl Readiness for NodeReadiness {
    async fn parts(&self) -> Vec<Part> {
        let store = match self.desk.ping().await {
            Ok(()) => Part { name: "store".into(), state: PartState::Ready, detail: None },
            Err(error) => Part { name: "store".into(), state: PartState::Failed, detail: Some(error.to_string()) },
        };
        let agents = self.agents.all();
        let registry = self.registry_part().await;
        std::iter::once(store).chain(registry).chain(agents.values().map(|agent| self.model_of(agent))).collect()
    }
}

impl NodeReadiness {
    async fn registry_part(&self) -> Option<Part> {
        let name = "registry".to_owned();
        Some(match self.registry.as_ref()?.ping().await {
            Ok(()) => Part { name, state: PartState::Ready, detail: None },
            Err(error) => Part { name, state: without(self.needs.registry), detail: Some(error.to_string()) },
        })
    }

    fn model_of(&self, agent: &AgentDefinition) -> Part {
        let models: Vec<&ModelName> = std::iter::once(&agent.model).chain(&agent.fallbacks).collect();
        let name = format!("model:{}", agent.name);
        if models.iter().any(|model| !self.health.is_open(model)) {
            return Part { name, state: PartState::Ready, detail: None };
        }
        let named = models.iter().map(|model| model.as_str()).collect::<Vec<_>>().join(", ");
        let state = without(self.needs.model);
        Part { name, state, detail: Some(format!("no model answers: the breaker of {named} is open")) }
    }
}

/// How a part is that does not answer.
fn without(need: Need) -> PartState {
    match need {
        Need::Require => PartState::Failed,
        Need::Report => PartState::Degraded,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use maniple_backends::{local, memory};
    use maniple_core::model::FaultKind;

    async fn states(node: &NodeReadiness) -> Vec<(String, PartState)> {
        node.parts().await.into_iter().map(|part| (part.name, part.state)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_ready_while_one_of_its_models_is() {
        let (first, second) = (ModelName::parse("a/one").unwrap(), ModelName::parse("b/two").unwrap());
        let agent = AgentDefinition { model: first.clone(), fallbacks: vec![second.clone()], ..super::super::tests::agent("search") };
        let desk = Desk::new(Arc::new(memory::TaskStore::new()), Arc::new(local::Bus::new()), Default::default());
        let health = Arc::new(ModelHealth::default());
        let mut node = NodeReadiness {
            desk,
            agents: Agents::new([agent]),
            health: health.clone(),
            registry: None,
            needs: ReadinessSettings::default(),
        };
        let with = |model: PartState| vec![("store".to_owned(), PartState::Ready), ("model:search".to_owned(), model)];
        let fail = |model: &ModelName| (0..5).for_each(|_| health.failed(model, FaultKind::Overloaded));
        fail(&first);
        assert_eq!(states(&node).await, with(PartState::Ready), "its fallback answers");
        fail(&second);
        assert_eq!(states(&node).await, with(PartState::Failed));
        node.needs.model = Need::Report;
        assert_eq!(states(&node).await, with(PartState::Degraded));
        node.needs.model = Need::Require;
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(states(&node).await, with(PartState::Ready), "half-open counts as answering");
    }

    #[tokio::test]
    async fn a_registry_elsewhere_that_is_away_is_said_and_fails_the_probe_only_where_it_is_required() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let remote = RemoteTools::new(&format!("http://{free}"), None).unwrap();
        let desk = Desk::new(Arc::new(memory::TaskStore::new()), Arc::new(local::Bus::new()), Default::default());
        let (health, needs) = (Arc::new(ModelHealth::default()), ReadinessSettings::default());
        let mut node = NodeReadiness { desk, agents: Agents::default(), health, registry: Some(Arc::new(remote)), needs };
        let with = |registry: PartState| vec![("store".to_owned(), PartState::Ready), ("registry".to_owned(), registry)];
        assert_eq!(states(&node).await, with(PartState::Degraded));
        node.needs.registry = Need::Require;
        assert_eq!(states(&node).await, with(PartState::Failed));
        assert!(node.parts().await[1].detail.as_ref().unwrap().contains("does not answer"));
    }
}
