//! Keeps the leases of this process alive, and tells their holders what changed.

use maniple_core::{
    Kind, Result, TaskKey, Time,
    ports::{Claim, Renewal, Work},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// All leases of one worker.
pub(crate) struct Leases {
    work: Arc<dyn Work>,
    held: Mutex<BTreeMap<TaskKey, Arc<Lease>>>,
}

/// One claim and how long it holds.
pub(crate) struct Lease {
    pub(crate) claim: Claim,
    length: Duration,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    until: Instant,
    /// The store's time when it was last asked for: a clock that was set forward has no part in `until`.
    asked_at: Time,
    lost: bool,
    /// How often somebody said that there are signals.
    pokes: u64,
}

/// What a holder is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Signals,
    Lost,
}

/// A holder's view of its lease.
pub(crate) struct Watch {
    state: watch::Receiver<State>,
    pokes_seen: u64,
}

impl Leases {
    pub(crate) fn new(work: Arc<dyn Work>) -> Arc<Self> {
        Arc::new(Self { work, held: Mutex::default() })
    }

    /// Takes a claim under care until what is returned is dropped; `claimed_at` is the moment before it was asked for.
    pub(crate) fn hold(self: &Arc<Self>, claim: Claim, length: Duration, claimed_at: Instant) -> Held {
        let (state, _) = watch::channel(State { until: claimed_at + length, asked_at: self.work.now(), lost: false, pokes: 0 });
        let lease = Arc::new(Lease { claim: claim.clone(), length, state });
        let earlier = self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(claim.key, lease.clone());
        // This very process lost it (it stood still) and got it back: whoever still holds the old claim is to stop.
        earlier.iter().for_each(|earlier| earlier.renewed(&Renewal::Lost, claimed_at, Time::default()));
        Held { lease, leases: self.clone() }
    }

    fn let_go(&self, lease: &Lease) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(&lease.claim.key).is_some_and(|current| current.claim.epoch == lease.claim.epoch) {
            held.remove(&lease.claim.key);
        }
    }

    /// A hint said that a task has unread signals.
    pub(crate) fn poke(&self, key: &TaskKey) {
        let lease = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        lease.iter().for_each(|lease| lease.state.send_modify(|state| state.pokes += 1));
    }

    /// The store's time.
    pub(crate) fn now(&self) -> Time {
        self.work.now()
    }

    /// Renews what has less than two thirds of its lease left, by this process's clock or the store's. Errors are for the next
    /// round: a lease that is not renewed runs out, and its holder asks before it acts.
    pub(crate) async fn renew(&self) {
        let (now, store_now) = (Instant::now(), self.work.now());
        let is_due = |lease: &Lease| {
            let State { until, asked_at, lost, .. } = *lease.state.borrow();
            !lost && (until < now + lease.length * 2 / 3 || store_now.since(asked_at) > lease.length / 3)
        };
        let due: Vec<Arc<Lease>> = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.values().filter(|lease| is_due(lease)).cloned().collect()
        };
        for batch in due.chunks(512) {
            let claims: Vec<Claim> = batch.iter().map(|lease| lease.claim.clone()).collect();
            match self.work.renew(&claims).await {
                Ok(renewals) => batch.iter().zip(&renewals).for_each(|(lease, renewal)| lease.renewed(renewal, now, store_now)),
                Err(error) => tracing::warn!(%error, claims = claims.len(), "leases were not renewed"),
            }
        }
    }
}

impl Lease {
    fn renewed(&self, renewal: &Renewal, asked_at: Instant, store_asked_at: Time) {
        self.state.send_if_modified(|state| match renewal {
            Renewal::Held(signals) => {
                (state.until, state.asked_at) = (asked_at + self.length, store_asked_at);
                state.pokes += u64::from(!signals.is_empty());
                !signals.is_empty()
            }
            Renewal::Lost => {
                state.lost = true;
                true
            }
        });
    }

    /// Whether it may still act: to be asked before every send.
    pub(crate) async fn holds(&self, work: &Arc<dyn Work>) -> bool {
        let State { until, lost, .. } = *self.state.borrow();
        if lost {
            return false;
        }
        let (now, store_now) = (Instant::now(), work.now());
        if now < until {
            return true;
        }
        // The renewals came late (a stopped process, a slow disk): ask.
        let asked = patiently(|| work.renew(std::slice::from_ref(&self.claim))).await;
        let renewal = asked.ok().and_then(|renewals| renewals.into_iter().next()).unwrap_or(Renewal::Lost);
        self.renewed(&renewal, now, store_now);
        renewal != Renewal::Lost
    }

    /// Resolves when it has run out as far as this process knows: somebody else may hold the task now.
    pub(crate) async fn runs_out(&self, work: &Arc<dyn Work>) {
        let mut state = self.state.subscribe();
        loop {
            let State { until, lost, .. } = *state.borrow_and_update();
            let late = Instant::now().saturating_duration_since(until);
            if lost || (Instant::now() >= until && late < STOOD_STILL) {
                return;
            }
            if late >= STOOD_STILL {
                // Nobody looked when it ran out, so this process stood still, and others with it: it may hold all the same.
                match tokio::time::timeout(STOOD_STILL, self.holds(work)).await {
                    Ok(true) => continue,
                    Ok(false) | Err(_) => return,
                }
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => {}
                // The sender is our own.
                _ = state.changed() => {}
            }
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch { state: self.state.subscribe(), pokes_seen: 0 }
    }
}

/// A claim under care. A holder that leaves in whatever way, by a panic too, lets its claim run out.
pub(crate) struct Held {
    pub(crate) lease: Arc<Lease>,
    leases: Arc<Leases>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leases.let_go(&self.lease);
    }
}

/// Whoever notices so late that a lease has run out stood still; and so long the store may take to say whether it holds.
const STOOD_STILL: Duration = Duration::from_millis(500);

/// How long a worker goes on asking a store that does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a call to the store again, unchanged, while the answer is that it cannot now.
pub(crate) async fn patiently<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    let since = Instant::now();
    let mut wait = Duration::from_millis(50);
    loop {
        match call().await {
            Err(error) if error.kind == Kind::Unavailable && since.elapsed() < PATIENCE => {
                tracing::warn!(%error, "the store does not answer; asking again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(2));
            }
            outcome => return outcome,
        }
    }
}

impl Watch {
    /// Waits until there are signals or the claim is lost.
    pub(crate) async fn news(&mut self) -> News {
        loop {
            let state = *self.state.borrow_and_update();
            if state.lost {
                return News::Lost;
            }
            if state.pokes > self.pokes_seen {
                self.pokes_seen = state.pokes;
                return News::Signals;
            }
            if self.state.changed().await.is_err() {
                return News::Lost;
            }
        }
    }
}
