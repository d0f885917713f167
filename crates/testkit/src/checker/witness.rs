//! Watches what a store says to all workers together, as it says it.

use crate::ledger::Ledger;
use maniple_core::{
    TaskKey,
    event::{Event, Question, ToolStatus},
    ports::{Append, Appended, Claimed, Created, Refused},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Sees every claim and append of all workers, in the order the store did them. Clones share what was seen.
#[derive(Clone)]
pub struct Witness {
    ledger: Ledger,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// The highest epoch handed out, and the last number recorded.
    tasks: HashMap<TaskKey, (u64, u64)>,
    keys: HashMap<(TaskKey, u32, u32), String>,
    stale_refused: u64,
    stale_written: Vec<String>,
    trace: Vec<String>,
}

impl Witness {
    /// Tells the ledger which outcomes are recorded.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, seen: Arc::default() }
    }
    /// Appends under an old epoch that were refused.
    pub fn stale_refused(&self) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).stale_refused
    }
    /// Appends under an old epoch that were written. There must be none.
    pub fn stale_written(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).stale_written.clone()
    }
    /// One line for every claim and append: the same seed, the same lines.
    pub fn trace(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).trace.clone()
    }

    pub(crate) fn claimed(&self, claimed: &Claimed) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = claimed.journal.last().map_or(0, |event| event.seq);
        let claim = &claimed.claim;
        seen.trace.push(format!("{} claim {} epoch {} after {last}", claimed.now, claim.key.id, claim.epoch));
        let (epoch, seq) = seen.tasks.entry(claim.key.clone()).or_default();
        if claim.epoch <= *epoch {
            let told = format!("{}: epoch {} was handed out after {epoch}", claim.key.id, claim.epoch);
            return seen.stale_written.push(told);
        }
        (*epoch, *seq) = (claim.epoch, last);
    }

    /// A task that is born claimed is handed out with its first breath; told again after a lost reply, it is the same claim.
    pub(crate) fn created(&self, created: &Created) {
        let Some((claim, _)) = &created.claim else { return };
        let last = created.events.last().map_or(0, |event| event.seq);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.trace.push(format!("born {} epoch {} after {last}", claim.key.id, claim.epoch));
        let before = seen.tasks.insert(claim.key.clone(), (claim.epoch, last));
        if before.is_some_and(|before| before != (claim.epoch, last)) {
            seen.stale_written.push(format!("{}: born again after {before:?}", claim.key.id));
        }
    }

    pub(crate) fn appended(&self, append: &Append, appended: &Appended) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = &append.claim;
        let names: Vec<&str> = append.events.iter().map(|(_, event)| event.name()).collect();
        let (epoch, seq) = seen.tasks.get(&claim.key).copied().unwrap_or_default();
        let is_old = claim.epoch < epoch;
        let outcome = match appended {
            Appended::Recorded(recorded) => {
                let last = recorded.events.last().map_or(append.after, |event| event.seq);
                if is_old && last > seq {
                    seen.stale_written
                        .push(format!("{}: epoch {} wrote {names:?} after {epoch} was handed out", claim.key.id, claim.epoch));
                }
                seen.tasks.insert(claim.key.clone(), (epoch, seq.max(last)));
                self.outcomes(&mut seen, append);
                "recorded"
            }
            Appended::Stale => {
                seen.stale_refused += u64::from(is_old);
                "stale"
            }
            Appended::Refused(Refused::SignalsUnread) => "signals unread",
            Appended::Refused(Refused::Decided(_)) => "decided",
        };
        let line = format!("append {} epoch {} after {} {names:?} {outcome}", claim.key.id, claim.epoch, append.after);
        seen.trace.push(line);
    }

    fn outcomes(&self, seen: &mut Seen, append: &Append) {
        for (step, event) in &append.events {
            match event {
                Event::ToolStarted(started) => {
                    seen.keys.insert((append.claim.key.clone(), *step, started.index), started.key.clone());
                }
                // Nor is what a person says of one.
                Event::ApprovalRequested(request) if request.question == Question::DidHappen => {
                    seen.keys.remove(&(append.claim.key.clone(), *step, request.index));
                }
                // A doubt is no outcome: the call may be on its way still, for the first time.
                Event::ToolFinished(finished) if finished.status != ToolStatus::InDoubt => {
                    let key = seen.keys.get(&(append.claim.key.clone(), *step, finished.index));
                    key.iter().for_each(|key| self.ledger.recorded(key));
                }
                _ => {}
            }
        }
    }
}
