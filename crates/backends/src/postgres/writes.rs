//! What a transaction writes: rows of the same kind in one statement, however many pieces of work they come from.

use super::args::Arg;
use std::collections::{BTreeMap, btree_map::Entry};

/// The rows that are written most, in the order in which their statements go. Those of one piece of work differ from those of every
/// other in the same transaction: it has them under its locks. What is not under a lock is sorted, so that nobody waits in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rows {
    /// `hash`, `data` of definitions, whoever has them first.
    Definitions,
    /// A task that is accepted: `number`, `tenant`, `id`, `agent`, `session`, `priority`, `place`, `created_at`, `not_before`,
    /// `deadline`, `content_hash`, `trace_id`, `retry_of`.
    Accepted,
    /// What moves of it: `task`, `tenant`, `agent`, `session`, `state`, `is_head`, `place`, `due`, `worker`, `lease_until`, `epoch`,
    /// `born`, `at`, `last_seq`, `last_step`, `started_at`, `definition`, `publish`.
    Live,
    /// A fact: `task`, `epoch`, `at`, `seq`, `step`, `name`, `data`.
    Events,
    /// What an append that does not end a task leaves of it: `task`, `last_seq`, `last_step`, `progressed`, `barren_expired`,
    /// `steps_used`, `tokens_used`, `tool_calls`, `cost_usd`, `model`, `at`.
    Kept,
    /// With which definitions it began: `task`, `definition`.
    Defined,
    /// A task that ended: `number`, `state`, `finished_at`, `last_seq`, `last_step`, `place`, `dead`.
    Ended,
    /// The `task` that moves no more.
    NoLongerLive,
    /// The `task` that was ready and is no more.
    NoLongerReady,
    /// The `task` of which nobody is asked any more.
    NoLongerAsked,
    /// It is nobody's, and its session's head where another may have been that before: `task`, `due`, `at`.
    MadeReady,
    /// A task that anybody may claim: `task`, `place`, `ready_at`.
    Ready,
    /// A key of a call: `tenant`, `scope`, `key`, `body_hash`, `made`, `at`.
    Keys,
    /// A record that became a task: `tenant`, `agent`, `sent_id`, `hash`, `task`, `topic`, `partition`, `offset`, `at`.
    Records,
    /// What is told outside: `task`, `topic`, `key`, `trace_id`, `at`, `event_id`, `payload`.
    Told,
    /// How much that is of its line: `topic`, `key`, `waiting`, `due`.
    Lines,
}

