//! Whether facts may be recorded, and whether they were already.

use super::Row;
use crate::rules::{self, Draft};
use maniple_core::{
    event::StoredEvent,
    ports::{Append, Refused, Then},
    signal::Signal,
};

/// What becomes of an append.
#[derive(Debug, PartialEq)]
pub(crate) enum Recording {
    /// It is recorded.
    Now,
    /// Its numbers are not next, or its claim does not hold: it may have been recorded before; see [`repeats`].
    PerhapsBefore,
    /// What goes with it cannot.
    Refused(Refused),
}

/// Decides over an append to a task. `unread` are its signals, asked for only as it parks; `decided` the question that
/// the append says nobody answered in time although somebody has.
pub(crate) fn record<E>(
    row: &Row,
    append: &Append,
    unread: impl FnOnce() -> Result<Vec<Signal>, E>,
    decided: impl FnOnce() -> Result<Option<String>, E>,
) -> Result<Recording, E> {
    if !row.is_held_under(append.claim.epoch) || row.last_seq as u64 != append.after {
        return Ok(Recording::PerhapsBefore);
    }
    if matches!(append.then, Then::Park(_)) && row.signals > 0 && unread()?.iter().any(|signal| !append.signals_read.contains(&signal.id)) {
        return Ok(Recording::Refused(Refused::SignalsUnread));
    }
    Ok(decided()?.map_or(Recording::Now, |id| Recording::Refused(Refused::Decided(id))))
}

/// How many events an append would have recorded, if it can have been recorded before. A holder that would go on must
/// still hold its claim.
pub(crate) fn repeats_count(row: &Row, append: &Append, drafts: &[Draft]) -> Option<usize> {
    match &append.then {
        Then::Keep => (row.is_held_under(append.claim.epoch) && !drafts.is_empty()).then_some(drafts.len()),
        Then::Park(_) => Some(drafts.len()),
        Then::End(_) => Some(drafts.len() + 1),
    }
}

/// Whether these events, each with its epoch, are what the append says: its reply was lost.
pub(crate) fn repeats(append: &Append, drafts: &[Draft], stored: &[(i64, StoredEvent)]) -> bool {
    let own = stored.iter().all(|(epoch, _)| *epoch as u64 == append.claim.epoch);
    let alike = drafts.len() <= stored.len() && drafts.iter().zip(stored).all(|(draft, (_, stored))| draft.is(stored));
    let ended = match &append.then {
        Then::Keep | Then::Park(_) => stored.len() == drafts.len(),
        Then::End(ending) => stored.len() == drafts.len() + 1 && stored.last().is_some_and(|(_, event)| rules::ends_alike(event, ending)),
    };
    own && alike && ended
}
