//! What a fact from outside does.

use super::Row;
use crate::rules;
use maniple_core::{Error, signal::Signal, signal::SignalKind, task::Ending};

/// What becomes of a signal.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    /// The task is final: nothing.
    TooLate,
    /// It was never claimed, so the store ends it.
    End(Ending),
    /// It is left in the inbox.
    Left,
    /// One of its id was left before.
    Known,
}

/// Decides over a signal. `is_known` tells whether one of its id was left already; `Exhausted` for a full inbox.
pub(crate) fn receive<E: From<Error>>(row: &Row, signal: &Signal, is_known: impl FnOnce() -> Result<bool, E>) -> Result<Received, E> {
    if row.state.is_final() {
        return Ok(Received::TooLate);
    }
    if signal.kind == SignalKind::Cancel && row.never_claimed() {
        return Ok(Received::End(Ending::cancelled()));
    }
    if row.signals > 0 && is_known()? {
        return Ok(Received::Known);
    }
    if row.signals as u64 >= rules::SIGNALS_MAX {
        return Err(rules::inbox_full(&row.header.id).into());
    }
    Ok(Received::Left)
}
