//! What is asked, typed, whatever door it came by; and what makes two requests the same.

use crate::{
    AgentName, Error, Result, SessionId, TaskId, Tenant, Time,
    agent::AgentLimits,
    canonical,
    task::{Task, TaskLimits, in_range},
    trace::TraceContext,
};
use serde::Serialize;
use serde_json::{Map, Value};

/// The longest deadline: a hundred years. It keeps every sum with it inside the calendar.
pub const DEADLINE_MS_MAX: i64 = 3_155_760_000_000;
/// What stands before a hash of a [`TaskRequest`]. Without it: one of the JSON of an HTTP body, by an older version.
const HASH_VERSION: &str = "2:";

/// A request for a task. What is `None` was not said and gets its default; numbers are checked by [`Self::accept`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskRequest {
    /// Who is to do it.
    pub agent: AgentName,
    /// Chosen by the caller so that sending twice is harmless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<TaskId>,
    /// The conversation it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// What is asked. Not empty.
    pub prompt: String,
    /// The caller's own notes; not shown to the model.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// How many model calls at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<i64>,
    /// How many tokens its own model calls may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_budget: Option<i64>,
    /// The caller's facts for this task only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub context: Map<String, Value>,
    /// When it must have ended, from acceptance, waiting included; 1 to a hundred years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<i64>,
    /// 0..=9, higher first; 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// It takes its place in its session when this comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// The answer must fit this schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

/// What is known about a request beside what it says.
#[derive(Debug)]
pub struct Acceptance<'a> {
    /// Its agent's own defaults and lower caps.
    pub agent_limits: &'a AgentLimits,
    /// The node's ceilings and defaults.
    pub limits: TaskLimits,
    /// On whose behalf.
    pub tenant: Tenant,
    /// Who asks.
    pub principal: String,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The id of a task that brings none.
    pub fresh_id: TaskId,
    /// The session of a task that names none.
    pub fresh_session: SessionId,
}

impl TaskRequest {
    /// A request that says nothing but what is asked.
    pub fn new(agent: AgentName, prompt: String) -> Self {
        Self {
            agent,
            id: None,
            session_id: None,
            prompt,
            metadata: Map::new(),
            max_steps: None,
            token_budget: None,
            context: Map::new(),
            deadline_ms: None,
            priority: None,
            not_before: None,
            output_schema: None,
        }
    }

    /// The task this asks for: every bound checked, nothing clamped, every default filled. Names the field at fault.
    pub fn accept(self, acceptance: Acceptance<'_>) -> Result<Task> {
        let Acceptance { agent_limits, limits, tenant, principal, trace, fresh_id, fresh_session } = acceptance;
        let limits = within(limits, agent_limits);
        let task = Task {
            id: self.id.unwrap_or(fresh_id),
            agent: self.agent,
            session_id: self.session_id.unwrap_or(fresh_session),
            prompt: self.prompt,
            metadata: self.metadata,
            max_steps: limits.steps(self.max_steps)?,
            token_budget: limits.tokens(self.token_budget)?,
            context: self.context,
            deadline_ms: self.deadline_ms.map(|ms| in_range("deadline_ms", ms, 1, DEADLINE_MS_MAX)).transpose()?.map(|ms| ms as u64),
            priority: in_range("priority", self.priority.unwrap_or(5), 0, 9)? as u8,
            not_before: self.not_before,
            output_schema: self.output_schema,
            cost_budget_usd: None,
            tree_token_budget: None,
            parent_task_id: None,
            retry_of: None,
            tenant,
            principal,
            trace,
        };
        task.check()?;
        Ok(task)
    }

    /// One hash for the agent and what it is asked, the same however a door spells it.
    pub fn hash(&self) -> String {
        format!("{HASH_VERSION}{}", canonical::hash(self))
    }

    /// What this request would have had to say to become that task: what it left out was filled in then.
    fn as_accepted(&self, task: &Task) -> Self {
        Self {
            agent: task.agent.clone(),
            id: self.id.as_ref().map(|_| task.id.clone()),
            session_id: self.session_id.as_ref().map(|_| task.session_id.clone()),
            prompt: task.prompt.clone(),
            metadata: task.metadata.clone(),
            max_steps: self.max_steps.map(|_| task.max_steps.into()),
            token_budget: self.token_budget.map(|_| i64::try_from(task.token_budget).unwrap_or(i64::MAX)),
            context: task.context.clone(),
            deadline_ms: task.deadline_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)),
            priority: self.priority.map(|_| task.priority.into()),
            not_before: task.not_before,
            output_schema: task.output_schema.clone(),
        }
    }
}

/// What a submission is compared by when its id or its key is known already.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// The request.
    Asked(Box<TaskRequest>),
    /// A retry of that task: whatever its new id is.
    Retry(TaskId),
}

impl Content {
    /// Its hash, to be kept.
    pub fn hash(&self) -> String {
        match self {
            Self::Asked(request) => request.hash(),
            Self::Retry(of) => format!("{HASH_VERSION}{}", canonical::hash(&serde_json::json!({ "retry_of": of }))),
        }
    }

