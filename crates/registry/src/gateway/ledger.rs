//! The record of direct calls: (tenant, principal, tool, key) has one outcome, whichever process of the registry is asked.
//!
//! | the record says | then |
//! |---|---|
//! | nothing | it is opened and held, and the call is sent |
//! | an outcome | that is the answer; nothing is sent |
//! | under way | it is looked at again, until there is an outcome, nobody holds it any more, or the caller's time is over |
//! | started, no outcome, nobody at it | what was and is pure or idempotent is sent again; what was or is `at_most_once` is in doubt |
//! | other arguments | refused |
//!
//! The holder renews its lease for as long as the call is under way, so that a process that was killed is noticed. Who waits in the
//! holder's own process waits for the same future; that spares looking, and nothing rests on it.

use super::refused;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use maniple_core::{
    canonical,
    ports::{DirectCall, DirectOutcome, Invoked, LedgerKey, Opened, Opening, Outcome, RefusalKind, ToolStore},
};
use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The first pause before a call that is under way elsewhere is looked at again; it doubles.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

type Going = Shared<BoxFuture<'static, DirectOutcome>>;

#[derive(Clone)]
pub(crate) struct Ledger {
    store: Option<Arc<dyn ToolStore>>,
    /// How long a call under way is held without renewal.
    lease: Duration,
    /// The calls under way in this process, with the hash of their arguments.
    going: Arc<Mutex<HashMap<LedgerKey, (String, Going)>>>,
}

/// A call that is to be sent now.
pub(super) struct Sending {
    /// Whether it may have been sent before.
    pub(super) is_again: bool,
    /// The key that it goes under, where an older version sent it under another than its principal's.
    pub(super) key: Option<String>,
    /// What is left of the caller's time.
    pub(super) timeout: Duration,
}

impl Ledger {
    pub(crate) fn new(store: Option<Arc<dyn ToolStore>>, lease: Duration) -> Self {
        Self { store, lease, going: Arc::default() }
    }

