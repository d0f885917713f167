//! What this process knows of the store beside the database: hints that save questions, and whose claims are whose.

use super::tx::LockName;
use crate::rules::Turns;
use maniple_core::{AgentName, TaskKey, Tenant, ports::Claim};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a count of the unfinished tasks is believed, with what this process adds to it: so much others may overshoot a bound.
const COUNTED_FOR: Duration = Duration::from_secs(1);
/// How often sessions are looked for that wait for nobody.
const REPAIR_EACH: Duration = Duration::from_secs(10);
/// The most definitions that are known to be stored.
const DEFINITIONS_MAX: usize = 1_024;

#[derive(Default)]
pub(super) struct Here {
    counts: Mutex<Counts>,
    turns: Mutex<Turns>,
    definitions: Mutex<HashSet<String>>,
    claims: Mutex<Claims>,
    repaired_at: Mutex<Option<Instant>>,
}

/// How many tasks are unfinished.
#[derive(Default)]
struct Counts {
    at: Option<Instant>,
    of: HashMap<Tenant, i64>,
}

/// What was handed out, and to be renewed.
#[derive(Default)]
pub(super) struct Claims {
    /// This process as a worker, once it has claimed.
    pub(super) worker: Option<i64>,
    /// Handed out and not known to be gone.
    pub(super) held: HashMap<TaskKey, Held>,
    /// Held by this worker as the database says, though nobody here knew of them when claims were renewed last.
    pub(super) unknown: HashSet<(i64, i64)>,
}

/// A claim as this process knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) number: i64,
    /// The lock of its session.
    pub(super) session: LockName,
    pub(super) epoch: u64,
    /// Whether it was renewed since it was handed out: who asks again for one that was born claimed is then too late.
    pub(super) is_renewed: bool,
}

impl Claims {
    /// It was handed out.
    pub(super) fn hold(&mut self, claim: &Claim, number: i64, session: LockName) {
        self.held.insert(claim.key.clone(), Held { number, session, epoch: claim.epoch, is_renewed: false });
    }
    /// What is known of a claim, where it was handed out here.
    pub(super) fn get(&self, claim: &Claim) -> Option<&Held> {
        self.held.get(&claim.key).filter(|held| held.epoch == claim.epoch)
    }
    /// It is gone, where no later one of its task was handed out.
    pub(super) fn let_go(&mut self, key: &TaskKey, epoch: u64) {
        if self.held.get(key).is_some_and(|held| held.epoch == epoch) {
            self.held.remove(key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Here {
    pub(super) fn count(&self, counted: Vec<(Tenant, i64)>) {
        let mut counts = lock(&self.counts);
        for (tenant, more) in counted {
            *counts.of.entry(tenant).or_default() += more;
        }
    }
    /// All that are unfinished, and those of one tenant; `None` for the one who is to count them anew: the others go on with what is
    /// known, those who ask before anything is known excepted.
    pub(super) fn unfinished(&self, tenant: &Tenant) -> Option<(u64, u64)> {
        let mut counts = lock(&self.counts);
        let at = counts.at?;
        if at.elapsed() >= COUNTED_FOR {
            counts.at = Some(Instant::now());
            return None;
        }
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        Some((number(counts.of.values().sum()), number(counts.of.get(tenant).copied().unwrap_or(0))))
    }
    pub(super) fn counted(&self, of: HashMap<Tenant, i64>) {
        *lock(&self.counts) = Counts { at: Some(Instant::now()), of };
    }

    pub(super) fn last_served(&self, agents: &[AgentName]) -> Option<Tenant> {
        lock(&self.turns).last(agents).cloned()
    }
    pub(super) fn served(&self, agents: &[AgentName], tenant: Tenant) {
        lock(&self.turns).served(agents, tenant);
    }

    pub(super) fn has_definition(&self, hash: &str) -> bool {
        lock(&self.definitions).contains(hash)
    }
    pub(super) fn learn_definition(&self, hash: &str) {
        let mut known = lock(&self.definitions);
        if known.len() >= DEFINITIONS_MAX {
            known.clear();
        }
        known.insert(hash.to_owned());
    }
    pub(super) fn forget_definitions(&self) {
        lock(&self.definitions).clear();
    }

    /// Whether it is time to look for sessions that wait for nobody.
    pub(super) fn may_repair(&self) -> bool {
        let mut at = lock(&self.repaired_at);
        let may = at.is_none_or(|at| at.elapsed() >= REPAIR_EACH);
        if may {
            *at = Some(Instant::now());
        }
        may
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        lock(&self.claims)
    }
}
