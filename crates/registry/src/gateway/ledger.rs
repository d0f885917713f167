//! The record of calls that no run's journal holds: (tenant, tool, key) has one outcome.
//!
//! | the record says | then |
//! |---|---|
//! | nothing | it is opened, and the call is sent |
//! | an outcome | that is the answer; nothing is sent |
//! | started, no outcome | what was and is pure or idempotent is sent again; what was or is `at_most_once` is in doubt |
//! | other arguments | refused |

use super::refused;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use maniple_core::{
    canonical,
    ports::{Invocation, Invoked, LedgerKey, Opened, Outcome, RefusalKind, ToolStore},
    tool::Effect,
};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

type Going = Shared<BoxFuture<'static, Invoked>>;

#[derive(Clone)]
pub(super) struct Ledger {
    store: Option<Arc<dyn ToolStore>>,
    /// Calls on their way, with the hash of their arguments: the same key again waits for the same outcome.
    going: Arc<Mutex<HashMap<LedgerKey, (String, Going)>>>,
}

impl Ledger {
    pub(super) fn new(store: Option<Arc<dyn ToolStore>>) -> Self {
        Self { store, going: Arc::default() }
    }

    /// Sends under the key at most once at a time, and goes on to the outcome although the caller leaves.
    /// `send` is told whether it may have been sent before.
    pub(super) async fn once<F>(&self, call: &Invocation, send: impl FnOnce(bool) -> F + Send + 'static) -> Invoked
    where
        F: Future<Output = Invoked> + Send + 'static,
    {
        let key = LedgerKey { tenant: call.tenant.clone(), tool: call.tool.name.clone(), key: call.key.clone() };
        let hash = canonical::hash(&call.arguments);
        let going = {
            let mut all = self.going.lock().unwrap_or_else(PoisonError::into_inner);
            match all.get(&key) {
                Some((other, _)) if *other != hash => return other_arguments(&key),
                Some((_, going)) => going.clone(),
                None => {
                    let (ledger, effect) = (self.clone(), call.tool.effect());
                    let (owned, owned_hash) = (key.clone(), hash.clone());
                    let work = tokio::spawn(async move {
                        let on_its_way = OnItsWay { ledger: &ledger, key: &owned };
                        let outcome = ledger.recorded(&owned, &owned_hash, effect, send).await;
                        drop(on_its_way);
                        outcome
                    });
                    let going = work.map(|done| done.unwrap_or_else(|_| Invoked::Unknown("the call broke off".into()))).boxed().shared();
                    all.insert(key, (hash, going.clone()));
                    going
                }
            }
        };
        going.await
    }

    async fn recorded<F: Future<Output = Invoked>>(
        &self,
        key: &LedgerKey,
        hash: &str,
        effect: Effect,
        send: impl FnOnce(bool) -> F,
    ) -> Invoked {
        let Some(store) = &self.store else { return send(false).await };
        // A call that was sent before stays on record although this send comes to nothing.
        let is_once = effect == Effect::AtMostOnce;
        let opened = match store.open_call(key, &named(hash, is_once)).await {
            // Under another effect class, perhaps: a version may have come that promises more, or less, than the one it was sent to.
            Ok(Opened::OtherArguments) => match store.open_call(key, &named(hash, !is_once)).await {
                Ok(Opened::Before) => return in_doubt(),
                // The record went away in between, and a new one would be of the other class.
                Ok(Opened::New) => {
                    let dropped = store.drop_call(key).await.err().map_or_else(String::new, |error| format!(": {error}"));
                    return Invoked::NotSent(format!("the key was let go of at this moment{dropped}"));
                }
                other => other,
            },
            other => other,
        };
        let is_new = match opened {
            Ok(Opened::New) => true,
            Ok(Opened::Before) if !is_once => false,
            Ok(Opened::Before) => return in_doubt(),
            Ok(Opened::Done(Outcome::Ok(result))) => return Invoked::Ok(result),
            Ok(Opened::Done(Outcome::Failed(failure))) => return Invoked::Failed(failure),
            Ok(Opened::OtherArguments) => return other_arguments(key),
            Err(error) => return Invoked::NotSent(format!("the call could not be recorded: {error}")),
        };
        let outcome = send(!is_new).await;
        let written = match &outcome {
            Invoked::Ok(result) => store.close_call(key, &Outcome::Ok(result.clone())).await,
            Invoked::Failed(failure) => store.close_call(key, &Outcome::Failed(failure.clone())).await,
            Invoked::NotSent(_) | Invoked::Wait(..) | Invoked::Refused(_) if is_new => store.drop_call(key).await,
            Invoked::NotSent(_) | Invoked::Wait(..) | Invoked::Refused(_) | Invoked::Unknown(_) => Ok(()),
        };
        if let Err(error) = written {
            // The record stays open: the key asked again is sent again or in doubt, as after a crash.
            tracing::error!(%error, tool = %key.tool, "the outcome of a call could not be recorded");
        }
        outcome
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

/// What a call is compared by: its arguments, and whether it may be sent again.
fn named(arguments_hash: &str, is_once: bool) -> String {
    if is_once { format!("{arguments_hash}:once") } else { arguments_hash.to_owned() }
}

fn in_doubt() -> Invoked {
    Invoked::Unknown("it was sent before under this key, and its outcome was not recorded".into())
}

fn other_arguments(key: &LedgerKey) -> Invoked {
    let told = format!("the key was used for `{}` with other arguments: use a new key for a new call", key.tool);
    Invoked::Refused(refused(RefusalKind::KeyReused, told))
}
