//! Plays a case: the real worker over a store in memory, a scripted model, tools that answer what the case says.
//!
//! Nothing leaves this machine: a tool that would need the network and has no answers in the case is not called.

use super::format::{Case, ToolAnswer};
use async_trait::async_trait;
use futures::StreamExt;
use maniple_api::TaskRequest;
use maniple_backends::{local, memory};
use maniple_core::{
    AgentName, Error, Result, SessionId, TaskId, Tenant,
    agent::AgentDefinition,
    event::{Event, ToolStatus},
    model::ModelName,
    ports::{Admission, Bus, Invoked, Live, Model, Models, NewTask, Price, Probed, RunCall, TaskStore, Tools},
    request::{Acceptance, Content},
    task::{AgentResult, TaskLimits},
    tool::{Offer, ToolWish},
};
use maniple_llm::{Line, Scripted};
use maniple_runtime::{Agents, ModelHealth, Parts, Worker, WorkerSettings, spans::Tracing};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long a case may take.
const TIME: Duration = Duration::from_secs(60);
/// The most events of a case that are looked at: 1000 steps of 16 calls have fewer.
const EVENTS_MAX: usize = 40_000;
/// Built-in tools that need nobody.
const OFFLINE: [&str; 2] = ["builtin:calculator", "builtin:clock"];

/// What a case is played with.
pub struct Stage {
    /// The project's agents.
    pub agents: Vec<AgentDefinition>,
    /// The project's tools, for real.
    pub tools: Arc<dyn Tools>,
    /// The node's ceilings and defaults.
    pub limits: TaskLimits,
}

/// What came of a case.
#[derive(Debug)]
pub struct Played {
    /// As a caller would see it.
    pub result: AgentResult,
    /// Every tool call that has an outcome, in order.
    pub calls: Vec<MadeCall>,
    /// What the case did not foresee.
    pub complaints: Vec<String>,
}

/// A tool call with its outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeCall {
    /// The tool.
    pub name: String,
    /// Its arguments; null where they could not be read.
    pub arguments: Value,
    /// How it went.
    pub status: ToolStatus,
}

/// A store for the cases of one file.
pub fn store() -> Arc<dyn TaskStore> {
    Arc::new(memory::TaskStore::new())
}

impl Stage {
    /// Plays a case to its end.
    pub async fn play(&self, case: &Case, store: &Arc<dyn TaskStore>) -> Result<Played> {
        let agent = self.agent(case)?;
        let request = request(case).to(&agent.name)?;
        let content = Content::Asked(Box::new(request.clone()));
        let task = request.accept(Acceptance {
            agent_limits: &agent.limits,
            limits: self.limits,
            tenant: Tenant::default(),
            principal: "test".into(),
            trace: None,
            fresh_id: TaskId::of_uuid(uuid::Uuid::now_v7()),
            fresh_session: SessionId::of_uuid(uuid::Uuid::now_v7()),
        })?;
        let key = task.key();
        let script = Scripted::new(case.model.iter().map(line));
        let fakes = Arc::new(Fakes::new(case, self.tools.clone()));
        let bus: Arc<dyn Bus> = Arc::new(local::Bus::new());
        let parts = Parts {
            work: store.clone(),
            bus: bus.clone(),
            models: Arc::new(OneModel(script.clone())),
            tools: fakes.clone(),
            agents: Agents::new(self.agents.iter().cloned()),
            health: Arc::new(ModelHealth::default()),
            aside: Default::default(),
            tracing: Tracing::default(),
        };
        let mut live = bus.subscribe(&key).await;
        let new = NewTask {
            publish: None,
            task,
            content,
            idempotency: None,
            taken_over: None,
            requeues: None,
            born: None,
            session_waiting_max: 100,
            unfinished_max: 100,
            unfinished_each: 100,
        };
        store.create(new).await?;
        let stop = CancellationToken::new();
        let working = tokio::spawn(Worker::new(parts, WorkerSettings::default(), stop.clone()).work());
        let ended = async {
            while let Some(live) = live.next().await {
                if matches!(live, Live::Event(event) if event.is_final()) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(TIME, ended).await;
        stop.cancel();
        // A worker that panicked has left the task unfinished, which the result shows.
        let _ = working.await;

        let gone = || Error::internal("the task is gone");
        let result = store.get(&key).await?.ok_or_else(gone)?;
        let calls = calls(&store.events(&key, 0, EVENTS_MAX, usize::MAX).await?.ok_or_else(gone)?)?;
        let mut complaints = fakes.complaints();
        if in_time.is_err() {
            complaints.push(format!("it did not end within {} s", TIME.as_secs()));
        }
        let (said, written) = (script.calls(), case.model.len() as u64);
        if said < written {
            complaints.push(format!("the model was called {said} times, and the case has lines for {written}"));
        }
        Ok(Played { result, calls, complaints })
    }

    fn agent(&self, case: &Case) -> Result<&AgentDefinition> {
        let names = || self.agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(", ");
        match (&case.agent, self.agents.as_slice()) {
            (None, [only]) => Ok(only),
            (None, []) => Err(Error::invalid("the project has no agent")),
            (None, _) => Err(Error::invalid(format!("`agent` is missing: there are {}", names())).at("agent")),
            (Some(name), agents) => agents
                .iter()
                .find(|agent| agent.name.as_str() == name)
                .ok_or_else(|| Error::invalid(format!("there is no agent `{name}`: there are {}", names())).at("agent")),
        }
    }
}

fn request(case: &Case) -> TaskRequest {
    TaskRequest {
        prompt: case.prompt.clone(),
        session_id: case.session.clone(),
        context: case.context.clone(),
        output_schema: case.output_schema.clone(),
        max_steps: case.max_steps,
        token_budget: case.token_budget,
        ..TaskRequest::default()
    }
}

fn line(line: &super::format::Line) -> Line {
    if let Some(fault) = line.fault {
        return Line::fault(fault, format!("the case says: {fault:?}"));
    }
    let spoken = line.say.as_ref().map(Line::text).unwrap_or_default();
    line.call.0.iter().fold(spoken, |spoken, (name, arguments)| spoken.and_call(name, arguments.clone()))
}

/// The script, whatever model an agent asks for.
struct OneModel(Scripted);

impl Models for OneModel {
    fn model(&self, _: &ModelName) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(self.0.clone()))
    }
    fn price(&self, _: &ModelName) -> Option<Price> {
        None
    }
}

