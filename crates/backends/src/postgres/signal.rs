//! Facts from outside.

use super::{args::args, failure::Refusal, keys::Passing, row, tx::Tx};
use crate::{
    life::{self, Received, Row, State},
    rules,
};
use maniple_core::{
    Error, Result, TaskKey, Time,
    ports::{Idempotency, KeyWas, Signalled},
    signal::{Signal, SignalKind},
};

pub(super) async fn signal(
    tx: &mut Tx<'_>,
    key: &TaskKey,
    signal: &Signal,
    data: &str,
    idempotency: Option<&Idempotency>,
) -> Result<(Signalled, KeyWas), Refusal> {
    // Only a cancel ends a task here, and then its session goes on.
    let seen = row::locked(tx, key, signal.kind == SignalKind::Cancel).await?;
    let mut seen = seen.ok_or_else(|| rules::no_task(&key.id))?;
    let passing = Passing::look(tx, &key.tenant, idempotency).await?;
    if passing.was == KeyWas::Known {
        let present = seen.result(tx.now)?;
        return Ok((if seen.row.state.is_final() { Signalled::Final(present) } else { Signalled::Recorded(present) }, passing.was));
    }
    let is_known = match seen.row.signals > 0 {
        true => tx.row("SELECT 1 FROM signals WHERE task = $1 AND id = $2", args![seen.row.number, &signal.id]).await?.is_some(),
        false => false,
    };
    let signalled = match life::receive(&seen.row, signal, || Ok::<_, Refusal>(is_known))? {
        Received::TooLate => Signalled::Final(seen.result(tx.now)?),
        Received::End(ending) => {
            let (result, event, _) = row::end(tx, &mut seen.row, &ending).await?;
            Signalled::Ended(result, event)
        }
        Received::Left => {
            leave(tx, &mut seen.row, &signal.id, signal.kind, data);
            Signalled::Recorded(seen.row.live(tx.now))
        }
        Received::Known => Signalled::Recorded(seen.row.live(tx.now)),
    };
    passing.keep(tx, key.id.as_str());
    Ok((signalled, passing.was))
}

/// Puts a signal into the inbox; a parked task is ready.
pub(super) fn leave(tx: &mut Tx<'_>, row: &mut Row, id: &str, kind: SignalKind, data: &str) {
    let insert = "INSERT INTO signals (task, id, kind, data, at) VALUES ($1, $2, $3, $4, $5)";
    tx.write(insert, args![row.number, id, kind.as_str(), data, tx.now]);
    tx.write("UPDATE live SET signals = signals + 1 WHERE task = $1", args![row.number]);
    row.signals += 1;
    if row.state == State::Parked {
        row::make_ready(tx, row);
    }
}

/// A question for the signals nobody has folded in, oldest first.
pub(super) const UNREAD: &str = "SELECT id, kind, data, at FROM signals WHERE task = $1 AND NOT read ORDER BY n";

/// What that found.
pub(super) fn unread(rows: &[tokio_postgres::Row]) -> Result<Vec<Signal>, Refusal> {
    let damaged = || Error::internal("a signal in the database is damaged: restore a copy");
    let read = |row: &tokio_postgres::Row| {
        let kind = SignalKind::parse(row.try_get(1)?).ok_or_else(damaged)?;
        let data = serde_json::from_str(row.try_get(2)?).map_err(|e| damaged().because(e))?;
        Ok(Signal { id: row.try_get(0)?, kind, data, at: Time(row.try_get(3)?) })
    };
    rows.iter().map(read).collect()
}
