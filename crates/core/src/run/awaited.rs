//! What a run waits for that comes from outside.

use crate::{Time, event::Parked, task::WaitingFor};

/// Something a parked run is woken by: a signal of its kind or, at the latest, a moment.
///
/// A person's decision over a call is one, a place under a rate limit another. A run that waits for several things
/// waits for the [`Awaited::either`] of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// What readers are told it waits for.
    pub what: WaitingFor,
    /// When it is looked at again though nothing came; `None` for never.
    pub until: Option<Time>,
}

impl Awaited {
    /// A moment, and nothing else.
    pub fn moment(at: Time) -> Self {
        Self { what: WaitingFor::Timer, until: Some(at) }
    }
    /// A person's decision, until the moment when it comes too late.
    pub fn decision(until: Time) -> Self {
        Self { what: WaitingFor::Approval, until: Some(until) }
    }
    /// Both at once: until the first of the two moments. Somebody is told before a mere moment.
    pub fn either(self, other: Self) -> Self {
        let what = if self.what == WaitingFor::Timer { other.what } else { self.what };
        Self { what, until: self.until.into_iter().chain(other.until).min() }
    }
}

impl From<Awaited> for Parked {
    fn from(awaited: Awaited) -> Self {
        Self { waiting_for: awaited.what, until: awaited.until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_person_and_a_moment_is_said_to_wait_for_the_person_until_the_first_of_both() {
        let (person, moment) = (Awaited::decision(Time(9)), Awaited::moment(Time(4)));
        let both = Awaited { what: WaitingFor::Approval, until: Some(Time(4)) };
        assert_eq!((person.either(moment), moment.either(person)), (both, both));
        let endless = Awaited { what: WaitingFor::Children, until: None };
        assert_eq!(endless.either(moment), Awaited { what: WaitingFor::Children, until: Some(Time(4)) });
    }
}
