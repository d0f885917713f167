//! What time brings, and what a restart finds.

use super::{Row, State};
use crate::rules;
use maniple_core::{Time, task::Ending};

/// What a due task does.
#[derive(Debug, PartialEq)]
pub(crate) enum Due {
    /// It is over before anybody began.
    End(Ending),
    /// It takes its place in its session.
    TakePlace,
    /// The moment it waited for has come: a signal of that id tells it.
    Timer(String),
    /// It is claimed again, to see for itself.
    Ready,
    /// It was looked at for nothing.
    Nothing,
}

/// What becomes of a task whose claim is no more.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Anybody may claim it.
    Ready,
    /// It has killed its workers too often.
    End(Ending),
}

impl Row {
    /// When it must be looked at again.
    pub(crate) fn due(&self) -> Option<Time> {
        let earliest = |moment: Option<Time>| moment.into_iter().chain(self.deadline).min();
        match self.state {
            State::Scheduled => earliest(self.not_before),
            State::Parked => earliest(self.until),
            State::Waiting | State::Ready => self.deadline.filter(|_| self.header.started_at.is_none()),
            State::Running | State::Completed | State::Failed | State::Cancelled => None,
        }
    }

    /// Its moment has come.
    pub(crate) fn fell_due(&self, now: Time) -> Due {
        let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
        match self.state {
            State::Scheduled | State::Waiting | State::Ready if is_over => Due::End(rules::overdue()),
            State::Scheduled => Due::TakePlace,
            State::Parked if self.until.is_some_and(|until| until <= now) => Due::Timer(format!("timer:{}", self.last_seq)),
            State::Parked => Due::Ready,
            State::Waiting | State::Ready | State::Running | State::Completed | State::Failed | State::Cancelled => Due::Nothing,
        }
    }

    /// Its lease ran out.
    pub(crate) fn expired(&mut self) -> Next {
        self.barren_expired += u32::from(!self.progressed);
        if self.barren_expired >= rules::BARREN_EXPIRED_MAX { Next::End(rules::poisoned_by_expiry()) } else { Next::Ready }
    }

    /// It was found running when the store was opened: whoever held it is gone, and its claim is void.
    pub(crate) fn found_open(&mut self) -> Next {
        self.epoch += 1;
        self.barren_open += u32::from(!self.progressed);
        if self.barren_open >= rules::BARREN_OPEN_MAX { Next::End(rules::poisoned_at_open()) } else { Next::Ready }
    }
}
