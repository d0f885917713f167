//! What people are asked, and what they say. The request itself is its event; the row says what became of it.

use super::{
    args::{Arg, args},
    failure::Refusal,
    keys::Passing,
    row, signal,
    tx::Tx,
};
use crate::{
    life::{Row, State},
    rules,
};
use maniple_core::{
    AgentName, Error, Result, TaskId, TaskKey, Tenant, Time,
    event::{Answer, ApprovalRequested},
    ports::{Also, Append, Approval, ApprovalState, Decided, Decision, Idempotency, KeyWas, ListApprovals},
};
use std::fmt::Write;

/// The request that an append says nobody decided in time, though somebody did.
pub(super) async fn overlooked(tx: &Tx<'_>, row: &Row, also: &[Also]) -> Result<Option<String>, Refusal> {
    for id in rules::expired(also) {
        let decided = "SELECT 1 FROM approvals WHERE tenant = $1 AND id = $2 AND task = $3 AND decision IS NOT NULL";
        if tx.row(decided, args![row.tenant.as_str(), id, row.number]).await?.is_some() {
            return Ok(Some(id.to_owned()));
        }
    }
    Ok(None)
}

/// Puts the question of an append to people.
pub(super) fn ask(tx: &mut Tx<'_>, row: &Row, append: &Append, event: usize) -> Result<(), Refusal> {
    let request = rules::asked(append, event)?;
    let insert = "INSERT INTO approvals (task, seq, tenant, id, agent, requested_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                  ON CONFLICT DO NOTHING";
    let seq = append.after + 1 + event as u64;
    let agent = row.header.agent.as_str();
    tx.write(insert, args![row.number, seq, row.tenant.as_str(), &request.id, agent, tx.now, request.expires_at]);
    Ok(())
}

/// What was said to a question.
pub(super) fn settle(tx: &mut Tx<'_>, row: &Row, id: &str, answer: Answer) {
    let update = "UPDATE approvals SET state = $4 WHERE tenant = $1 AND id = $2 AND task = $3";
    tx.write(update, args![row.tenant.as_str(), id, row.number, ApprovalState::of(answer).as_str()]);
}

const SELECT: &str = "SELECT e.data, e.step, t.id, a.agent, a.requested_at, a.state, a.decision, a.decided_at, t.state \
     FROM approvals a JOIN events e ON e.task = a.task AND e.seq = a.seq JOIN tasks t ON t.number = a.task WHERE a.tenant = $1";

struct Found {
    approval: Approval,
    ended: bool,
}

fn read(row: &tokio_postgres::Row, tenant: &Tenant, now: Time) -> Result<Found, Refusal> {
    let damaged = || Error::internal("an approval in the database is damaged: restore a copy");
    let request: ApprovalRequested = serde_json::from_str(row.try_get(0)?).map_err(|e| damaged().because(e))?;
    let state = ApprovalState::parse(row.try_get(5)?).ok_or_else(damaged)?;
    let decision = row.try_get::<_, Option<&str>>(6)?;
    let decision = decision.map(serde_json::from_str).transpose().map_err(|e| damaged().because(e))?;
    let approval = Approval {
        key: TaskKey { tenant: tenant.clone(), id: TaskId::parse(row.try_get(2)?)? },
        agent: AgentName::parse(row.try_get(3)?)?,
        step: u32::try_from(row.try_get::<_, i64>(1)?).unwrap_or(u32::MAX),
        requested_at: Time(row.try_get(4)?),
        state: rules::state_at(state, request.expires_at, now),
        request,
        decision,
        decided_at: row.try_get::<_, Option<i64>>(7)?.map(Time),
    };
    Ok(Found { approval, ended: row.try_get::<_, Option<i64>>(8)?.is_some_and(|state| state >= State::Completed as i64) })
}

