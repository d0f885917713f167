//! Submissions: which agent, within which limits, under which key.
//!
//! ```text
//! may they? ─► agent ─► bounds, defaults ─┬─ can start at once ─► the worker of this process: accepted, claimed, begun
//!                                         └─ store.create ─► publish what was recorded ─► hint the workers
//! ```

use super::{Act, Desk, IdempotencyKey, Reader};
use crate::worker::Started;
use maniple_aside::SMALL_BYTES;
use maniple_core::{
    AgentName, Error, Principal, Result, SessionId, TaskId, TaskKey,
    ports::{Created, Hint, Live, NewTask},
    request::{Acceptance, Content, TaskRequest},
    schema,
    task::AgentResult,
    trace::TraceContext,
};
use serde_json::{Map, Value};
use std::time::Duration;
use uuid::Uuid;

/// A request for a task, on its way in.
#[derive(Debug, Clone)]
pub struct Submission {
    /// What is asked, of which agent; [`Desk::agent_for`] says of which, where that is open.
    pub request: TaskRequest,
    /// The key under which it is asked.
    pub key: Option<IdempotencyKey>,
    /// The caller's trace; one begins here otherwise.
    pub trace: Option<TraceContext>,
}

impl Desk {
    /// Accepts a task. It is durable when this returns.
    ///
    /// `Denied` without the scope or the agent, `NotFound` for an agent that is not served here, `Invalid` for what is out of
    /// bounds, `Denied` too where the id or the key is that of a task which the principal may not see; the other errors are those of [`maniple_core::ports::Tasks::create`].
    pub async fn submit(&self, who: &Principal, submission: Submission) -> Result<Created> {
        let new = self.checked(who, submission).await?;
        self.create(who, new).await
    }

    /// Accepts a task and waits until it ends, parks, or `patience` is over; whichever it was, it goes on.
    ///
    /// The result is the task's latest state, [`Created::result`] its state when it was accepted.
    pub async fn submit_and_wait(
        &self,
        who: &Principal,
        submission: Submission,
        patience: impl Future<Output = ()> + Send,
    ) -> Result<(Created, AgentResult)> {
        let new = self.checked(who, submission).await?;
        let asked = new.task.key();
        let live = self.parts.bus.subscribe(&asked).await;
        let created = self.create(who, new).await?;
        let key = TaskKey { tenant: asked.tenant.clone(), id: created.result.task_id.clone() };
        if created.fresh {
            let result = self.settled(&key, live, created.result.clone(), patience).await?;
            return Ok((created, result));
        }
        // An older task, which may have ended before anybody subscribed.
        let live = if key == asked { live } else { self.parts.bus.subscribe(&key).await };
        let now = self.now(&key).await?;
        let result = self.settled(&key, live, now, patience).await?;
        Ok((created, result))
    }

    /// Accepts a task and follows it from its first event; subscribed before it is accepted, so that no delta is missed.
    /// `Unavailable`, or `Exhausted` for its tenant, and nothing is accepted, where there is no place for another stream.
    pub async fn submit_and_follow(&self, who: &Principal, submission: Submission) -> Result<(Created, Reader)> {
        let new = self.checked(who, submission).await?;
        let seat = self.gate.stream(&who.tenant)?;
        let asked = new.task.key();
        let live = self.parts.bus.subscribe(&asked).await;
        let created = self.create(who, new).await?;
        let key = TaskKey { tenant: asked.tenant.clone(), id: created.result.task_id.clone() };
        let live = if key == asked { live } else { self.parts.bus.subscribe(&key).await };
        let reader = match created.fresh {
            // All there is; what a worker has recorded since then comes by the bus.
            true => self.reader(&key, live, 0, seat).beginning_with(created.events.iter().cloned()),
            false => self.reader(&key, live, 0, seat),
        };
        Ok((created, reader))
    }