impl Rows {
    /// Each column of rows is one parameter.
    const fn sql(self) -> &'static str {
        match self {
            Self::Definitions => {
                "INSERT INTO definitions (hash, data) SELECT * FROM unnest($1::text[], $2::text[]) d(hash, data) ORDER BY hash \
                 ON CONFLICT DO NOTHING"
            }
            Self::Accepted => {
                "INSERT INTO tasks (number, tenant, id, agent, session, priority, place, created_at, not_before, deadline, content_hash, \
                 trace_id, retry_of) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], \
                 $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[])"
            }
            Self::Live => {
                "INSERT INTO live (task, tenant, agent, session, state, is_head, place, due, worker, lease_until, epoch, born, at, last_seq, \
                 last_step, started_at, definition, publish) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], \
                 $5::bigint[], $6::boolean[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], \
                 $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::text[], $18::text[])"
            }
            Self::Events => {
                "INSERT INTO events (task, epoch, at, seq, step, name, data) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], \
                 $4::bigint[], $5::bigint[], $6::text[], $7::text[])"
            }
            Self::Kept => {
                "UPDATE live l SET last_seq = k.last_seq, last_step = k.last_step, progressed = k.progressed, \
                 barren_expired = k.barren_expired, steps_used = k.steps_used, tokens_used = k.tokens_used, tool_calls = k.tool_calls, \
                 cost_usd = k.cost_usd, model = k.model, at = k.at \
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[], $5::bigint[], $6::bigint[], $7::bigint[], \
                   $8::bigint[], $9::double precision[], $10::text[], $11::bigint[]) \
                   k(task, last_seq, last_step, progressed, barren_expired, steps_used, tokens_used, tool_calls, cost_usd, model, at) \
                 WHERE l.task = k.task"
            }
            Self::Defined => {
                "UPDATE live l SET definition = d.hash FROM unnest($1::bigint[], $2::text[]) d(task, hash) WHERE l.task = d.task"
            }
            Self::Ended => {
                "UPDATE tasks t SET state = e.state, finished_at = e.finished_at, last_seq = e.last_seq, last_step = e.last_step, \
                 place = e.place, dead = e.dead, definition = (SELECT definition FROM live WHERE task = e.number) \
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[]) \
                   e(number, state, finished_at, last_seq, last_step, place, dead) WHERE t.number = e.number"
            }
            Self::NoLongerLive => "DELETE FROM live WHERE task = ANY($1)",
            Self::NoLongerReady => "DELETE FROM ready WHERE task = ANY($1)",
            Self::NoLongerAsked => {
                "UPDATE approvals SET listed = false, state = CASE state WHEN 'open' THEN 'expired' ELSE state END \
                 WHERE task = ANY($1) AND listed"
            }
            Self::MadeReady => {
                "UPDATE live l SET state = 2, is_head = true, until = NULL, waiting_for = NULL, due = r.due, worker = NULL, \
                 lease_until = NULL, at = r.at FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) r(task, due, at) WHERE l.task = r.task"
            }
            Self::Ready => {
                "INSERT INTO ready (task, agent, tenant, priority, place, ready_at) \
                 SELECT t.number, t.agent, t.tenant, t.priority, r.place, r.at \
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) r(task, place, at) JOIN tasks t ON t.number = r.task"
            }
            Self::Keys => {
                "INSERT INTO keys (tenant, scope, key, body_hash, made, at) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], \
                 $4::text[], $5::text[], $6::bigint[])"
            }
            Self::Records => {
                "INSERT INTO ingest (tenant, agent, sent_id, hash, task, topic, \"partition\", \"offset\", at) SELECT * FROM \
                 unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[])"
            }
            Self::Told => {
                "INSERT INTO outbox (task, topic, key, trace_id, at, event_id, payload) SELECT * FROM unnest($1::bigint[], $2::text[], \
                 $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[])"
            }
            Self::Lines => {
                "INSERT INTO outbox_lines (topic, key, waiting, due) SELECT topic, key, sum(waiting), min(due) \
                 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) l(topic, key, waiting, due) \
                 GROUP BY topic, key ORDER BY topic, key \
                 ON CONFLICT (topic, key) DO UPDATE SET waiting = outbox_lines.waiting + excluded.waiting"
            }
        }
    }
}

/// All that a transaction writes.
#[derive(Default)]
pub(super) struct Writes {
    /// As they came, before all rows.
    statements: Vec<(String, Vec<Arg>)>,
    /// A column for each value of a row.
    rows: BTreeMap<Rows, Vec<Arg>>,
}

impl Writes {
    pub(super) fn write(&mut self, sql: String, values: Vec<Arg>) {
        self.statements.push((sql, values));
    }
    pub(super) fn put(&mut self, rows: Rows, values: Vec<Arg>) {
        self.add_columns(rows, values.into_iter().map(Arg::into_column).collect());
    }
    /// Adds those of another piece of work.
    pub(super) fn add(&mut self, other: Self) {
        self.statements.extend(other.statements);
        other.rows.into_iter().for_each(|(rows, columns)| self.add_columns(rows, columns));
    }
    fn add_columns(&mut self, rows: Rows, columns: Vec<Arg>) {
        match self.rows.entry(rows) {
            Entry::Vacant(none) => {
                none.insert(columns);
            }
            Entry::Occupied(mut own) => own.get_mut().iter_mut().zip(columns).for_each(|(own, more)| own.append(more)),
        }
    }
    pub(super) fn into_statements(self) -> Vec<(String, Vec<Arg>)> {
        let mut statements = self.statements;
        statements.extend(self.rows.into_iter().map(|(rows, columns)| (rows.sql().to_owned(), columns)));
        statements
    }
}
