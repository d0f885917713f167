//! Facts from outside.

use super::{failure::Refusal, keys, row, writer::Tx};
use crate::{
    life::{self, Received, Row, State},
    rules,
};
use maniple_core::{
    Error, Result, TaskKey, Time,
    ports::{Idempotency, KeyWas, Signalled},
    signal::{Signal, SignalKind},
};
use rusqlite::Connection;

pub(super) fn signal(
    tx: &mut Tx,
    key: &TaskKey,
    signal: &Signal,
    data: &str,
    idempotency: Option<&Idempotency>,
) -> Result<(Signalled, KeyWas), Refusal> {
    let mut row = row::find(tx.db, key)?.ok_or_else(|| rules::no_task(&key.id))?;
    let remembered = keys::known(tx, &key.tenant, idempotency)?;
    if remembered == KeyWas::Known {
        let present = row::result(tx.db, &row, tx.now)?;
        return Ok((if row.state.is_final() { Signalled::Final(present) } else { Signalled::Recorded(present) }, remembered));
    }
    let signalled = receive(tx, &mut row, signal, data)?;
    keys::keep(tx, &key.tenant, idempotency, key.id.as_str())?;
    Ok((signalled, remembered))
}

fn receive(tx: &mut Tx, row: &mut Row, signal: &Signal, data: &str) -> Result<Signalled, Refusal> {
    let is_known = || {
        let mut known = tx.db.prepare_cached("SELECT 1 FROM signals WHERE task = ?1 AND id = ?2")?;
        Ok::<_, Refusal>(known.exists((row.number, &signal.id))?)
    };
    match life::receive(row, signal, is_known)? {
        Received::TooLate => return Ok(Signalled::Final(row::result(tx.db, row, tx.now)?)),
        Received::End(ending) => {
            let (result, event, _) = row::end(tx, row, &ending)?;
            return Ok(Signalled::Ended(result, event));
        }
        Received::Left => leave(tx, row, &signal.id, signal.kind, data)?,
        Received::Known => {}
    }
    Ok(Signalled::Recorded(row.live(tx.now)))
}

/// Puts a signal into the inbox; a parked task is ready.
pub(super) fn leave(tx: &mut Tx, row: &mut Row, id: &str, kind: SignalKind, data: &str) -> Result<(), Refusal> {
    let mut insert = tx.db.prepare_cached("INSERT INTO signals (task, id, kind, data, at) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    insert.execute((row.number, id, kind.as_str(), data, tx.now.0))?;
    tx.db.prepare_cached("UPDATE tasks SET signals = signals + 1 WHERE row = ?1")?.execute([row.number])?;
    row.signals += 1;
    tx.held.remove(&row.key());
    if row.state == State::Parked {
        row::make_ready(tx, row)?;
    }
    Ok(())
}

/// The signals nobody has folded in, oldest first.
pub(super) fn unread(db: &Connection, number: i64) -> Result<Vec<Signal>, Refusal> {
    let mut select = db.prepare_cached("SELECT id, kind, data, at FROM signals WHERE task = ?1 AND read = 0 ORDER BY n")?;
    let mut rows = select.query([number])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let damaged = || Error::internal("a signal in the database is damaged: restore a copy");
        let kind = SignalKind::parse(&row.get::<_, String>(1)?).ok_or_else(damaged)?;
        let data = serde_json::from_str(&row.get::<_, String>(2)?).map_err(|e| damaged().because(e))?;
        found.push(Signal { id: row.get(0)?, kind, data, at: Time(row.get(3)?) });
    }
    Ok(found)
}
