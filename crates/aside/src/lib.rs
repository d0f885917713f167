//! Work whose cost an outsider chooses, done away from the threads that serve.
//!
//! A page, a schema, a pattern or a document is somebody else's, and so is the time it takes to read. On a thread that serves,
//! that time is everybody's: leases run out and probes fail. Here such work has threads of its own, few of them, and nobody has
//! all of them.
//!
//! ```text
//! small ──────────────────────────────────────────────► done at once, by the caller
//! large ─► a place among its owner's ─► a place among all ─► done on a thread aside
//!              └─ too many wait, or too long: refused, with when to come back
//! ```
//! It bounds how much is done at once, not how long one piece takes: a piece of work has a budget of its own.

mod shares;

pub use shares::{Full, Share, Shares};

use maniple_core::{
    Error, Result,
    settings::{Bound, Period, Section},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A text of so many bytes is read by the caller: a millisecond.
pub const SMALL_BYTES: usize = 64 * 1024;
/// A value that costs so much to be checked is checked by the caller: a millisecond, in the units of `schema::Validator::cost`.
pub const SMALL_COST: u64 = 100_000;

/// How much is done aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AsideSettings {
    /// Pieces of work at once, 2 to 64; one owner has all but one of them at most. Default 2.
    pub at_once: usize,
    /// Pieces of one owner that wait, 1 to 10,000; what comes then is refused. Default 64.
    pub waiting: usize,
    /// How long one waits for its turn, 10 ms to 10 min; then it is refused. Default 10 s.
    pub wait: Period,
}

impl Default for AsideSettings {
    fn default() -> Self {
        Self { at_once: 2, waiting: 64, wait: Period::seconds(10) }
    }
}

impl Section for AsideSettings {
    fn bounds(&self) -> Vec<Bound> {
        vec![
            Bound::of("at_once", self.at_once, 2..=64),
            Bound::of("waiting", self.waiting, 1..=10_000),
            Bound::of("wait", self.wait, Period::ms(10)..=Period::minutes(10)),
        ]
    }
}

/// The threads aside. Clones share them.
#[derive(Clone)]
pub struct Aside(Arc<Threads>);

struct Threads {
    settings: AsideSettings,
    all: Arc<Semaphore>,
    owners: Mutex<HashMap<String, Owner>>,
}

/// Those who wait or work for one owner; forgotten with the last of them.
struct Owner {
    places: Arc<Semaphore>,
    present: usize,
}

impl Default for Aside {
    fn default() -> Self {
        Self::new(AsideSettings::default())
    }
}

impl Aside {
    /// With nobody at it.
    pub fn new(settings: AsideSettings) -> Self {
        let all = Arc::new(Semaphore::new(settings.at_once.max(1)));
        Self(Arc::new(Threads { settings, all, owners: Mutex::default() }))
    }

    /// Does what is small at once, and what is large aside, in its owner's turn: a tenant's name, mostly.
    ///
    /// `Exhausted` where too many of its owner's wait already, `Unavailable` where its turn did not come in time; both say when
    /// to come back. What has begun goes on to its end, even where nobody waits for it any more.
    pub async fn run<T: Send + 'static>(&self, large: bool, owner: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        if !large {
            return Ok(work());
        }
        let turn = self.turn(owner).await?;
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        working.await.map_err(|error| Error::internal("a piece of work aside broke off").because(error))
    }

    async fn turn(&self, owner: &str) -> Result<Turn> {
        let settings = &self.0.settings;
        let present = Present::enter(self.0.clone(), owner)?;
        let places = async {
            // Neither is ever closed. The owner's first: whoever waits for all of them holds nobody else up.
            let own = present.places.clone().acquire_owned().await.ok();
            (own, self.0.all.clone().acquire_owned().await.ok())
        };
        match tokio::time::timeout(settings.wait.duration(), places).await {
            Ok((own, all)) => Ok(Turn { _own: own, _all: all, _present: present }),
            Err(_) => {
                metrics::counter!("maniple_aside_refused_total", "reason" => "time").increment(1);
                let told = format!(
                    "this takes long to read, and its turn did not come in {} s: try again later",
                    settings.wait.duration().as_secs()
                );
                Err(Error::unavailable(told).after(settings.wait.duration()))
            }
        }
    }
}

/// What a piece of work holds until it is done.
struct Turn {
    _own: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
    _present: Present,
}

/// One of an owner's that waits or works.
struct Present {
    threads: Arc<Threads>,
    owner: String,
    places: Arc<Semaphore>,
}

impl Present {
    fn enter(threads: Arc<Threads>, owner: &str) -> Result<Self> {
        let AsideSettings { at_once, waiting, .. } = threads.settings;
        let own = at_once.saturating_sub(1).max(1);
        let mut owners = threads.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let known = owners.entry(owner.to_owned()).or_insert_with(|| Owner { places: Arc::new(Semaphore::new(own)), present: 0 });
        if known.present >= own + waiting {
            drop(owners);
            metrics::counter!("maniple_aside_refused_total", "reason" => "number").increment(1);
            let told = format!("{waiting} pieces of work that take long to read wait already: send fewer at once");
            return Err(Error::exhausted(told).after(threads.settings.wait.duration()));
        }
        known.present += 1;
        let places = known.places.clone();
        drop(owners);
        Ok(Self { threads, owner: owner.to_owned(), places })
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut owners = self.threads.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get_mut(&self.owner) {
            owner.present -= 1;
            if owner.present == 0 {
                owners.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
