//! Conversations: which there are, their turns and their erasure.

use super::{Act, Addressee, Desk, Page};
use maniple_core::{
    Kind, Principal, Result, SessionId, SessionKey, TaskId, Time,
    ports::{ListSessions, SessionSummary, Turn},
};

/// The most text of one page, in bytes; a single turn may be larger.
const PAGE_BYTES: usize = 2 << 20;

/// Which conversations to list.
#[derive(Debug, Clone)]
pub struct SessionQuery {
    /// With which agent; with all that the principal may use where nothing is said.
    pub with: Addressee,
    /// Their last task is strictly older than this (created_at, id).
    pub before: Option<(Time, TaskId)>,
    /// At most; not 0.
    pub limit: usize,
}

/// A page of conversations, newest first by their last task. It may hold fewer than there are and lead to the next all the same:
/// see [`maniple_core::ports::Tasks::sessions`].
pub type SessionPage = Page<SessionSummary, (Time, TaskId)>;

impl Desk {
    /// Conversations. `NotFound` for the place of an agent that is not served and has left none.
    pub async fn sessions(&self, who: &Principal, query: SessionQuery) -> Result<SessionPage> {
        Act::Look.by(who)?;
        let Some(agents) = self.agents_of(who, &query.with)? else { return Ok(Page::empty()) };
        let list = ListSessions { tenant: who.tenant.clone(), agents, before: query.before, limit: query.limit, max_bytes: PAGE_BYTES };
        let sessions = self.parts.tasks.sessions(&list).await?;
        if let (Addressee::At(agent), true, None) = (&query.with, sessions.found.is_empty(), &sessions.next) {
            self.served(agent)?;
        }
        Ok(Page { items: sessions.found, next: sessions.next })
    }

    /// The newest turns of a conversation, newest first; the next ones are those before [`Page::next`].
    ///
    /// Its agent may be gone: what it left can still be read. `NotFound` where the agent is not served and there is nothing,
    /// and, at `before`, for a task that is not there any more.
    pub async fn conversation(
        &self,
        who: &Principal,
        with: &Addressee,
        id: SessionId,
        before: Option<&TaskId>,
        limit: usize,
    ) -> Result<Page<Turn, TaskId>> {
        Act::Look.by(who)?;
        let session = self.session(who, with, id)?;
        let turns = match self.parts.tasks.conversation(&session, before, limit, PAGE_BYTES).await {
            Err(error) if error.kind == Kind::NotFound && before.is_some() => return Err(error.at("before")),
            other => other?.turns,
        };
        if turns.is_empty() {
            self.served(&session.agent)?;
        }
        let bytes: usize = turns.iter().map(|turn| turn.prompt.len() + turn.output.as_ref().map_or(0, String::len)).sum();
        let more = turns.len() >= limit || bytes >= PAGE_BYTES;
        let next = turns.last().filter(|_| more).map(|turn| turn.task_id.clone());
        Ok(Page { items: turns, next })
    }

    /// Erases a conversation; returns which, and how many tasks went. `Conflict` while one is unfinished.
    pub async fn erase(&self, who: &Principal, with: &Addressee, id: SessionId) -> Result<(SessionKey, u64)> {
        Act::Erase.by(who)?;
        let session = self.session(who, with, id)?;
        let tasks = self.parts.tasks.erase(&session).await?;
        if tasks == 0 {
            self.served(&session.agent)?;
        }
        Ok((session, tasks))
    }

    fn session(&self, who: &Principal, with: &Addressee, id: SessionId) -> Result<SessionKey> {
        let agent = match with {
            Addressee::At(agent) | Addressee::Named(agent) => agent.clone(),
            Addressee::Unsaid => self.agent_for(who, with)?.name.clone(),
        };
        who.may_use(&agent)?;
        Ok(SessionKey { tenant: who.tenant.clone(), agent, id })
    }
}
