//! Whether a task that is new is taken in, and where it stands then.

use super::State;
use crate::rules;
use maniple_core::{
    Result, Time,
    ports::{Born, NewTask},
};

/// What was looked up. That its key and its id are new was seen before.
pub(crate) struct Room {
    /// Whether its id belonged to a task that is gone, and stays taken.
    pub(crate) id_is_taken: bool,
    /// For a requeue: whether its dead letter is there.
    pub(crate) dead_letter_is_there: bool,
    /// How many tasks are unfinished.
    pub(crate) unfinished: u64,
    /// How many of them are its tenant's.
    pub(crate) unfinished_of_tenant: u64,
}

/// Who is in its session.
pub(crate) enum InSession {
    /// Nobody whose turn it is.
    Nobody,
    /// A head, and behind it so many that wait.
    Head { waiting: u32 },
}

/// What was looked up for a task that would be born claimed.
pub(crate) struct Cradle {
    /// The place of its session's last task; 0 without any.
    pub(crate) last_place: u64,
    /// Whether a task is ready that this worker could claim and whose turn is before its own.
    pub(crate) others_are_before: bool,
}

/// Whether a task that begins in that state is born claimed: nobody is before it, and what its worker has read of the
/// session is all there is.
pub(crate) fn is_born<E>(new: &NewTask, state: State, cradle: impl FnOnce(&Born) -> Result<Cradle, E>) -> Result<bool, E> {
    let Some(born) = new.born.as_ref().filter(|_| state == State::Ready && new.taken_over.is_none() && new.requeues.is_none()) else {
        return Ok(false);
    };
    let Cradle { last_place, others_are_before } = cradle(born)?;
    Ok(last_place == born.settled_at && !others_are_before)
}

/// The state it begins in, or why it is refused. `in_session` is asked only of a task that takes its place now.
pub(crate) fn accept<E: From<maniple_core::Error>>(
    new: &NewTask,
    room: &Room,
    now: Time,
    in_session: impl FnOnce() -> Result<InSession, E>,
) -> Result<State, E> {
    if room.id_is_taken {
        return Err(rules::id_taken(&new.task.id).into());
    }
    if let Some(id) = new.requeues.as_ref().filter(|_| !room.dead_letter_is_there) {
        return Err(rules::not_dead(id).into());
    }
    if room.unfinished >= new.unfinished_max {
        return Err(rules::node_full(new.unfinished_max).into());
    }
    if room.unfinished_of_tenant >= new.unfinished_each {
        return Err(rules::tenant_full(&new.task.tenant, new.unfinished_each).into());
    }
    if new.task.not_before.is_some_and(|moment| moment > now) {
        return Ok(State::Scheduled);
    }
    match in_session()? {
        InSession::Nobody => Ok(State::Ready),
        InSession::Head { waiting } if waiting >= new.session_waiting_max => Err(rules::session_full(new.session_waiting_max).into()),
        InSession::Head { .. } => Ok(State::Waiting),
    }
}