pub(super) async fn list(tx: &Tx<'_>, query: &ListApprovals) -> Result<Vec<Approval>, Refusal> {
    let mut sql = format!("{SELECT} AND a.listed");
    let mut values = args![query.tenant.as_str()];
    let mut and = |values: &mut Vec<Arg>, condition: &str, value: Arg| {
        values.push(value);
        let _ = write!(sql, " AND {}", condition.replace('?', &format!("${}", values.len())));
    };
    if !query.agents.is_empty() {
        and(&mut values, "a.agent = ANY(?)", Arg::from(query.agents.iter().map(ToString::to_string).collect::<Vec<_>>()));
    }
    if let Some(task) = &query.task {
        and(&mut values, "t.id = ?", Arg::from(task.as_str()));
    }
    if let Some((at, id)) = &query.after {
        values.push(Arg::from(*at));
        let at = values.len();
        and(&mut values, &format!("(a.requested_at, a.id) > (${at}, ?)"), Arg::from(id));
    }
    match query.state {
        None => {}
        Some(ApprovalState::Open) => and(&mut values, "a.state = 'open' AND a.expires_at > ?", Arg::from(tx.now)),
        Some(ApprovalState::Expired) => {
            and(&mut values, "(a.state = 'expired' OR a.state = 'open' AND a.expires_at <= ?)", Arg::from(tx.now))
        }
        Some(state @ (ApprovalState::Approved | ApprovalState::Denied)) => and(&mut values, "a.state = ?", Arg::from(state.as_str())),
    }
    values.push(Arg::from(query.limit.min(rules::READ_MAX)));
    let _ = write!(sql, " ORDER BY a.requested_at, a.id LIMIT ${}", values.len());
    tx.rows(&sql, values).await?.iter().map(|row| read(row, &query.tenant, tx.now).map(|found| found.approval)).collect()
}

pub(super) async fn get(tx: &Tx<'_>, tenant: &Tenant, id: &str) -> Result<Option<Approval>, Refusal> {
    Ok(find(tx, tenant, id).await?.map(|found| found.approval))
}

async fn find(tx: &Tx<'_>, tenant: &Tenant, id: &str) -> Result<Option<Found>, Refusal> {
    let row = tx.row(&format!("{SELECT} AND a.id = $2"), args![tenant.as_str(), id]).await?;
    row.map(|row| read(&row, tenant, tx.now)).transpose()
}

pub(super) async fn decide(
    tx: &mut Tx<'_>,
    tenant: &Tenant,
    id: &str,
    decision: &Decision,
    idempotency: Option<&Idempotency>,
) -> Result<(Decided, KeyWas), Refusal> {
    // Its task does not change, and the task's lock is that of its questions.
    let task = find(tx, tenant, id).await?.ok_or_else(|| rules::no_approval(id))?.approval.key;
    let mut seen = row::locked(tx, &task, false).await?.ok_or_else(|| rules::no_approval(id))?;
    let Found { mut approval, ended } = find(tx, tenant, id).await?.ok_or_else(|| rules::no_approval(id))?;
    let passing = Passing::look(tx, tenant, idempotency).await?;
    if passing.was == KeyWas::Known {
        return Ok((Decided { approval, fresh: false }, passing.was));
    }
    let is_new = rules::decides(&approval, decision, ended)?;
    passing.keep(tx, id);
    if !is_new {
        return Ok((Decided { approval, fresh: false }, KeyWas::New));
    }
    (approval.state, approval.decision, approval.decided_at) = (decision.state(), Some(decision.clone()), Some(tx.now));
    let unwritable = |e: serde_json::Error| Error::internal("a decision cannot be written").because(e);
    let data = serde_json::to_string(decision).map_err(unwritable)?;
    let update = "UPDATE approvals SET state = $3, decision = $4, decided_at = $5 WHERE tenant = $1 AND id = $2";
    tx.write(update, args![tenant.as_str(), id, approval.state.as_str(), data, tx.now]);
    let told = decision.signal(id);
    signal::leave(tx, &mut seen.row, &told.id, told.kind, &serde_json::to_string(&told.data).map_err(unwritable)?);
    Ok((Decided { approval, fresh: true }, KeyWas::New))
}
