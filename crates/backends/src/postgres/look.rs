//! What people look for: what was asked, and which conversations there are.

use super::{
    args::args,
    failure::Refusal,
    row::{COLUMNS, columns, seen, tables},
    tx::Tx,
};
use crate::rules;
use maniple_core::{
    Result, TaskId, Tenant,
    ports::{ListSessions, SessionSummary, Sessions},
};
use serde::Deserialize;
use std::collections::HashMap;

/// How many are read at once.
const PAGE: usize = 16;

#[derive(Deserialize)]
struct Asked {
    prompt: String,
}

/// Prompts are cut here: as JSON they may hold what Postgres cannot unfold.
pub(super) async fn prompts(tx: &Tx<'_>, tenant: &Tenant, tasks: &[TaskId], max_chars: usize) -> Result<Vec<Option<String>>, Refusal> {
    let sql = "SELECT t.id, e.data FROM tasks t JOIN events e ON e.task = t.number AND e.seq = 1 \
               WHERE t.tenant = $1 AND t.id = ANY($2) AND t.gone_until IS NULL";
    let mut prompts = Vec::with_capacity(tasks.len());
    for page in tasks[..tasks.len().min(rules::READ_MAX)].chunks(PAGE) {
        let ids: Vec<String> = page.iter().map(ToString::to_string).collect();
        let mut found: HashMap<String, String> = HashMap::new();
        for row in tx.rows(sql, args![tenant.as_str(), ids.clone()]).await? {
            if let Ok(asked) = serde_json::from_str::<Asked>(row.try_get(1)?) {
                found.insert(row.try_get(0)?, asked.prompt.chars().take(max_chars).collect());
            }
        }
        prompts.extend(ids.iter().map(|id| found.get(id).cloned()));
    }
    prompts.resize(tasks.len(), None);
    Ok(prompts)
}

/// Walks the tasks by age and keeps the last of each conversation.
pub(super) async fn sessions(tx: &Tx<'_>, query: &ListSessions) -> Result<Sessions, Refusal> {
    // Of the last of each session, how many tasks there are. Numbers follow acceptance within a session, whose lock each acceptance
    // takes; a task that takes its place at once has its number there, and one that takes it later a higher one, and until then none.
    const SQL: &str = concat!(
        "SELECT ",
        columns!(),
        ", CASE WHEN NOT EXISTS (SELECT 1 FROM tasks o WHERE o.tenant = t.tenant AND o.agent = t.agent AND o.session = t.session \
           AND o.place > t.number AND o.number > t.number AND o.gone_until IS NULL) \
         AND NOT EXISTS (SELECT 1 FROM tasks o WHERE o.tenant = t.tenant AND o.agent = t.agent AND o.session = t.session \
           AND o.place IS NULL AND o.number > t.number AND o.gone_until IS NULL) \
         THEN (SELECT count(*) FROM (SELECT 1 FROM tasks o WHERE o.tenant = t.tenant AND o.agent = t.agent AND o.session = t.session \
           AND o.gone_until IS NULL LIMIT 10000) c) END FROM ",
        tables!(),
        " WHERE t.tenant = $1 AND t.gone_until IS NULL AND (t.created_at, t.id) < ($2, $3) ORDER BY t.created_at DESC, t.id DESC LIMIT $4"
    );
    let mut here = query.before.as_ref().map_or((i64::MAX, String::new()), |(at, id)| (at.0, id.to_string()));
    let (mut sessions, mut bytes, mut place, mut looked_at) = (Sessions::default(), 0, None, 0);
    loop {
        let rows = tx.rows(SQL, args![query.tenant.as_str(), here.0, &here.1, 4 * PAGE]).await?;
        for row in &rows {
            if looked_at >= rules::READ_MAX || query.limit == 0 {
                sessions.next = place;
                return Ok(sessions);
            }
            looked_at += 1;
            let (seen, tasks) = (seen(row)?, row.try_get::<_, Option<i64>>(COLUMNS)?);
            let header = &seen.row.header;
            let next = (header.created_at, header.id.clone());
            if let Some(tasks) = tasks.filter(|_| query.agents.is_empty() || query.agents.contains(&header.agent)) {
                // This one only tells that there are more.
                if sessions.found.len() >= query.limit || (bytes >= query.max_bytes && !sessions.found.is_empty()) {
                    sessions.next = place;
                    return Ok(sessions);
                }
                let last = seen.result(tx.now)?;
                bytes += last.weight();
                let (id, agent) = (header.session_id.clone(), header.agent.clone());
                sessions.found.push(SessionSummary { id, agent, tasks: tasks as u64, last });
            }
            here = (next.0.0, next.1.to_string());
            place = Some(next);
        }
        if rows.len() < 4 * PAGE {
            return Ok(sessions);
        }
    }
}