    /// Ends when those who wait for this agent have waited as long as it lets them, or with `until`.
    pub async fn patience(&self, agent: &AgentName, until: impl Future<Output = ()> + Send) {
        let own = self.parts.agents.get(agent).and_then(|agent| agent.limits.sync_run_ms).map(Duration::from_millis);
        tokio::select! {
            () = tokio::time::sleep(own.unwrap_or(self.terms.sync_run)) => {}
            () = until => {}
        }
    }

    /// The task that is asked for, checked.
    pub(super) async fn checked(&self, who: &Principal, submission: Submission) -> Result<NewTask> {
        let Submission { request, key, trace } = submission;
        Act::Submit.by(who)?;
        let agent = self.served(&request.agent)?;
        who.may_use(&agent.name)?;
        let publish = self.publish(&agent, who);
        let (limits, tenant, principal) = (self.terms.tasks, who.tenant.clone(), who.name.clone());
        let said = request.prompt.len() + [&request.metadata, &request.context].map(weight).iter().sum::<usize>();
        let large = request.output_schema.as_ref().is_some_and(schema::is_heavy) || said > SMALL_BYTES;
        let checking = move || {
            let content = Content::Asked(Box::new(request.clone()));
            let acceptance = Acceptance {
                agent_limits: &agent.limits,
                limits,
                tenant,
                principal,
                trace: Some(traced(trace)),
                fresh_id: fresh_id(),
                fresh_session: SessionId::of_uuid(Uuid::now_v7()),
            };
            let task = request.accept(acceptance)?;
            let idempotency = key.map(|key| key.of_task(content.hash()));
            Ok::<_, Error>((task, content, idempotency))
        };
        let (task, content, idempotency) = self.parts.aside.run(large, who.tenant.as_str(), checking).await??;
        Ok(NewTask {
            publish,
            task,
            idempotency,
            content,
            taken_over: None,
            requeues: None,
            born: None,
            session_waiting_max: self.terms.limits.session_waiting,
            unfinished_max: self.terms.limits.unfinished_tasks,
            unfinished_each: self.terms.unfinished_each(),
        })
    }

    pub(super) async fn create(&self, who: &Principal, new: NewTask) -> Result<Created> {
        let tenant = new.task.tenant.clone();
        let created = self.accept(new).await?;
        if !created.fresh && !self.sees(who, &TaskKey { tenant: tenant.clone(), id: created.result.task_id.clone() }).await? {
            let told = "another principal asked the same under this id or key: choose another, or use a token with the scope `read`";
            return Err(Error::denied(told));
        }
        // Of a task that was born claimed, its worker has told.
        if created.fresh && created.claim.is_none() {
            let key = TaskKey { tenant, id: created.result.task_id.clone() };
            created.events.iter().for_each(|event| self.parts.bus.publish(&key, Live::Event(event.clone())));
            self.parts.bus.hint(Hint::Ready(created.result.agent.clone()));
        }
        Ok(created)
    }

    async fn accept(&self, new: NewTask) -> Result<Created> {
        let Some(starter) = &self.parts.starter else { return self.parts.tasks.create(new).await };
        match starter.start(new).await {
            Started::Asked(answer) => answer,
            Started::NotNow(new) => self.parts.tasks.create(new).await,
        }
    }
}

/// An id for a task that brings none.
pub(super) fn fresh_id() -> TaskId {
    TaskId::of_uuid(Uuid::now_v7())
}

/// The caller's trace, or one that begins here.
pub(super) fn traced(given: Option<TraceContext>) -> TraceContext {
    given.unwrap_or_else(|| TraceContext::begin(fastrand::u128(..), fastrand::u64(..)))
}

/// About how many bytes of JSON these are.
fn weight(members: &Map<String, Value>) -> usize {
    let mut open: Vec<&Value> = members.values().collect();
    let mut bytes: usize = members.keys().map(String::len).sum();
    while let Some(value) = open.pop() {
        bytes += 8;
        match value {
            Value::String(text) => bytes += text.len(),
            Value::Array(items) => open.extend(items),
            Value::Object(members) => {
                bytes += members.keys().map(String::len).sum::<usize>();
                open.extend(members.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    bytes
}
