//! How much comes in at once, and how often a tenant may come: one count for all doors of a process.

use super::Limits;
use maniple_core::{Error, Principal, Result, Tenant};
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

/// A place that is held until this is dropped.
#[derive(Debug)]
pub struct Seat {
    _permit: OwnedSemaphorePermit,
}

/// How many are inside, and how often each tenant has come.
pub struct Gate {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Tool calls go on although their callers leave, and give their places among the requests back.
    calls: Arc<Semaphore>,
    requests_per_minute: Option<u64>,
    /// One a tenant, and tenants come from the settings: it does not grow.
    windows: Mutex<HashMap<Tenant, Window>>,
}

struct Window {
    began: Instant,
    requests: u64,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        let places = |n: u64| Arc::new(Semaphore::new(usize::try_from(n).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)));
        Self {
            requests: places(limits.in_flight_requests),
            streams: places(limits.event_streams),
            calls: places(limits.in_flight_requests),
            requests_per_minute: limits.requests_per_minute,
            windows: Mutex::default(),
        }
    }

    /// A place for a request, of whomever it may be; a door asks for it first. `Unavailable` where there is none.
    pub fn enter(&self) -> Result<Seat> {
        seat(&self.requests, "requests")
    }

    /// Counts a request of the principal's tenant. `Exhausted` where it has made all of this minute.
    pub fn count(&self, who: &Principal) -> Result<()> {
        let Some(most) = self.requests_per_minute else { return Ok(()) };
        let (tenant, now) = (&who.tenant, Instant::now());
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

    /// A place for a tool call.
    pub(super) fn call(&self) -> Option<Seat> {
        Some(Seat { _permit: self.calls.clone().try_acquire_owned().ok()? })
    }

    /// A place for an event stream.
    pub(super) fn stream(&self) -> Result<Seat> {
        seat(&self.streams, "event streams")
    }
}

fn seat(places: &Arc<Semaphore>, what: &'static str) -> Result<Seat> {
    match places.clone().try_acquire_owned() {
        Ok(permit) => Ok(Seat { _permit: permit }),
        Err(_) => {
            // The name is older than the second door.
            metrics::counter!("maniple_http_shed_total", "what" => what).increment(1);
            Err(Error::unavailable(format!("this node has all the {what} it takes at once: try again")).after(Duration::from_secs(1)))
        }
    }
}
