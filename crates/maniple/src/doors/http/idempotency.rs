//! The header Idempotency-Key of every POST. What is done under one is the desk's to say; of calls of tools, the registry's.

use super::answer::Refusal;
use http::HeaderMap;
use maniple_api::Problem;
use maniple_core::{Tenant, ports::Idempotency};
use maniple_runtime::desk::IdempotencyKey;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

const HEADER: &str = "Idempotency-Key";
/// How long a key is remembered here.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How many; beyond, the oldest goes.
const MOST: usize = 10_000;

/// The key of a request. 400 for one that cannot be one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Refusal> {
    let wrong = |why: String| Refusal::from(Problem::malformed(why).at(HEADER));
    let mut given = headers.get_all(HEADER).iter();
    let Some(key) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(wrong(format!("{HEADER} is there twice")));
    }
    // What is no text is no key either.
    let key = IdempotencyKey::parse(key.to_str().unwrap_or_default());
    key.map(Some).map_err(|error| wrong(error.message.into_owned()))
}

/// The keys of calls that make nothing.
#[derive(Default)]
pub(super) struct Replays(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// When, and the hash of the body.
    known: HashMap<(Tenant, String, String), (Instant, String)>,
    oldest_first: VecDeque<(Tenant, String, String)>,
}

impl Replays {
    /// Whether this call was answered before.
    pub(super) fn knows(&self, tenant: &Tenant, idempotency: &Idempotency) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.known.get(&name(tenant, idempotency)).is_some_and(|(at, _)| at.elapsed() < KEPT)
    }
    /// It is answered, and with 2xx; whether it was before.
    pub(super) fn seen(&self, tenant: &Tenant, idempotency: &Idempotency) -> bool {
        let known = self.knows(tenant, idempotency);
        self.remember(tenant, idempotency);
        known
    }
    /// It is answered, and with 2xx.
    pub(super) fn remember(&self, tenant: &Tenant, idempotency: &Idempotency) {
        let name = name(tenant, idempotency);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = kept.known.insert(name.clone(), (Instant::now(), idempotency.body_hash.clone())).is_none();
        if is_new {
            kept.oldest_first.push_back(name);
        }
        if kept.oldest_first.len() > MOST
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.known.remove(&oldest);
        }
    }
}

fn name(tenant: &Tenant, idempotency: &Idempotency) -> (Tenant, String, String) {
    (tenant.clone(), idempotency.scope.clone(), idempotency.key.clone())
}
