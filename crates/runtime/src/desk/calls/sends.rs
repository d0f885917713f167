//! The calls of runs elsewhere that this process carries out, and those that it has just carried out.
//!
//! The record of such a call is its run's journal, so nothing of it is written here. But an answer may be lost on its way to the
//! runtime, which then asks again under the name of the same send: as long as it may, what came of it is known here.
//!
//! | bound | then |
//! |---|---|
//! | [`KEPT_BEYOND`] after the call's own time-out, when nobody asks any more | forgotten |
//! | [`MOST`] that are over, or [`BYTES_MOST`] of results | those forgotten first that would be forgotten soonest |
//!
//! What is forgotten early is *unknown* to a runtime whose answer was lost; it is never sent again here.

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use maniple_core::{Tenant, ports::Invoked};
use semver::Version;
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long an outcome is known after the call's time-out; a runtime asks for 3 s more than that.
const KEPT_BEYOND: Duration = Duration::from_secs(10);
/// The most calls that are over.
const MOST: usize = 10_000;
/// What their results may weigh together, in bytes of JSON.
const BYTES_MOST: usize = 64 << 20;

/// What names one send of a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SendName {
    /// Who asks: nobody hears of another principal's calls.
    pub(super) principal: (Tenant, String),
    /// On whose behalf.
    pub(super) tenant: Tenant,
    /// The tool.
    pub(super) tool: String,
    /// The key of the call.
    pub(super) key: String,
    /// The name of the send.
    pub(super) send: String,
}

/// A send that was taken on.
#[derive(Clone)]
pub(super) struct Taken {
    /// The version of the tool that is called.
    pub(super) version: Version,
    going: Shared<BoxFuture<'static, Invoked>>,
}

impl Taken {
    /// Waits for the outcome.
    pub(super) async fn outcome(self) -> Invoked {
        self.going.await
    }
}

/// All of them; cheap to clone.
#[derive(Clone, Default)]
pub(in crate::desk) struct Sends(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    calls: HashMap<SendName, Taken>,
    /// Those that are over, with what their results weigh, by when they are forgotten.
    over: BTreeMap<(Instant, u64), (SendName, usize)>,
    bytes: usize,
    finished: u64,
}

impl Sends {
    /// Carries the call out, and goes on although the caller leaves. A send that is known is not made again.
    pub(super) fn take(
        &self,
        send: SendName,
        version: Version,
        timeout: Duration,
        call: impl Future<Output = Invoked> + Send + 'static,
    ) -> Taken {
        let mut known = self.known();
        if let Some(taken) = known.calls.get(&send) {
            return taken.clone();
        }
        let (calls, named, until) = (self.clone(), send.clone(), Instant::now() + timeout + KEPT_BEYOND);
        let work = tokio::spawn(async move {
            let outcome = AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| broke_off());
            let bytes = weight(&outcome);
            calls.known().over(named, until, bytes);
            outcome
        });
        let going = work.map(|done| done.unwrap_or_else(|_| broke_off())).boxed().shared();
        let taken = Taken { version, going };
        known.calls.insert(send, taken.clone());
        taken
    }

    /// The send, if it is known here.
    pub(super) fn of(&self, send: &SendName) -> Option<Taken> {
        let mut known = self.known();
        known.forget(Instant::now());
        known.calls.get(send).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn over(&mut self, send: SendName, until: Instant, bytes: usize) {
        self.finished += 1;
        self.over.insert((until, self.finished), (send, bytes));
        self.bytes += bytes;
        self.forget(Instant::now());
    }

    /// Forgets what is too old, and what is too much.
    fn forget(&mut self, now: Instant) {
        while let Some((&(until, _), _)) = self.over.first_key_value() {
            if until > now && self.over.len() <= MOST && self.bytes <= BYTES_MOST {
                break;
            }
            if let Some((_, (send, bytes))) = self.over.pop_first() {
                self.calls.remove(&send);
                self.bytes -= bytes;
            }
        }
    }
}

/// What is known of a call that panicked, or whose process ends.
pub(super) fn broke_off() -> Invoked {
    Invoked::Unknown("the call ran into a bug of ours: the log says where".into())
}

fn weight(outcome: &Invoked) -> usize {
    match outcome {
        Invoked::Ok(value) | Invoked::Failed(value) => value.to_string().len(),
        Invoked::NotSent(why) | Invoked::Wait(why, _) | Invoked::Unknown(why) => why.len(),
        Invoked::Refused(refusal) => refusal.message.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(send: &str) -> SendName {
        let principal = (Tenant::default(), "node".to_owned());
        SendName { principal, tenant: Tenant::default(), tool: "t".into(), key: "k".into(), send: send.into() }
    }
    async fn over(calls: &Sends, send: &str, outcome: Invoked) {
        calls.take(named(send), Version::new(1, 0, 0), Duration::from_secs(1), async { outcome }).outcome().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_of_a_send_is_known_for_as_long_as_somebody_may_ask() {
        let calls = Sends::default();
        over(&calls, "a", Invoked::Ok(json!(1))).await;
        over(&calls, "a", Invoked::Ok(json!("made again"))).await;
        let known = calls.of(&named("a")).expect("it is known");
        assert_eq!((known.version.clone(), known.outcome().await), (Version::new(1, 0, 0), Invoked::Ok(json!(1))));
        assert!(calls.of(&named("b")).is_none());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(calls.of(&named("a")).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(calls.of(&named("a")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_kept_than_a_process_can_bear() {
        let calls = Sends::default();
        for n in 0..=MOST {
            over(&calls, &n.to_string(), Invoked::Ok(json!(n))).await;
        }
        assert!(calls.of(&named("0")).is_none() && calls.of(&named("1")).is_some());
        let heavy = "x".repeat(BYTES_MOST / 4);
        for n in 0..4 {
            over(&calls, &format!("heavy {n}"), Invoked::Ok(json!(heavy))).await;
        }
        assert!(calls.of(&named("heavy 0")).is_none() && calls.of(&named("heavy 3")).is_some());
        assert!(calls.known().bytes <= BYTES_MOST && calls.known().calls.len() == 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_panics_is_unknown_and_forgotten_like_any_other() {
        let calls = Sends::default();
        let taken = calls.take(named("a"), Version::new(1, 0, 0), Duration::ZERO, async { panic!("a bug") });
        assert!(matches!(taken.outcome().await, Invoked::Unknown(_)));
        tokio::time::advance(KEPT_BEYOND).await;
        assert!(calls.of(&named("a")).is_none());
    }
}
