//! What `/ready` asks for: each role says what it works with, and whether that answers.

use super::parts::Parts;
use crate::{config::Config, doors::http::Readiness};
use async_trait::async_trait;
use futures::future::join_all;
use maniple_api::{
    probe::{Part, PartState},
    tools::RemoteTools,
};
use maniple_backends::BusUrl;
use maniple_core::{
    Result,
    agent::AgentDefinition,
    model::ModelName,
    ports::{Bus, Upkeep},
};
use maniple_kafka::Contact;
use maniple_runtime::{Agents, ModelHealth};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// What `/ready` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadinessSettings {
    /// For each agent one model whose breaker is not open: `require`, or `report` it as degraded. Default require.
    pub model: Need,
    /// A registry elsewhere that answers: `require`, or `report` it as degraded. Default report.
    pub registry: Need,
    /// A bus that reaches other processes: `require`, or `report` it as degraded. Default report.
    pub bus: Need,
    /// Brokers of events that answer: `require`, or `report` them as degraded. Default report.
    pub broker: Need,
}

impl Default for ReadinessSettings {
    fn default() -> Self {
        Self { model: Need::Require, registry: Need::Report, bus: Need::Report, broker: Need::Report }
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
    /// The store answers, and can be written.
    Store(Arc<Asked>),
    /// A registry elsewhere answers.
    Registry(Arc<RemoteTools>, Need),
    /// What goes between processes does.
    Bus(Arc<dyn Bus>, Need),
    /// The brokers of events answered when they were asked last. `/ready` itself waits for none of them.
    Broker(Contact, Need),
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
        Self::of(parts.store.upkeep.clone())
    }
    fn of(store: Arc<dyn Upkeep>) -> Self {
        Self::Store(Arc::new(Asked { store, last: Mutex::default() }))
    }
    /// That of the registry, where it is elsewhere.
    pub(super) fn registry(config: &Config, parts: &Parts) -> Option<Self> {
        parts.remote.clone().map(|remote| Self::Registry(remote, config.readiness.registry))
    }
    /// That of the bus, where it goes between processes.
    pub(super) fn bus(config: &Config, parts: &Parts) -> Option<Self> {
        let is_between = config.store_options().bus != BusUrl::Local;
        is_between.then(|| Self::Bus(parts.store.bus.clone(), config.readiness.bus))
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
            Self::Bus(..) => "bus",
            Self::Broker(..) => "broker",
            Self::Models { .. } => "model",
        }
    }

    async fn parts(&self) -> Vec<Part> {
        match self {
            Self::Store(store) => vec![answered(self.name(), store.answer().await, PartState::Failed)],
            Self::Registry(remote, need) => vec![answered(self.name(), remote.ping().await, without(*need))],
            Self::Bus(bus, need) => vec![answered(self.name(), bus.ping().await, without(*need))],
            Self::Broker(contact, need) => vec![answered(self.name(), contact.last(), without(*need))],
            Self::Models { agents, health, need } => agents.all().values().map(|agent| model_of(agent, health, *need)).collect(),
        }
    }
}

/// How long an answer of the store counts: each costs its disk a write, and anybody may ask for `/ready` as often as they like.
const ANSWER_COUNTS: Duration = Duration::from_secs(1);

/// A store, and what it said last.
pub(super) struct Asked {
    store: Arc<dyn Upkeep>,
    last: Mutex<Option<(Instant, Result<()>)>>,
}