    /// Whether a kept hash is this one's. `None` where it cannot tell: an older version made it, or nobody did, as
    /// neither an id nor a key was given. Then [`Self::is_of`] can.
    pub fn is_hash(&self, kept: &str) -> Option<bool> {
        kept.starts_with(HASH_VERSION).then(|| kept == self.hash())
    }

    /// Whether it is what that task was accepted for.
    pub fn is_of(&self, task: &Task) -> bool {
        match self {
            Self::Asked(request) => task.retry_of.is_none() && request.as_accepted(task) == **request,
            Self::Retry(of) => task.retry_of.as_ref() == Some(of),
        }
    }
}

/// The node's limits as this agent's file lowers them: its own numbers are default and cap at once.
fn within(node: TaskLimits, agent: &AgentLimits) -> TaskLimits {
    let max_steps = agent.max_steps.map_or(node.max_steps, |own| own.min(node.max_steps));
    let token_budget = agent.token_budget.map_or(node.token_budget, |own| own.min(node.token_budget));
    TaskLimits {
        max_steps,
        default_max_steps: agent.max_steps.unwrap_or(node.default_max_steps).min(max_steps),
        token_budget,
        default_token_budget: agent.token_budget.unwrap_or(node.default_token_budget).min(token_budget),
    }
}

/// RFC 3339, as a caller writes it.
pub fn not_before(text: &str) -> Result<Time> {
    Time::parse(text).ok_or_else(|| Error::invalid("not_before must be an RFC 3339 time such as 2026-01-31T12:00:00Z").at("not_before"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn agent(name: &str) -> AgentName {
        AgentName::parse(name).unwrap()
    }
    fn asked(prompt: &str) -> TaskRequest {
        TaskRequest::new(agent("search"), prompt.into())
    }
    fn accepted(request: &TaskRequest) -> Task {
        accept(request).unwrap()
    }
    fn accept(request: &TaskRequest) -> Result<Task> {
        let acceptance = Acceptance {
            agent_limits: &AgentLimits::default(),
            limits: TaskLimits::default(),
            tenant: Tenant::default(),
            principal: "local".into(),
            trace: None,
            fresh_id: TaskId::parse("fresh").unwrap(),
            fresh_session: SessionId::parse("made").unwrap(),
        };
        request.clone().accept(acceptance)
    }
    fn is(request: &TaskRequest, of: &TaskRequest) -> bool {
        Content::Asked(Box::new(request.clone())).is_of(&accepted(of))
    }

    #[test]
    fn two_dots_are_a_name_like_any_other() {
        for name in [".", "..", "..."] {
            let (id, session_id) = (TaskId::parse(name).unwrap(), SessionId::parse(name).unwrap());
            let task = accepted(&TaskRequest { id: Some(id.clone()), session_id: Some(session_id.clone()), ..asked("x") });
            assert_eq!((task.id, task.session_id), (id, session_id));
        }
    }

    #[test]
    fn the_hash_sees_the_agent_and_what_is_asked() {
        let one = asked("x");
        assert_eq!(one.hash(), asked("x").hash());
        assert_ne!(one.hash(), asked("y").hash());
        assert_ne!(one.hash(), TaskRequest { agent: agent("other"), ..asked("x") }.hash());
        assert_ne!(one.hash(), TaskRequest { max_steps: Some(10), ..asked("x") }.hash());
        let content = Content::Asked(Box::new(one.clone()));
        assert_eq!((content.is_hash(&one.hash()), content.is_hash(&asked("y").hash())), (Some(true), Some(false)));
        assert_eq!((content.is_hash(""), content.is_hash("0123456789abcdef")), (None, None), "no hash of this version");
    }

    #[test]
    fn a_task_without_such_a_hash_is_compared_itself_and_what_was_filled_in_does_not_count() {
        let full = TaskRequest {
            id: Some(TaskId::parse("a").unwrap()),
            session_id: Some(SessionId::parse("s").unwrap()),
            max_steps: Some(3),
            token_budget: Some(600),
            deadline_ms: Some(5_000),
            priority: Some(7),
            not_before: Some(Time(1_000)),
            output_schema: Some(serde_json::json!({ "type": "object" })),
            ..asked("x")
        };
        assert!(is(&asked("x"), &asked("x")) && is(&full, &full));
        assert!(!is(&asked("y"), &asked("x")) && !is(&asked("x"), &full));
        assert!(!is(&TaskRequest { max_steps: Some(4), ..full.clone() }, &full));
        assert!(!is(&TaskRequest { agent: agent("other"), ..asked("x") }, &asked("x")));
    }

    #[test]
    fn a_retry_is_compared_by_whose_it_is() {
        let (a, b) = (TaskId::parse("a").unwrap(), TaskId::parse("b").unwrap());
        let retry = Content::Retry(a.clone());
        assert_eq!((retry.is_hash(&retry.hash()), Content::Retry(b.clone()).is_hash(&retry.hash())), (Some(true), Some(false)));
        let of = |id: &TaskId| Task { retry_of: Some(id.clone()), ..accepted(&asked("x")) };
        assert!(retry.is_of(&of(&a)) && !retry.is_of(&of(&b)));
        assert!(!Content::Asked(Box::new(asked("x"))).is_of(&of(&a)));
    }
}
