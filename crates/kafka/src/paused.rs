//! Partitions that wait: where they go on, and when they are tried again.
//!
//! | a partition | on | then |
//! |---|---|---|
//! | flows | a record that cannot be taken now | waits, at that record |
//! | waits | its time | is tried: the client is told to go back to that record and on |
//! | is tried | that record | flows |
//! | is tried | a later record | is tried again: the client did not go back |
//! | any | it is given or taken away | flows, from what is committed |
//!
//! What the client had fetched before it was told is dropped: it comes again.

use crate::lanes::Partition;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The first pause; each further one in a row is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stuck {
    at: i64,
    tries: u32,
    /// When it is tried again; nothing while it is tried.
    until: Option<Instant>,
    /// The record it waited for came again: those behind it are next.
    went_back: bool,
}

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is next.
    Take,
    /// It comes again.
    Drop,
    /// The client went past the record that is next: it has to go back.
    GoBack(i64),
}

/// The partitions that do not flow.
#[derive(Debug, Default)]
pub(crate) struct Paused {
    stuck: BTreeMap<Partition, Stuck>,
    max: Duration,
}

impl Paused {
    pub(crate) fn new(max: Duration) -> Self {
        Self { stuck: BTreeMap::new(), max }
    }

    /// It waits at a record.
    pub(crate) fn stuck(&mut self, partition: Partition, at: i64, now: Instant) {
        let tries = self.stuck.get(&partition).map_or(0, |known| known.tries + 1);
        let pause = PAUSE_MIN.saturating_mul(1 << tries.min(12)).min(self.max);
        self.stuck.insert(partition, Stuck { at, tries, until: Some(now + pause), went_back: false });
    }

    /// Its records were taken.
    pub(crate) fn flows(&mut self, partition: &Partition) {
        if self.stuck.get(partition).is_some_and(|stuck| stuck.until.is_none()) {
            self.stuck.remove(partition);
        }
    }

    /// It is given or taken away: what is known of it is of no account.
    pub(crate) fn forget(&mut self, partition: &Partition) {
        self.stuck.remove(partition);
    }

    /// What to do with a record that came.
    pub(crate) fn turn(&mut self, partition: &Partition, offset: i64) -> Turn {
        match self.stuck.get_mut(partition) {
            None => Turn::Take,
            Some(Stuck { until: Some(_), .. }) => Turn::Drop,
            Some(stuck) if offset < stuck.at => Turn::Drop,
            Some(stuck) if offset > stuck.at && !stuck.went_back => Turn::GoBack(stuck.at),
            Some(stuck) => {
                stuck.went_back = true;
                Turn::Take
            }
        }
    }

    /// The record it waited for is no more: it goes on at a later one.
    pub(crate) fn lost_to(&mut self, partition: &Partition, offset: i64) {
        if let Some(stuck) = self.stuck.get_mut(partition) {
            stuck.at = offset;
        }
    }

    /// Those whose time has come, each with the record it goes on at. They are tried from now on.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(Partition, i64)> {
        let mut due = Vec::new();
        for (partition, stuck) in &mut self.stuck {
            if stuck.until.is_some_and(|until| until <= now) {
                stuck.until = None;
                due.push((partition.clone(), stuck.at));
            }
        }
        due
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.stuck.values().filter(|stuck| stuck.until.is_some() || stuck.tries > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p() -> Partition {
        ("t".into(), 0)
    }

    #[test]
    fn a_partition_goes_on_at_the_record_it_waited_for_and_at_no_later_one() {
        let (mut paused, now) = (Paused::new(Duration::from_secs(30)), Instant::now());
        assert_eq!(paused.turn(&p(), 9), Turn::Take);
        paused.stuck(p(), 5, now);
        assert_eq!(paused.turn(&p(), 5), Turn::Drop, "fetched before it paused");
        assert_eq!(paused.due(now), []);
        assert_eq!(paused.due(now + PAUSE_MIN), [(p(), 5)]);
        assert_eq!((paused.turn(&p(), 7), paused.turn(&p(), 4), paused.turn(&p(), 5)), (Turn::GoBack(5), Turn::Drop, Turn::Take));
        assert_eq!(paused.turn(&p(), 7), Turn::Take, "behind it in the same batch");
        paused.flows(&p());
        assert_eq!((paused.turn(&p(), 7), paused.count()), (Turn::Take, 0));
    }

    #[test]
    fn pauses_grow_to_their_bound_and_a_partition_that_came_anew_has_none() {
        let (mut paused, mut now) = (Paused::new(Duration::from_secs(1)), Instant::now());
        for pause in [100, 200, 400, 800, 1_000, 1_000] {
            paused.stuck(p(), 5, now);
            assert_eq!(paused.due(now + Duration::from_millis(pause - 1)), []);
            now += Duration::from_millis(pause);
            assert_eq!(paused.due(now), [(p(), 5)], "{pause}");
        }
        paused.forget(&p());
        assert_eq!((paused.turn(&p(), 9), paused.count()), (Turn::Take, 0));
    }

    #[test]
    fn what_the_broker_has_no_more_is_not_waited_for() {
        let (mut paused, now) = (Paused::new(Duration::from_secs(1)), Instant::now());
        paused.stuck(p(), 5, now);
        paused.due(now + PAUSE_MIN);
        paused.lost_to(&p(), 8);
        assert_eq!(paused.turn(&p(), 8), Turn::Take);
    }
}