impl Asked {
    async fn answer(&self) -> Result<()> {
        let mut last = self.last.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(at, _)| at.elapsed() < ANSWER_COUNTS) {
            return answer.clone();
        }
        let answer = self.store.ping().await;
        *last = Some((Instant::now(), answer.clone()));
        answer
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
    use futures::stream::BoxStream;
    use maniple_backends::{local, memory};
    use maniple_core::{
        Error, TaskId, TaskKey, Tenant, Time,
        model::FaultKind,
        ports::{Hint, Live, Swept, Waiting},
    };
    use maniple_kafka::KafkaSettings;
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::Duration,
    };
    use tokio_util::sync::CancellationToken;

    async fn states(probes: Vec<Probe>) -> Vec<(String, PartState)> {
        Probes(probes).parts().await.into_iter().map(|part| (part.name, part.state)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_ready_while_one_of_its_models_is() {
        let (first, second) = (ModelName::parse("a/one").unwrap(), ModelName::parse("b/two").unwrap());
        let agent = AgentDefinition { fallbacks: vec![second.clone()], ..project::assistant(&first).unwrap() };
        let (agents, health) = (Agents::new([agent]), Arc::new(ModelHealth::default()));
        let store = Probe::of(Arc::new(memory::TaskStore::new()));
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

    /// A store that counts how often it is asked, and fails each second time.
    struct Counting(AtomicU64);

    #[async_trait]
    impl Upkeep for Counting {
        async fn sweep_leases_by(&self, _: Time) -> Result<Swept> {
            Ok(Swept::default())
        }
        async fn forget(&self, _: Duration, _: usize) -> Result<u64> {
            Ok(0)
        }
        async fn forget_beyond(&self, _: u64, _: usize) -> Result<u64> {
            Ok(0)
        }
        async fn waiting(&self) -> Result<Vec<Waiting>> {
            Ok(Vec::new())
        }
        async fn ping(&self) -> Result<()> {
            let is_first = self.0.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            if is_first { Ok(()) } else { Err(Error::unavailable("the disk is full")) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_is_asked_once_a_second_however_often_it_is_wondered_about() {
        let store = Arc::new(Counting(AtomicU64::new(0)));
        let probe = Probe::of(store.clone());
        let asked = async |times: usize| {
            let answers = join_all((0..times).map(|_| states(vec![probe.clone()]))).await;
            (store.0.load(Ordering::SeqCst), answers.into_iter().flatten().map(|(_, state)| state).collect::<Vec<_>>())
        };
        assert_eq!(asked(3).await, (1, vec![PartState::Ready; 3]));
        tokio::time::advance(ANSWER_COUNTS).await;
        assert_eq!(asked(2).await, (2, vec![PartState::Failed; 2]), "one that cannot write counts as long");
    }

    /// A bus that reaches nobody else.
    struct Alone(local::Bus);

    #[async_trait]
    impl Bus for Alone {
        fn hint(&self, hint: Hint) {
            self.0.hint(hint);
        }
        fn hints(&self) -> BoxStream<'static, Hint> {
            self.0.hints()
        }
        fn publish(&self, key: &TaskKey, live: Live) {
            self.0.publish(key, live);
        }
        async fn subscribe(&self, key: &TaskKey) -> BoxStream<'static, Live> {
            self.0.subscribe(key).await
        }
        async fn ping(&self) -> Result<()> {
            Err(Error::unavailable("redis://cache does not answer"))
        }
    }

    #[tokio::test]
    async fn a_bus_that_reaches_nobody_else_is_said_and_fails_the_probe_only_where_it_is_required() {
        let bus: Arc<dyn Bus> = Arc::new(Alone(local::Bus::new()));
        for (need, state) in [(Need::Report, PartState::Degraded), (Need::Require, PartState::Failed)] {
            let parts = Probes(vec![Probe::Bus(bus.clone(), need)]).parts().await;
            assert_eq!((parts[0].name.as_str(), parts[0].state), ("bus", state));
            assert!(parts[0].detail.as_ref().unwrap().contains("does not answer"));
        }
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

    #[tokio::test]
    async fn brokers_that_are_away_are_said_at_once_and_fail_the_probe_only_where_they_are_required() {
        let contact = Contact::new("kafka://127.0.0.1:1".parse().unwrap(), KafkaSettings::default());
        let stop = CancellationToken::new();
        let work = tokio::spawn(contact.clone().work(stop.clone()));
        for (need, state) in [(Need::Report, PartState::Degraded), (Need::Require, PartState::Failed)] {
            let probes = Probes(vec![Probe::Broker(contact.clone(), need)]);
            let parts = tokio::time::timeout(Duration::from_millis(200), probes.parts()).await.expect("nobody is waited for");
            assert_eq!((parts[0].name.as_str(), parts[0].state), ("broker", state));
            assert!(parts[0].detail.as_ref().unwrap().contains("kafka://127.0.0.1:1 d"), "{parts:?}");
        }
        stop.cancel();
        work.await.unwrap();
    }
}
