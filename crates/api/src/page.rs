//! Lists: `{tasks | agents | messages, next_cursor}`, each with `limit` and `cursor`.

use crate::json::Malformed;
use maniple_core::{
    Error, Result, SessionId, TaskId, Time,
    agent::AgentDefinition,
    ports::{SessionSummary, Turn},
    task::AgentResult,
};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// How many a page holds when nobody says.
pub const DEFAULT_LIMIT: usize = 50;
/// The most a page may hold.
pub const MAX_LIMIT: usize = 200;

/// `limit` of a query, checked, never clamped.
pub fn limit(asked: Option<&str>) -> Result<usize> {
    let Some(asked) = asked else { return Ok(DEFAULT_LIMIT) };
    match number(asked) {
        Some(limit @ 1..=200) => Ok(limit as usize),
        _ => Err(Error::invalid(format!("limit must be an integer of 1 to {MAX_LIMIT}")).at("limit")),
    }
}

/// Decimal digits and nothing else.
pub fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Where the next page of a list by time begins, as text that needs no escaping in a URL. Readers pass it on as it is.
pub fn cursor(at: Time, id: impl Display) -> String {
    format!("{}.{id}", at.0)
}

/// Reads a [`cursor`] back, its id by `id`; what we did not write is malformed.
pub fn read_cursor<I>(text: &str, id: impl FnOnce(&str) -> Option<I>) -> Result<(Time, I), Malformed> {
    let (millis, named) = text.split_once('.').ok_or_else(not_ours)?;
    let millis = number(millis).and_then(|n| i64::try_from(n).ok()).ok_or_else(not_ours)?;
    Ok((Time(millis), id(named).ok_or_else(not_ours)?))
}

/// What is said of a cursor that we did not write.
pub fn not_ours() -> Malformed {
    Malformed("cursor is not one of ours: pass `next_cursor` on as it was, or leave it out".into())
}

/// A page of tasks, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<AgentResult>,
    /// Where the next page begins; null after the last.
    pub next_cursor: Option<String>,
}

impl TaskPage {
    /// These tasks, and older ones than `next` on the next page.
    pub fn of(tasks: Vec<AgentResult>, next: Option<(Time, TaskId)>) -> Self {
        Self { tasks, next_cursor: next.map(|(created_at, id)| cursor(created_at, id)) }
    }
}

/// An agent as `GET /agents` shows it. Its prompt stays inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// SemVer.
    pub version: String,
    /// Whom it asks.
    pub model: String,
    /// Whom it asks when that one does not answer, in this order.
    pub fallbacks: Vec<String>,
    /// The tools it may call.
    pub tools: Vec<String>,
}

impl From<&AgentDefinition> for Agent {
    fn from(agent: &AgentDefinition) -> Self {
        Self {
            name: agent.name.to_string(),
            description: agent.description.clone(),
            version: agent.version.to_string(),
            model: agent.model.to_string(),
            fallbacks: agent.fallbacks.iter().map(ToString::to_string).collect(),
            tools: agent.tools.iter().map(|wish| wish.name.clone()).collect(),
        }
    }
}

/// A page of agents, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentPage {
    /// The agents.
    pub agents: Vec<Agent>,
    /// Where the next page begins; null after the last.
    pub next_cursor: Option<String>,
}

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whoever asked.
    User,
    /// The agent.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionMessage {
    /// Who said it.
    pub role: Role,
    /// What.
    pub content: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// The task it belongs to.
    #[schema(value_type = String)]
    pub task_id: TaskId,
}

/// A page of a conversation: oldest message first; `next_cursor` leads to the turns before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MessagePage {
    /// The messages of up to `limit` turns.
    pub messages: Vec<SessionMessage>,
    /// Where the page of older turns begins; null when there is none.
    pub next_cursor: Option<String>,
}

