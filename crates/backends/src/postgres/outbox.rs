//! What is told outside: written with the facts themselves, taken line by line, deleted once it was heard.
//!
//! A line, (topic, key), has a row of its own for as long as it has rows to send. Whoever adds rows counts them there, so a line that
//! is let go of while somebody adds to it is never lost: one waits for the other. Nothing is read behind a number, for numbers are
//! given before they are committed.

use super::{
    TaskStore,
    args::args,
    failure::Refusal,
    tx::{Tx, look, transact},
    writes::Rows,
};
use crate::life::Row;
use async_trait::async_trait;
use maniple_core::{
    Error, Result, TaskId,
    event::{FRAME_TAIL, StoredEvent},
    ports::{self, Backlog, Line, OutboxRow, Publish, ResultFact, Settled},
    task::AgentResult,
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(super) fn write_publish(publish: &Publish) -> String {
    json!(publish).to_string()
}

pub(super) fn read_publish(text: &str) -> Result<Publish, Refusal> {
    let read = serde_json::from_str(text);
    read.map_err(|e| Error::internal("how a task is to be published cannot be read: restore a copy").because(e).into())
}

/// Tells of events, where every event is told.
pub(super) fn tell_events(tx: &mut Tx<'_>, row: &Row, events: &[Arc<StoredEvent>]) {
    let Some(publish) = row.publish.as_ref().filter(|publish| publish.steps) else { return };
    let sent_id = publish.sent_id.as_deref().and_then(|id| TaskId::parse(id).ok());
    let task_id = sent_id.as_ref().unwrap_or(&row.header.id);
    let payloads = events.iter().map(|event| {
        let shown = event.clone().shown(false);
        (event.seq, shown.frame_head(task_id) + shown.data.get() + FRAME_TAIL)
    });
    let payloads = payloads.collect();
    put(tx, row, row.header.agent.events_topic(), payloads);
}

/// Tells of the end of a task.
pub(super) fn tell_end(tx: &mut Tx<'_>, row: &Row, result: &AgentResult, event: &StoredEvent) {
    let Some(publish) = &row.publish else { return };
    let told = json!(ResultFact::of(result, publish)).to_string();
    put(tx, row, row.header.agent.results_topic(), vec![(event.seq, told)]);
}

fn put(tx: &mut Tx<'_>, row: &Row, topic: String, payloads: Vec<(u64, String)>) {
    let (task_id, key, count) = (row.header.id.as_str(), row.header.session_id.as_str(), payloads.len());
    for (seq, payload) in payloads {
        let event_id = format!("{task_id}:{seq}");
        tx.put(Rows::Told, args![row.number, &topic, key, row.header.trace_id.clone(), tx.now, event_id, payload]);
    }
    tx.put(Rows::Lines, args![&topic, key, count, tx.now]);
}

#[async_trait]
impl ports::Outbox for TaskStore {
    async fn take(&self, holder: &str, lines: usize, rows: usize, max_bytes: usize, lease: Duration) -> Result<Vec<Line>> {
        transact!(self.link, tx => take(&mut tx, holder, lines, rows, max_bytes, lease))
    }

    async fn settle(&self, holder: &str, settled: &Settled) -> Result<()> {
        transact!(self.link, tx => settle(&mut tx, holder, settled))
    }

    async fn backlog(&self) -> Result<Backlog> {
        look!(self.link, tx => backlog(&tx))
    }
}

async fn take(tx: &mut Tx<'_>, holder: &str, lines: usize, rows: usize, max_bytes: usize, lease: Duration) -> Result<Vec<Line>, Refusal> {
    tx.under_locks(Vec::new()).await?;
    let hold = "UPDATE outbox_lines l SET holder = $1, due = $2 FROM (\
                  SELECT topic, key FROM outbox_lines WHERE due <= $3 ORDER BY due LIMIT $4 FOR UPDATE SKIP LOCKED) d \
                WHERE l.topic = d.topic AND l.key = d.key RETURNING l.topic, l.key, l.failures";
    let mut held = BTreeMap::new();
    let (mut topics, mut keys) = (Vec::new(), Vec::new());
    for row in tx.rows(hold, args![holder, tx.now.plus(lease), tx.now, lines]).await? {
        let (topic, key): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let failures = u32::try_from(row.try_get::<_, i64>(2)?).unwrap_or(u32::MAX);
        topics.push(topic.clone());
        keys.push(key.clone());
        held.insert((topic.clone(), key.clone()), Line { topic, key, failures, rows: Vec::new() });
    }
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let oldest = "SELECT topic, key, n, event_id, trace_id, payload FROM (\
                    SELECT o.*, sum(octet_length(o.payload)) OVER (PARTITION BY o.topic, o.key ORDER BY o.n) - octet_length(o.payload) AS before \
                    FROM unnest($1::text[], $2::text[]) AS l (topic, key) CROSS JOIN LATERAL \
                      (SELECT * FROM outbox WHERE topic = l.topic AND key = l.key ORDER BY n LIMIT $3) o) r \
                  WHERE before < $4 ORDER BY n";
    for row in tx.rows(oldest, args![topics, keys, rows, max_bytes]).await? {
        let (topic, key): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if let Some(line) = held.get_mut(&(topic, key)) {
            let event_id = row.try_get::<_, Option<String>>(3)?.unwrap_or_default();
            line.rows.push(OutboxRow { number: row.try_get(2)?, event_id, trace_id: row.try_get(4)?, payload: row.try_get(5)? });
        }
    }
    Ok(held.into_values().collect())
}

async fn settle(tx: &mut Tx<'_>, holder: &str, settled: &Settled) -> Result<(), Refusal> {
    let Settled { topic, key, sent, pause, failures } = settled;
    // The line first: whoever adds to it has it too.
    tx.under_locks(vec![super::tx::Ask("SELECT 1 FROM outbox_lines WHERE topic = $1 AND key = $2 FOR UPDATE", args![topic, key])]).await?;
    let settle = "WITH gone AS (DELETE FROM outbox WHERE n = ANY($3) RETURNING 1) \
                  UPDATE outbox_lines SET waiting = waiting - (SELECT count(*) FROM gone), \
                    due = CASE WHEN holder = $4 THEN $5 ELSE due END, \
                    failures = CASE WHEN holder = $4 THEN $6 ELSE failures END, \
                    holder = CASE WHEN holder = $4 THEN NULL ELSE holder END \
                  WHERE topic = $1 AND key = $2";
    tx.write(settle, args![topic, key, sent.clone(), holder, tx.now.plus(*pause), *failures]);
    tx.write("DELETE FROM outbox_lines WHERE topic = $1 AND key = $2 AND waiting <= 0", args![topic, key]);
    Ok(())
}

async fn backlog(tx: &Tx<'_>) -> Result<Backlog, Refusal> {
    let sql = "SELECT coalesce(sum(waiting), 0)::bigint, count(*) FILTER (WHERE failures > 0), \
                 (SELECT at FROM outbox ORDER BY n LIMIT 1) FROM outbox_lines";
    let Some(row) = tx.row(sql, args![]).await? else { return Ok(Backlog::default()) };
    let count = |column: usize| row.try_get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or_default());
    let oldest = row.try_get::<_, Option<i64>>(2)?.map_or(0, |at| tx.now.0.saturating_sub(at).max(0));
    Ok(Backlog { rows: count(0)?, blocked: count(1)?, oldest: Duration::from_millis(oldest.unsigned_abs()) })
}
