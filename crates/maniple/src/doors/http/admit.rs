//! The gate: decides by a request's head alone whether it comes in, before a byte of its body is read.

use super::{Limits, Shared, answer::Refusal};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use maniple_core::{Error, Result, Tenant};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Over which a tenant's requests are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// How many may be inside, and how often a tenant may come.
pub struct Gate {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    requests_per_minute: Option<u64>,
    /// One a tenant, and tenants come from the settings: it does not grow.
    windows: Mutex<HashMap<Tenant, Window>>,
}

struct Window {
    began: Instant,
    requests: u64,
}

impl Gate {
    /// A gate with nobody inside.
    pub fn new(limits: &Limits) -> Self {
        let places = |n: u64| Arc::new(Semaphore::new(usize::try_from(n).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)));
        Self {
            requests: places(limits.in_flight_requests),
            streams: places(limits.event_streams),
            requests_per_minute: limits.requests_per_minute,
            windows: Mutex::default(),
        }
    }
    fn enter(&self) -> Result<OwnedSemaphorePermit> {
        self.requests.clone().try_acquire_owned().map_err(|_| shed("requests"))
    }
    /// A place for an event stream, held as long as it lasts.
    pub(super) fn stream(&self) -> Result<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().map_err(|_| shed("event streams"))
    }
    fn count(&self, tenant: &Tenant) -> Result<()> {
        let Some(most) = self.requests_per_minute else { return Ok(()) };
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(tenant.clone()).or_insert(Window { began: now, requests: 0 });
        if now.duration_since(window.began) >= WINDOW {
            *window = Window { began: now, requests: 0 };
        }
        if window.requests >= most {
            let wait = WINDOW.saturating_sub(now.duration_since(window.began));
            let message = format!("the tenant `{tenant}` has made its {most} requests of this minute: wait");
            return Err(Error::exhausted(message).after(wait));
        }
        window.requests += 1;
        Ok(())
    }
}

fn shed(what: &'static str) -> Error {
    metrics::counter!("maniple_http_shed_total", "what" => what).increment(1);
    Error::unavailable(format!("this node has all the {what} it takes at once: try again")).after(Duration::from_secs(1))
}

/// In this order: is there room, who is it, do they come too often.
pub(super) async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    // Shedding is ordinary under overload: it is counted, not logged.
    let quiet = |error: Error| Refusal::from(maniple_api::Problem::from(&error));
    let _inside = shared.gate.enter().map_err(quiet)?;
    let principal = shared.door.auth.principal(request.headers()).map_err(Refusal)?;
    shared.gate.count(&principal.tenant).map_err(quiet)?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// Who is it, and nothing more: for what is asked in an overload too.
pub(super) async fn known(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let principal = shared.door.auth.principal(request.headers()).map_err(Refusal)?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}
