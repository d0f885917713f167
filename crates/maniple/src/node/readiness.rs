//! What `/ready` asks for: each role says what it works with, and whether that answers.

use super::parts::Parts;
use crate::{config::Config, doors::http::Readiness};
use async_trait::async_trait;
use futures::future::join_all;
use maniple_api::{
    probe::{Part, PartState},
    tools::RemoteTools,
};
use maniple_core::{Result, agent::AgentDefinition, model::ModelName, ports::Upkeep};
use maniple_runtime::{Agents, ModelHealth};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What `/ready` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadinessSettings {
    /// For each agent one model whose breaker is not open: `require`, or `report` it as degraded. Default require.
    pub model: Need,
    /// A registry elsewhere that answers: `require`, or `report` it as degraded. Default report.
    pub registry: Need,
}

impl Default for ReadinessSettings {
    fn default() -> Self {
        Self { model: Need::Require, registry: Need::Report }
    }
}

/// What a part's failure does to readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Not ready.
    Require,
    /// Ready, and named as degraded.
    Report,
}

/// Something that a role works with, and whether it answers.
#[derive(Clone)]
pub(super) enum Probe {
    /// The store answers a read.
    Store(Arc<dyn Upkeep>),
    /// A registry elsewhere answers.
    Registry(Arc<RemoteTools>, Need),
    /// Each agent has one model whose breaker is not open; half-open counts. Nobody is asked.
    Models {
        /// The agents of this node.
        agents: Agents,
        /// What is known of their models.
        health: Arc<ModelHealth>,
        /// What it does to readiness if one has none.
        need: Need,
    },
}

impl Probe {
    /// That of the store.
    pub(super) fn store(parts: &Parts) -> Self {
        Self::Store(parts.store.upkeep.clone())
    }
    /// That of the registry, where it is elsewhere.
    pub(super) fn registry(config: &Config, parts: &Parts) -> Option<Self> {
        parts.remote.clone().map(|remote| Self::Registry(remote, config.readiness.registry))
    }
    /// That of the models.
    pub(super) fn models(config: &Config, parts: &Parts) -> Self {
        Self::Models { agents: parts.runtime.agents.clone(), health: parts.runtime.health.clone(), need: config.readiness.model }
    }

    /// Two roles of a process that ask for the same are told once.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Registry(..) => "registry",
            Self::Models { .. } => "model",
        }
    }

    async fn parts(&self) -> Vec<Part> {
        match self {
            Self::Store(store) => vec![answered(self.name(), store.ping().await, PartState::Failed)],
            Self::Registry(remote, need) => vec![answered(self.name(), remote.ping().await, without(*need))],
            Self::Models { agents, health, need } => agents.all().values().map(|agent| model_of(agent, health, *need)).collect(),
        }
    }
}

/// All that the roles of a process work with.
pub(super) struct Probes(pub(super) Vec<Probe>);

#[async_trait]
impl Readiness for Probes {
    async fn parts(&self) -> Vec<Part> {
        join_all(self.0.iter().map(Probe::parts)).await.into_iter().flatten().collect()
    }
}

fn answered(name: &str, answer: Result<()>, otherwise: PartState) -> Part {
    let (state, detail) = match answer {
        Ok(()) => (PartState::Ready, None),
        Err(error) => (otherwise, Some(error.to_string())),
    };
    Part { name: name.into(), state, detail }
}

fn model_of(agent: &AgentDefinition, health: &ModelHealth, need: Need) -> Part {
    let models: Vec<&ModelName> = std::iter::once(&agent.model).chain(&agent.fallbacks).collect();
    let name = format!("model:{}", agent.name);
    if models.iter().any(|model| !health.is_open(model)) {
        return Part { name, state: PartState::Ready, detail: None };
    }
    let named = models.iter().map(|model| model.as_str()).collect::<Vec<_>>().join(", ");
    Part { name, state: without(need), detail: Some(format!("no model answers: the breaker of {named} is open")) }
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
    use crate::node::project;
    use maniple_backends::memory;
    use maniple_core::{TaskId, TaskKey, Tenant, model::FaultKind};
    use std::time::Duration;

    async fn states(probes: Vec<Probe>) -> Vec<(String, PartState)> {
        Probes(probes).parts().await.into_iter().map(|part| (part.name, part.state)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_ready_while_one_of_its_models_is() {
        let (first, second) = (ModelName::parse("a/one").unwrap(), ModelName::parse("b/two").unwrap());
        let agent = AgentDefinition { fallbacks: vec![second.clone()], ..project::assistant(&first).unwrap() };
        let (agents, health) = (Agents::new([agent]), Arc::new(ModelHealth::default()));
        let store = Probe::Store(Arc::new(memory::TaskStore::new()));
        let asked = |need| vec![store.clone(), Probe::Models { agents: agents.clone(), health: health.clone(), need }];
        let with = |model: PartState| vec![("store".to_owned(), PartState::Ready), ("model:assistant".to_owned(), model)];
        let task = |n| TaskKey { tenant: Tenant::default(), id: TaskId::parse(&format!("t{n}")).unwrap() };
        let fail = |model: &ModelName| (0..5).for_each(|n| health.failed(model, &task(n), FaultKind::Overloaded, false));
        fail(&first);
        assert_eq!(states(asked(Need::Require)).await, with(PartState::Ready), "its fallback answers");
        fail(&second);
        assert_eq!(states(asked(Need::Require)).await, with(PartState::Failed));
        assert_eq!(states(asked(Need::Report)).await, with(PartState::Degraded));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(states(asked(Need::Require)).await, with(PartState::Ready), "half-open counts as answering");
    }

    #[tokio::test]
    async fn a_registry_elsewhere_that_is_away_is_said_and_fails_the_probe_only_where_it_is_required() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let remote = Arc::new(RemoteTools::new(&format!("http://{free}"), None).unwrap());
        for (need, state) in [(Need::Report, PartState::Degraded), (Need::Require, PartState::Failed)] {
            let parts = Probes(vec![Probe::Registry(remote.clone(), need)]).parts().await;
            assert_eq!((parts[0].name.as_str(), parts[0].state), ("registry", state));
            assert!(parts[0].detail.as_ref().unwrap().contains("does not answer"));
        }
    }
}
