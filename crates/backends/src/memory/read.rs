//! Looking without changing anything.

use super::table::{Row, State, Table};
use crate::rules;
use maniple_core::{
    Result, SessionKey, TaskId, TaskKey, Time,
    event::{Event, StoredEvent},
    ports::{ListTasks, Turn, Waiting},
    task::{AgentResult, TaskStatus},
};
use std::collections::BTreeMap;

impl Table {
    pub(super) fn list(&self, query: &ListTasks, now: Time) -> Vec<AgentResult> {
        let wanted = |row: &&Row| {
            row.key.tenant == query.tenant
                && (query.agents.is_empty() || query.agents.contains(&row.session.agent))
                && query.status.is_none_or(|status| status == row.status())
                && query.session_id.as_ref().is_none_or(|id| *id == row.session.id)
                && (!query.dead || row.dead)
                && query.before.as_ref().is_none_or(|(at, id)| (row.header.created_at, &row.key.id) < (*at, id))
        };
        let newest_first = self.by_age.iter().rev().map(|(_, _, number)| &self.rows[number]);
        let results = newest_first.filter(wanted).take(query.limit.min(rules::READ_MAX)).map(|row| row.result(now));
        let (mut found, mut bytes) = (Vec::new(), 0);
        for result in results {
            if !found.is_empty() && query.max_bytes.is_some_and(|most| bytes >= most) {
                break;
            }
            bytes += result.weight();
            found.push(result);
        }
        found
    }

    pub(super) fn events(&self, key: &TaskKey, after: u64, limit: usize, max_bytes: usize) -> Option<Vec<StoredEvent>> {
        let row = self.find(key)?;
        let from = row.journal.iter().skip(usize::try_from(after).unwrap_or(usize::MAX));
        let mut found: Vec<StoredEvent> = Vec::new();
        let mut bytes = 0;
        for (_, event) in from.take(limit.min(rules::READ_MAX)) {
            if bytes >= max_bytes && !found.is_empty() {
                break;
            }
            bytes += event.weight();
            found.push(StoredEvent::clone(event));
        }
        Some(found)
    }

    pub(super) fn turns(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Vec<Turn>> {
        let place = match before {
            None => None,
            Some(id) => {
                let key = TaskKey { tenant: session.tenant.clone(), id: id.clone() };
                let row = self.find(&key).filter(|row| row.session == *session);
                row.ok_or_else(|| rules::no_task(id))?.place
            }
        };
        let mut turns = Vec::new();
        let mut bytes = 0;
        let placed = self.sessions.get(session).map(|session| &session.placed);
        let newest_first = placed.into_iter().flat_map(|placed| placed.range(..place.unwrap_or(u64::MAX)).rev());
        for (_, number) in newest_first {
            if turns.len() >= limit.min(rules::READ_MAX) || bytes >= max_bytes {
                break;
            }
            if let Some(turn) = turn(&self.rows[number])? {
                bytes += turn.prompt.len() + turn.output.as_ref().map_or(0, String::len);
                turns.push(turn);
            }
        }
        Ok(turns)
    }

    /// The place of a session's last task, unless one of them runs or waits its turn.
    pub(super) fn settled_at(&self, session: &SessionKey) -> Option<u64> {
        let Some(session) = self.sessions.get(session) else { return Some(0) };
        let is_settled = session.head.is_none() && session.waiting.is_empty();
        is_settled.then(|| session.placed.keys().next_back().copied().unwrap_or_default())
    }

    pub(super) fn waiting(&self, now: Time) -> Vec<Waiting> {
        let mut agents = BTreeMap::new();
        for row in self.rows.values().filter(|row| matches!(row.state, State::Ready | State::Running)) {
            let agent = row.session.agent.clone();
            let entry = agents.entry(agent.clone()).or_insert(Waiting { agent, ready: 0, oldest: Default::default(), running: 0 });
            if row.state == State::Running {
                entry.running += 1;
            } else {
                entry.ready += 1;
                entry.oldest = entry.oldest.max(now.since(row.ready_at));
            }
        }
        agents.into_values().collect()
    }
}

/// What a completed task left in the conversation.
fn turn(row: &Row) -> Result<Option<Turn>> {
    let Some(result) = row.result.as_ref().filter(|result| result.status == TaskStatus::Completed) else { return Ok(None) };
    let Some((_, accepted)) = row.journal.first() else { return Ok(None) };
    let Event::Accepted(task) = accepted.event()? else { return Ok(None) };
    Ok(Some(Turn {
        task_id: row.key.id.clone(),
        asked_at: row.header.created_at,
        answered_at: result.finished_at.unwrap_or(row.header.created_at),
        prompt: task.prompt,
        output: result.output.clone(),
    }))
}