    /// Sends under the key at most once at a time, and goes on to the outcome although the caller leaves.
    pub(super) async fn once<F>(&self, call: &DirectCall, send: impl FnOnce(Sending) -> F + Send + 'static) -> DirectOutcome
    where
        F: Future<Output = Invoked> + Send + 'static,
    {
        let key = call.ledger_key();
        let invocation = call.invocation();
        // Two accounts whose numbers differ in the nineteenth digit are two calls.
        let hash = canonical::hash_bytes(canonical::exact(&invocation.arguments).as_bytes());
        let (going, is_joined) = {
            let mut all = self.going.lock().unwrap_or_else(PoisonError::into_inner);
            match all.get(&key) {
                Some((other, _)) if *other != hash => return other_arguments(&key).into(),
                Some((_, going)) => (going.clone(), true),
                None => {
                    let (ledger, owned, timeout) = (self.clone(), key.clone(), invocation.timeout);
                    let opening = Opening {
                        arguments_hash: hash.clone(),
                        effect: invocation.tool.effect(),
                        holder: format!("{:032x}", fastrand::u128(..)),
                        lease: self.lease,
                    };
                    let work = tokio::spawn(async move {
                        let on_its_way = OnItsWay { ledger: &ledger, key: &owned };
                        let outcome = ledger.recorded(&owned, &opening, timeout, send).await;
                        drop(on_its_way);
                        outcome
                    });
                    let broke_off = || Invoked::Unknown("the call broke off".into()).into();
                    let going = work.map(move |done| done.unwrap_or_else(|_| broke_off())).boxed().shared();
                    all.insert(key, (hash, going.clone()));
                    (going, false)
                }
            }
        };
        let outcome = going.await;
        DirectOutcome { replayed: outcome.replayed || is_joined, ..outcome }
    }

    async fn recorded<F: Future<Output = Invoked>>(
        &self,
        key: &LedgerKey,
        opening: &Opening,
        timeout: Duration,
        send: impl FnOnce(Sending) -> F,
    ) -> DirectOutcome {
        let Some(store) = &self.store else { return send(Sending { is_again: false, key: None, timeout }).await.into() };
        let sending = match self.opened(&**store, key, opening, timeout).await {
            Ok(sending) => sending,
            Err(outcome) => return outcome,
        };
        let outcome = tokio::select! {
            outcome = send(sending) => outcome,
            never = self.hold(&**store, key, &opening.holder) => match never {},
        };
        let written = match &outcome {
            Invoked::Ok(result) => store.close_call(key, &Outcome::Ok(result.clone())).await,
            Invoked::Failed(failure) => store.close_call(key, &Outcome::Failed(failure.clone())).await,
            Invoked::NotSent(_) | Invoked::Wait(..) | Invoked::Refused(_) => store.drop_call(key, &opening.holder).await,
            Invoked::Unknown(_) => store.leave_call(key, &opening.holder).await,
        };
        if let Err(error) = written {
            // The record stays open: the key asked again is sent again or in doubt, as after a crash.
            tracing::error!(%error, tool = %key.tool, "the outcome of a call could not be recorded");
        }
        outcome.into()
    }

    /// The call, held by this opening; or its outcome, where it is not to be sent.
    async fn opened(&self, store: &dyn ToolStore, key: &LedgerKey, opening: &Opening, timeout: Duration) -> Result<Sending, DirectOutcome> {
        let began = Instant::now();
        let (mut pause, mut was_under_way) = (LOOK_AGAIN, false);
        loop {
            let opened = store.open_call(key, opening).await;
            let left = timeout.saturating_sub(began.elapsed());
            let invoked = match opened {
                Ok(Opened::New) => return Ok(Sending { is_again: false, key: None, timeout: left }),
                Ok(Opened::Again) => return Ok(Sending { is_again: true, key: None, timeout: left }),
                // Whoever gave it such a key did not say whose call it is: it may be another's, and have its answer.
                Ok(Opened::AgainAsGiven) if may_be_anothers(&key.key) => {
                    Invoked::Unknown("it was sent before by an older version, under a key that may be a run's".into())
                }
                Ok(Opened::AgainAsGiven) => return Ok(Sending { is_again: true, key: Some(key.key.clone()), timeout: left }),
                Ok(Opened::UnderWay(_)) if left.is_zero() => {
                    Invoked::Unknown(format!("it is under way, and was not over within {} ms", timeout.as_millis()))
                }
                Ok(Opened::UnderWay(held)) => {
                    was_under_way = true;
                    tokio::time::sleep(pause.min(left).min(held.max(LOOK_AGAIN))).await;
                    pause = (pause * 2).min(LOOK_AGAIN_MAX);
                    continue;
                }
                Ok(Opened::InDoubt) => Invoked::Unknown("it was sent before under this key, and its outcome was not recorded".into()),
                Ok(Opened::Done(Outcome::Ok(result))) => return Err(DirectOutcome { invoked: Invoked::Ok(result), replayed: true }),
                Ok(Opened::Done(Outcome::Failed(failure))) => {
                    return Err(DirectOutcome { invoked: Invoked::Failed(failure), replayed: true });
                }
                Ok(Opened::OtherArguments) => other_arguments(key),
                Err(error) if was_under_way => Invoked::Unknown(format!("it was under way, and its record cannot be read: {error}")),
                Err(error) => Invoked::NotSent(format!("the call could not be recorded: {error}")),
            };
            return Err(invoked.into());
        }
    }

    /// Keeps the lease for as long as this is polled.
    async fn hold(&self, store: &dyn ToolStore, key: &LedgerKey, holder: &str) -> Infallible {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            // What is sent is sent: whoever lost the lease goes on to the outcome all the same.
            if let Err(error) = store.renew_call(key, holder, self.lease).await {
                tracing::warn!(%error, tool = %key.tool, "a call under way could not be held");
            }
        }
    }
}

/// A call on its way; it is no more when this goes, be it by a panic.
struct OnItsWay<'a> {
    ledger: &'a Ledger,
    key: &'a LedgerKey,
}
impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.ledger.going.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
    }
}

/// Whether a key as it was given looks like one that a run, or another principal's direct call, goes under.
fn may_be_anothers(key: &str) -> bool {
    let mut parts = key.rsplit(':');
    let is_number = |part: Option<&str>| part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let is_a_runs = is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some();
    is_a_runs || key.contains("/call/")
}

fn other_arguments(key: &LedgerKey) -> Invoked {
    let told = format!("the key was used for `{}` with other arguments: use a new key for a new call", key.tool);
    Invoked::Refused(refused(RefusalKind::KeyReused, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_as_it_was_given_is_not_sent_again_where_it_may_be_anothers() {
        for key in ["job-1:1:0", "acme/job-1:1:0", "a:b:12:3", "acme/call/ann/k"] {
            assert!(may_be_anothers(key), "{key}");
        }
        for key in ["order/7", "k", "1:2", "a:1:b", "a::1", "job-1:1"] {
            assert!(!may_be_anothers(key), "{key}");
        }
    }
}
