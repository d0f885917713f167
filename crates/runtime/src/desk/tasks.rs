//! Tasks: as they are, listed, cancelled, and taken out of the dead letters.

use super::{Act, Addressee, Desk, IdempotencyKey, Page, Sought};
use crate::ended;
use maniple_core::{
    Principal, Result, SessionId, TaskId, Time,
    ports::{Hint, KeyWas, ListTasks, Live, Signalled},
    signal::{Signal, SignalKind},
    task::{AgentResult, TaskStatus},
};
use serde_json::json;

/// What the tasks of one page weigh, in bytes; a single one may be heavier.
const PAGE_BYTES: usize = 2 << 20;

/// Of the tasks of a list the beginning of each prompt is shown: so many characters.
pub const BEGINNING_CHARS: usize = 200;

/// Which tasks to list.
#[derive(Debug, Clone)]
pub struct TaskQuery {
    /// Of which agent; of all that the principal may use where nothing is said.
    pub of: Addressee,
    /// In this state only.
    pub status: Option<TaskStatus>,
    /// Of this session only.
    pub session_id: Option<SessionId>,
    /// Strictly older than this (created_at, id).
    pub before: Option<(Time, TaskId)>,
    /// At most; not 0.
    pub limit: usize,
}

/// A page of tasks, newest first by (created_at, id); the next ones are older than [`Page::next`].
pub type TaskPage = Page<AgentResult, (Time, TaskId)>;

/// What became of a wish to cancel.
#[derive(Debug, Clone)]
pub enum Cancelled {
    /// It is asked to stop, or has stopped.
    Asked(AgentResult),
    /// It was final already; nothing changed.
    Final(AgentResult),
}

impl Cancelled {
    fn without_output(self) -> Self {
        let without = |result| AgentResult { output: None, structured: None, error_detail: None, ..result };
        match self {
            Self::Asked(result) => Self::Asked(without(result)),
            Self::Final(result) => Self::Final(without(result)),
        }
    }
}

impl Desk {
    /// A task as it is now. `NotFound` for none, and for one that the principal may not see: see [`Act::Follow`].
    pub async fn get(&self, who: &Principal, sought: &Sought) -> Result<AgentResult> {
        Act::Follow.by(who)?;
        Ok(self.seen(who, sought).await?.1)
    }

    /// The same with what was asked.
    pub async fn get_with_prompt(&self, who: &Principal, sought: &Sought) -> Result<AgentResult> {
        let task = self.get(who, sought).await?;
        let prompts = self.parts.tasks.prompts(&who.tenant, std::slice::from_ref(&task.task_id), usize::MAX).await?;
        Ok(AgentResult { prompt: prompts.into_iter().next().flatten(), ..task })
    }

    /// Tells tasks of the principal's tenant the beginning of what was asked: [`BEGINNING_CHARS`].
    pub async fn tell_beginnings<'a>(&self, who: &Principal, tasks: impl Iterator<Item = &'a mut AgentResult>) -> Result<()> {
        let tasks: Vec<&mut AgentResult> = tasks.collect();
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.task_id.clone()).collect();
        let prompts = self.parts.tasks.prompts(&who.tenant, &ids, BEGINNING_CHARS).await?;
        tasks.into_iter().zip(prompts).for_each(|(task, prompt)| task.prompt = prompt);
        Ok(())
    }

    /// Tasks. `NotFound` for the place of an agent that is not served and has left none.
    pub async fn list(&self, who: &Principal, query: TaskQuery) -> Result<TaskPage> {
        self.listed(who, query, false).await
    }

    /// Tasks that kept killing their worker.
    pub async fn dead_letters(&self, who: &Principal, query: TaskQuery) -> Result<TaskPage> {
        self.listed(who, query, true).await
    }

    async fn listed(&self, who: &Principal, query: TaskQuery, dead: bool) -> Result<TaskPage> {
        Act::Look.by(who)?;
        let TaskQuery { of, status, session_id, before, limit } = query;
        let Some(agents) = self.agents_of(who, &of)? else { return Ok(Page::empty()) };
        let list = ListTasks {
            tenant: who.tenant.clone(),
            agents,
            status,
            session_id,
            dead,
            before,
            limit: limit + 1,
            max_bytes: Some(PAGE_BYTES),
        };
        let tasks = self.parts.tasks.list(&list).await?;
        if let (Addressee::At(agent), true) = (&of, tasks.is_empty()) {
            self.served(agent)?;
        }
        let is_cut = tasks.iter().map(AgentResult::weight).sum::<usize>() >= PAGE_BYTES;
        Ok(Page::cut(tasks, limit, is_cut, |task| (task.created_at, task.task_id.clone())))
    }

    /// Asks a task to stop. What is recorded first, the cancel or the end, wins. Who may not see the task is told its state and not
    /// its output.
    pub async fn cancel(&self, who: &Principal, sought: &Sought, key: Option<IdempotencyKey>) -> Result<(Cancelled, KeyWas)> {
        Act::Cancel.by(who)?;
        let (task, _) = self.task(who, sought).await?;
        let sees = self.sees(who, &task).await?;
        let idempotency = key.map(|key| key.of_act(format!("/tasks/{}/cancel", task.id)));
        // One id for all of them: a task is cancelled once, however often and by whomever it is asked.
        let signal = Signal { id: "cancel".into(), kind: SignalKind::Cancel, data: json!({ "by": who.name }), at: Default::default() };
        let (signalled, was) = self.parts.tasks.signal(&task, signal, idempotency).await?;
        let cancelled = match signalled {
            Signalled::Recorded(result) => {
                self.parts.bus.hint(Hint::Signalled(task));
                // It may have been parked: then it is ready now.
                self.parts.bus.hint(Hint::Ready(result.agent.clone()));
                Cancelled::Asked(result)
            }
            Signalled::Ended(result, event) => {
                ended::tell(&result);
                self.parts.bus.publish(&task, Live::Event(event));
                // The next one of its session may be ready now.
                self.parts.bus.hint(Hint::Ready(result.agent.clone()));
                Cancelled::Asked(result)
            }
            Signalled::Final(result) => Cancelled::Final(result),
        };
        Ok((if sees { cancelled } else { cancelled.without_output() }, was))
    }

    /// Takes a task out of the dead letters; its record stays. `NotFound` where it is not there.
    pub async fn drop_dead_letter(&self, who: &Principal, sought: &Sought, key: Option<IdempotencyKey>) -> Result<(AgentResult, KeyWas)> {
        Act::Erase.by(who)?;
        let (task, result) = self.task(who, sought).await?;
        let idempotency = key.map(|key| key.of_act(format!("/dead-letters/{}/drop", task.id)));
        let was = self.parts.tasks.drop_dead_letter(&task, idempotency).await?;
        Ok((result, was))
    }
}
