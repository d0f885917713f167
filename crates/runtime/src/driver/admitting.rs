//! A place for each call under its tool's rate limit, taken before anything of the call is recorded.

use super::{Driver, sending};
use futures::future::join_all;
use maniple_core::{
    Result, Time,
    event::{Event, ToolStarted, ToolStatus},
    ports::{Admission, RunCall},
    run::{Plan, Terms},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The longest wait for a place; a limit's window is no longer.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the count may take to answer; then it is asked again a little later.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The limited calls of a step: those that have their place, and those that wait for one.
#[derive(Default)]
pub(super) struct Held {
    admitted: BTreeSet<u32>,
    waiting: BTreeMap<u32, Time>,
}

impl Held {
    /// When the first of those that wait asks again.
    pub(super) fn next(&self, now: Time) -> Option<Time> {
        self.waiting.values().copied().filter(|at| *at > now).min()
    }
}

impl Driver {
    /// What a plan is made under.
    pub(super) fn terms<'a>(&self, room: usize, held: &'a BTreeSet<u32>) -> Terms<'a> {
        Terms { room, now: self.now(), approval_expires: self.settings.approval_expires.duration(), held }
    }

    /// A plan whose calls have their places. Those without one are held back, or refused where the wait does not fit.
    pub(super) async fn admitted(&mut self, step: u32, room: usize, held: &mut Held) -> Result<Plan> {
        let prepared = self.prepared()?;
        loop {
            let now = self.now();
            held.waiting.retain(|_, at| *at > now);
            let waiting = held.waiting.keys().copied().collect();
            let plan = self.run.plan(&prepared.contracts, &self.terms(room, &waiting));
            let sent = plan.start.iter().chain(&plan.resend).filter(|started| !held.admitted.contains(&started.index));
            let limited = |started: &ToolStarted| Some((started.clone(), self.invocation(started)?));
            let limited: Vec<_> = sent.filter_map(limited).filter(|(_, call)| call.0.tool.rate_limit.is_some()).collect();
            if limited.is_empty() {
                return Ok(plan);
            }
            let places = join_all(limited.iter().map(|(_, call)| self.place(call))).await;
            for ((started, call), place) in limited.iter().zip(places) {
                match place {
                    Admission::Now => drop(held.admitted.insert(started.index)),
                    Admission::After(wait) if self.can_wait(wait) => {
                        held.waiting.insert(started.index, self.now().plus(wait.max(Duration::from_millis(1))));
                    }
                    Admission::After(wait) => self.refuse(step, started, call, wait)?,
                }
            }
        }
    }

    async fn place(&self, call: &RunCall) -> Admission {
        let asking = tokio::time::timeout(ANSWER_MAX, self.parts.tools.admit(call));
        asking.await.unwrap_or(Admission::After(ASK_AGAIN))
    }

    fn can_wait(&self, wait: Duration) -> bool {
        wait <= WAIT_MAX && self.interrupts.left().is_none_or(|left| wait < left)
    }

    fn refuse(&mut self, step: u32, started: &ToolStarted, call: &RunCall, wait: Duration) -> Result<()> {
        let limit = call.0.tool.rate_limit.unwrap_or_default();
        let told = over_the_rate(&format!("`{}` may be called {limit} times in 60 s, and has been", started.name), wait);
        let was_started =
            self.run.steps().last().and_then(|step| step.calls.get(started.index as usize)).is_some_and(|c| c.started.is_some());
        let fact = if was_started {
            Some(Event::ToolFinished(sending::finished(started, ToolStatus::Error, told)))
        } else {
            self.run.refused(started.index, told)
        };
        fact.into_iter().try_for_each(|fact| self.tell(step, fact))
    }
}

/// What a model is told of a call that would have to wait too long.
pub(super) fn over_the_rate(why: &str, wait: Duration) -> Value {
    json!({ "error": format!("not sent: {why}"), "retry_after_ms": wait.as_millis() as u64 })
}
