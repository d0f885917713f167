//! What people look for: what was asked, and which conversations there are.

use super::table::{Row, Table};
use crate::rules;
use maniple_core::{
    Result, TaskId, TaskKey, Tenant, Time,
    event::Event,
    ports::{ListSessions, SessionSummary, Sessions},
};
use std::collections::BTreeSet;

impl Table {
    pub(super) fn prompts(&self, tenant: &Tenant, tasks: &[TaskId], max_chars: usize) -> Result<Vec<Option<String>>> {
        let prompt = |id: &TaskId| {
            let row = self.find(&TaskKey { tenant: tenant.clone(), id: id.clone() });
            let Some((_, first)) = row.and_then(|row| row.journal.first()) else { return Ok(None) };
            let Event::Accepted(task) = first.event()? else { return Ok(None) };
            Ok(Some(task.prompt.chars().take(max_chars).collect()))
        };
        let mut prompts: Vec<Option<String>> = tasks.iter().take(rules::READ_MAX).map(prompt).collect::<Result<_>>()?;
        prompts.resize(tasks.len(), None);
        Ok(prompts)
    }

    pub(super) fn list_sessions(&self, query: &ListSessions, now: Time) -> Sessions {
        let is_older = |row: &Row| query.before.as_ref().is_none_or(|(at, id)| (row.header.created_at, &row.key.id) < (*at, id));
        let newest_first = self.by_age.iter().rev().map(|(_, _, number)| (number, &self.rows[number]));
        let (mut sessions, mut bytes, mut place) = (Sessions::default(), 0, None);
        let of_tenant = newest_first.filter(|(_, row)| row.key.tenant == query.tenant && is_older(row));
        for (looked_at, (number, row)) in of_tenant.enumerate() {
            if looked_at >= rules::READ_MAX || query.limit == 0 {
                sessions.next = place;
                break;
            }
            let numbers = self.numbers_of(row);
            let is_last = numbers.last() == Some(number);
            if is_last && (query.agents.is_empty() || query.agents.contains(&row.session.agent)) {
                if sessions.found.len() >= query.limit || (bytes >= query.max_bytes && !sessions.found.is_empty()) {
                    sessions.next = place;
                    break;
                }
                let last = row.result(now);
                bytes += last.weight();
                let tasks = numbers.len().min(rules::READ_MAX) as u64;
                sessions.found.push(SessionSummary { id: row.session.id.clone(), agent: row.session.agent.clone(), tasks, last });
            }
            place = Some((row.header.created_at, row.key.id.clone()));
        }
        sessions
    }

    /// The tasks of the session that a task belongs to.
    fn numbers_of(&self, row: &Row) -> BTreeSet<u64> {
        let session = self.sessions.get(&row.session);
        session.map(|session| session.placed.values().chain(&session.scheduled).copied().collect()).unwrap_or_default()
    }
}
