//! What people are asked, and what they say. The request itself is its event; the row says what became of it.

use super::{failure::Refusal, keys, signal, writer::Tx};
use crate::{
    life::{Row, State},
    rules,
};
use maniple_core::{
    AgentName, Error, Result, TaskId, TaskKey, Tenant, Time,
    event::{Answer, ApprovalRequested},
    ports::{Also, Append, Approval, ApprovalState, Decided, Decision, Idempotency, KeyWas, ListApprovals},
};
use rusqlite::{Connection, ToSql, params};
use std::fmt::Write;

/// The request that an append says nobody decided in time, though somebody did.
pub(super) fn overlooked(db: &Connection, row: &Row, also: &[Also]) -> Result<Option<String>, Refusal> {
    for id in rules::expired(also) {
        let mut decided =
            db.prepare_cached("SELECT 1 FROM approvals WHERE tenant = ?1 AND id = ?2 AND task = ?3 AND decision IS NOT NULL")?;
        if decided.exists((row.tenant.as_str(), id, row.number))? {
            return Ok(Some(id.to_owned()));
        }
    }
    Ok(None)
}

/// Puts the question of an append to people.
pub(super) fn ask(tx: &Tx, row: &Row, append: &Append, event: usize) -> Result<(), Refusal> {
    let request = rules::asked(append, event)?;
    let mut insert = tx.db.prepare_cached(
        "INSERT INTO approvals (event, task, tenant, id, agent, requested_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT DO NOTHING",
    )?;
    let event = row.number << 20 | (append.after as i64 + 1 + event as i64);
    let agent = row.header.agent.as_str();
    insert.execute((event, row.number, row.tenant.as_str(), &request.id, agent, tx.now.0, request.expires_at.0))?;
    Ok(())
}

/// What was said to a question.
pub(super) fn settle(tx: &Tx, row: &Row, id: &str, answer: Answer) -> Result<(), Refusal> {
    let mut update = tx.db.prepare_cached("UPDATE approvals SET state = ?4 WHERE tenant = ?1 AND id = ?2 AND task = ?3")?;
    update.execute((row.tenant.as_str(), id, row.number, ApprovalState::of(answer).as_str()))?;
    Ok(())
}

/// The task ends: what is open is asked no more, and nothing of it is listed.
pub(super) fn close(tx: &Tx, row: &Row) -> Result<(), Refusal> {
    let mut close = tx.db.prepare_cached(
        "UPDATE approvals SET listed = NULL, state = CASE state WHEN 'open' THEN 'expired' ELSE state END WHERE task = ?1",
    )?;
    close.execute([row.number])?;
    Ok(())
}

/// The task goes.
pub(super) fn remove(tx: &Tx, task: i64) -> Result<(), Refusal> {
    tx.db.prepare_cached("DELETE FROM approvals WHERE task = ?1")?.execute([task])?;
    Ok(())
}

const SELECT: &str = "SELECT e.data, e.step, t.id, a.agent, a.requested_at, a.state, a.decision, a.decided_at, a.task, t.state \
     FROM approvals a JOIN events e ON e.id = a.event JOIN tasks t ON t.row = a.task WHERE a.tenant = ?";

struct Found {
    approval: Approval,
    task: i64,
    ended: bool,
}

fn read(row: &rusqlite::Row, tenant: &Tenant, now: Time) -> Result<Found, Refusal> {
    let damaged = || Error::internal("an approval in the database is damaged: restore a copy");
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let request: ApprovalRequested = serde_json::from_str(text(0)?).map_err(|e| damaged().because(e))?;
    let state = ApprovalState::parse(text(5)?).ok_or_else(damaged)?;
    let decision = row.get_ref(6)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let decision = decision.map(serde_json::from_str).transpose().map_err(|e| damaged().because(e))?;
    let approval = Approval {
        key: TaskKey { tenant: tenant.clone(), id: TaskId::parse(text(2)?)? },
        agent: AgentName::parse(text(3)?)?,
        step: row.get(1)?,
        requested_at: Time(row.get(4)?),
        state: rules::state_at(state, request.expires_at, now),
        request,
        decision,
        decided_at: row.get::<_, Option<i64>>(7)?.map(Time),
    };
    Ok(Found { approval, task: row.get(8)?, ended: row.get::<_, i64>(9)? >= State::Completed as i64 })
}