impl MessagePage {
    /// These turns, which come newest first, and those before `next` on the next page.
    pub fn of(turns: Vec<Turn>, next: Option<TaskId>) -> Self {
        let next_cursor = next.map(|task| task.to_string());
        let mut messages = Vec::with_capacity(turns.len() * 2);
        for turn in turns.into_iter().rev() {
            let Turn { task_id, asked_at, answered_at, prompt, output } = turn;
            messages.push(SessionMessage { role: Role::User, content: prompt, at: asked_at, task_id: task_id.clone() });
            messages.extend(output.map(|content| SessionMessage { role: Role::Assistant, content, at: answered_at, task_id }));
        }
        Self { messages, next_cursor }
    }
}

/// A conversation in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Session {
    /// Which.
    #[schema(value_type = String)]
    pub session_id: SessionId,
    /// The agent it is with.
    pub agent: String,
    /// How many tasks of it there are, counted to 10,000.
    pub tasks: u64,
    /// The one that was accepted last; with `include=prompt` with the beginning of its prompt.
    pub last_task: AgentResult,
}

/// A page of conversations, newest first by their last task. It may hold fewer than `limit`, none even, where `next_cursor` is not null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionPage {
    /// The conversations.
    pub sessions: Vec<Session>,
    /// Where the next page begins; null after the last.
    pub next_cursor: Option<String>,
}

impl SessionPage {
    /// These conversations, and older ones than `next` on the next page.
    pub fn of(found: Vec<SessionSummary>, next: Option<(Time, TaskId)>) -> Self {
        let session = |found: SessionSummary| {
            let SessionSummary { id, agent, tasks, last } = found;
            Session { session_id: id, agent: agent.to_string(), tasks, last_task: last }
        };
        let next_cursor = next.map(|(created_at, id)| cursor(created_at, id));
        Self { sessions: found.into_iter().map(session).collect(), next_cursor }
    }
}

/// Whether `include` of a query wishes for prompts: a list of names with commas between them.
pub fn includes_prompt(asked: Option<&str>) -> Result<bool> {
    let mut prompt = false;
    for name in asked.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if name != "prompt" {
            return Err(Error::invalid(format!("include `{}` is not known: there is `prompt`", name.escape_debug())).at("include"));
        }
        prompt = true;
    }
    Ok(prompt)
}

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Erased {
    /// The conversation that is gone.
    pub session_id: String,
    /// The agent it was with.
    pub agent: String,
    /// How many tasks went with it.
    pub tasks: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_needs_no_escaping() {
        let place = (Time(1_763_844_000_123), TaskId::parse("a.b_c:d-1").unwrap());
        let text = cursor(place.0, &place.1);
        assert_eq!(text, "1763844000123.a.b_c:d-1");
        assert_eq!(read_cursor(&text, |id| TaskId::parse(id).ok()).unwrap(), place);
    }

    #[test]
    fn a_cursor_we_did_not_write_is_malformed() {
        for text in ["", ".", "1.", ".a", "abc", "-1.a", "+1.a", "1.a b", "99999999999999999999.a", "1.é"] {
            assert!(read_cursor(text, |id| TaskId::parse(id).ok()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_checked_never_clamped() {
        assert_eq!(limit(None).unwrap(), 50);
        assert_eq!((limit(Some("1")).unwrap(), limit(Some("200")).unwrap()), (1, 200));
        for bad in ["0", "201", "-1", "+5", "1.5", "", "ten", "99999999999999999999"] {
            assert_eq!(limit(Some(bad)).unwrap_err().field.as_deref(), Some("limit"), "{bad}");
        }
    }

    #[test]
    fn a_conversation_reads_forwards_and_pages_backwards() {
        let turn = |n: i64, output: Option<&str>| Turn {
            task_id: TaskId::parse(&format!("t{n}")).unwrap(),
            asked_at: Time(n),
            answered_at: Time(n + 1),
            prompt: format!("q{n}"),
            output: output.map(str::to_owned),
        };
        let page = MessagePage::of(vec![turn(3, Some("a3")), turn(2, None)], Some(TaskId::parse("t2").unwrap()));
        assert_eq!(page.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>(), ["q2", "q3", "a3"]);
        assert_eq!(page.next_cursor.as_deref(), Some("t2"));
        assert_eq!(MessagePage::of(vec![turn(3, None)], None).next_cursor, None);
    }
}