/// Tools that answer what the case says.
struct Fakes {
    real: Arc<dyn Tools>,
    answers: Mutex<BTreeMap<String, VecDeque<ToolAnswer>>>,
    complaints: Mutex<Vec<String>>,
}

impl Fakes {
    fn new(case: &Case, real: Arc<dyn Tools>) -> Self {
        let answers = case.tools.iter().map(|(name, answers)| (name.clone(), answers.iter().cloned().collect())).collect();
        Self { real, answers: Mutex::new(answers), complaints: Mutex::default() }
    }
    /// The next answer for a tool; `None` for one that the case does not speak of.
    fn answer(&self, tool: &str) -> Option<Option<ToolAnswer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get_mut(tool).map(VecDeque::pop_front)
    }
    fn complain(&self, complaint: String) -> Invoked {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(complaint.clone());
        Invoked::Failed(json!({ "error": complaint }))
    }
    fn complaints(&self) -> Vec<String> {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (tool, answers) in self.answers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if !answers.is_empty() {
                complaints.push(format!("tool `{tool}` was not called for {} of the answers in the case", answers.len()));
            }
        }
        complaints
    }
}

#[async_trait]
impl Tools for Fakes {
    async fn resolve(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        self.real.resolve(tenant, agent, wishes).await
    }
    async fn admit(&self, _call: &RunCall) -> Admission {
        Admission::Now
    }
    async fn probe(&self, _call: &RunCall) -> Probed {
        Probed::Unknown
    }
    async fn invoke(&self, run_call: &RunCall) -> Invoked {
        let RunCall(call) = run_call;
        let name = &call.tool.name;
        match self.answer(name) {
            Some(Some(ToolAnswer::Is(result))) => Invoked::Ok(result),
            Some(Some(ToolAnswer::Fails(why))) => Invoked::Failed(why),
            Some(Some(ToolAnswer::Lost(why))) => Invoked::Unknown(why),
            Some(None) => self.complain(format!("tool `{name}` was called more often than the case has answers for it")),
            None if OFFLINE.contains(&call.tool.endpoint.as_str()) => self.real.invoke(run_call).await,
            None => self.complain(format!("tool `{name}` would leave this machine: give it answers under `tools`")),
        }
    }
}

/// The calls of a journal with their outcomes. Arguments of a refused call are as the model wrote them.
fn calls(journal: &[maniple_core::event::StoredEvent]) -> Result<Vec<MadeCall>> {
    let mut asked = Vec::new();
    let mut made: Vec<(u32, u32, MadeCall)> = Vec::new();
    for stored in journal {
        match stored.event()? {
            Event::ModelFinished(reply) => asked = reply.calls,
            Event::ToolFinished(finished) => {
                let arguments = asked.get(finished.index as usize).map_or("", |call| call.arguments.as_str());
                let arguments = serde_json::from_str(arguments).unwrap_or_default();
                made.push((stored.step, finished.index, MadeCall { name: finished.name, arguments, status: finished.status }));
            }
            _ => {}
        }
    }
    // Calls of one step run side by side: they are told in the order they were asked for.
    made.sort_by_key(|(step, index, _)| (*step, *index));
    Ok(made.into_iter().map(|(_, _, call)| call).collect())
}