pub(super) fn list(db: &Connection, query: &ListApprovals, now: Time) -> Result<Vec<Approval>, Refusal> {
    let tenant = query.tenant.as_str();
    let agents: Vec<&str> = query.agents.iter().map(AgentName::as_str).collect();
    let task = query.task.as_ref().map(TaskId::as_str);
    let after = query.after.as_ref().map(|(at, id)| (at.0, id.as_str()));
    let limit = query.limit.min(rules::READ_MAX) as i64;

    let mut sql = format!("{SELECT} AND a.listed = 1");
    let mut values: Vec<&dyn ToSql> = vec![&tenant];
    if !agents.is_empty() {
        let _ = write!(sql, " AND a.agent IN ({})", vec!["?"; agents.len()].join(", "));
        values.extend(agents.iter().map(|agent| agent as &dyn ToSql));
    }
    if let Some(task) = &task {
        sql.push_str(" AND t.id = ?");
        values.push(task);
    }
    if let Some((at, id)) = &after {
        sql.push_str(" AND (a.requested_at, a.id) > (?, ?)");
        values.extend([at as &dyn ToSql, id]);
    }
    match query.state {
        None => {}
        Some(ApprovalState::Open) => {
            sql.push_str(" AND a.state = 'open' AND a.expires_at > ?");
            values.push(&now.0);
        }
        Some(ApprovalState::Expired) => {
            sql.push_str(" AND (a.state = 'expired' OR a.state = 'open' AND a.expires_at <= ?)");
            values.push(&now.0);
        }
        Some(ApprovalState::Approved) => sql.push_str(" AND a.state = 'approved'"),
        Some(ApprovalState::Denied) => sql.push_str(" AND a.state = 'denied'"),
    }
    sql.push_str(" ORDER BY a.requested_at, a.id LIMIT ?");
    values.push(&limit);

    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(values.as_slice())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row, &query.tenant, now)?.approval);
    }
    Ok(found)
}

pub(super) fn get(db: &Connection, tenant: &Tenant, id: &str, now: Time) -> Result<Option<Approval>, Refusal> {
    Ok(find(db, tenant, id, now)?.map(|found| found.approval))
}

fn find(db: &Connection, tenant: &Tenant, id: &str, now: Time) -> Result<Option<Found>, Refusal> {
    let mut select = db.prepare_cached(&format!("{SELECT} AND a.id = ?"))?;
    let mut rows = select.query((tenant.as_str(), id))?;
    rows.next()?.map(|row| read(row, tenant, now)).transpose()
}

pub(super) fn decide(
    tx: &mut Tx,
    tenant: &Tenant,
    id: &str,
    decision: &Decision,
    idempotency: Option<&Idempotency>,
) -> Result<(Decided, KeyWas), Refusal> {
    let found = find(tx.db, tenant, id, tx.now)?.ok_or_else(|| rules::no_approval(id))?;
    let mut approval = found.approval;
    if keys::known(tx, tenant, idempotency)? == KeyWas::Known {
        return Ok((Decided { approval, fresh: false }, KeyWas::Known));
    }
    let is_new = rules::decides(&approval, decision, found.ended)?;
    keys::keep(tx, tenant, idempotency, id)?;
    if !is_new {
        return Ok((Decided { approval, fresh: false }, KeyWas::New));
    }
    (approval.state, approval.decision, approval.decided_at) = (decision.state(), Some(decision.clone()), Some(tx.now));
    let unwritable = |e: serde_json::Error| Error::internal("a decision cannot be written").because(e);
    let data = serde_json::to_string(decision).map_err(unwritable)?;
    let mut update =
        tx.db.prepare_cached("UPDATE approvals SET state = ?3, decision = ?4, decided_at = ?5 WHERE tenant = ?1 AND id = ?2")?;
    update.execute(params![tenant.as_str(), id, approval.state.as_str(), data, tx.now.0])?;
    let told = decision.signal(id);
    let mut row = super::row::fetch(tx.db, found.task)?;
    signal::leave(tx, &mut row, &told.id, told.kind, &serde_json::to_string(&told.data).map_err(unwritable)?)?;
    Ok((Decided { approval, fresh: true }, KeyWas::New))
}
