//! How much comes in at once, and how often a tenant may come: one count for all doors of a process.

use super::Limits;
use maniple_aside::{Full, Share, Shares};
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

/// In which the weight of bodies is counted, in bytes.
const BLOCK: usize = 4 << 10;

/// A place among the requests, of whomever they may be, held until this is dropped.
#[derive(Debug)]
pub struct Seat {
    _permit: OwnedSemaphorePermit,
}

/// A tenant's part of the requests, the streams or the bodies, held until this is dropped.
#[derive(Debug)]
pub struct Presence {
    _share: Share,
}

/// How many are inside, and how often each tenant has come.
pub struct Gate {
    requests: Arc<Semaphore>,
    of_requests: Arc<Shares>,
    streams: Arc<Shares>,
    bodies: Arc<Shares>,
    /// Tool calls go on although their callers leave, and give their places among the requests back.
    calls: Arc<Shares>,
    requests_per_minute: Option<u64>,
    /// One a tenant, and tenants come from the settings: it does not grow.
    windows: Mutex<HashMap<Tenant, Window>>,
}

struct Window {
    began: Instant,
    requests: u64,
}

impl Gate {
    pub(super) fn new(limits: &Limits, several_tenants: bool) -> Self {
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let shares = |n: u64| Shares::of(count(n), several_tenants);
        Self {
            requests: Arc::new(Semaphore::new(count(limits.in_flight_requests))),
            of_requests: shares(limits.in_flight_requests),
            streams: shares(limits.event_streams),
            bodies: shares(limits.bodies_bytes / BLOCK as u64),
            calls: shares(limits.in_flight_requests),
            requests_per_minute: limits.requests_per_minute,
            windows: Mutex::default(),
        }
    }

    /// A place for a request, of whomever it may be; a door asks for it first. `Unavailable` where there is none.
    pub fn enter(&self) -> Result<Seat> {
        let permit = self.requests.clone().try_acquire_owned().map_err(|_| refused(Full::Whole, "requests", None))?;
        Ok(Seat { _permit: permit })
    }

    /// Lets a request of the principal's tenant in. `Exhausted` where it has made all of this minute, or has its share of all
    /// requests in flight.
    pub fn let_in(&self, who: &Principal) -> Result<Presence> {
        self.count(who)?;
        present(&self.of_requests, &who.tenant, 1, "requests")
    }

    fn count(&self, who: &Principal) -> Result<()> {
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

    /// A place for a tool call of a tenant.
    pub(super) fn call(&self, tenant: &Tenant) -> Option<Share> {
        self.calls.take(tenant).ok()
    }

    /// Room for a body of a tenant, until it is read. `Unavailable` where those that are being read weigh all they may, `Exhausted`
    /// where its tenant's do.
    pub fn body(&self, tenant: &Tenant, bytes: usize) -> Result<Presence> {
        present(&self.bodies, tenant, bytes.div_ceil(BLOCK).max(1), "bodies")
    }

    /// A place for an event stream of a tenant. `Unavailable` where there is none, `Exhausted` where it has its share of them.
    pub(super) fn stream(&self, tenant: &Tenant) -> Result<Presence> {
        present(&self.streams, tenant, 1, "event streams")
    }
}

fn present(shares: &Arc<Shares>, tenant: &Tenant, places: usize, what: &'static str) -> Result<Presence> {
    let share = shares.take_many(tenant, places).map_err(|full| refused(full, what, Some(tenant)))?;
    Ok(Presence { _share: share })
}

fn refused(full: Full, what: &'static str, tenant: Option<&Tenant>) -> Error {
    // The name is older than the second door.
    metrics::counter!("maniple_http_shed_total", "what" => what).increment(1);
    let error = match (full, tenant) {
        (Full::Share, Some(tenant)) => Error::exhausted(format!(
            "the tenant `{tenant}` has its share of the {what} that this node takes at once: the rest is for others"
        )),
        (Full::Whole, _) | (Full::Share, None) => Error::unavailable(format!("this node has all the {what} it takes at once: try again")),
    };
    error.after(Duration::from_secs(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use maniple_core::Kind;

    #[tokio::test]
    async fn a_tenant_that_fills_the_node_leaves_a_fifth_of_requests_and_streams_to_others() {
        let gate = Gate::new(&Limits { in_flight_requests: 10, event_streams: 10, ..Limits::default() }, true);
        let of = |tenant: &str| Principal { tenant: Tenant::parse(tenant).unwrap(), ..Principal::local() };
        let (acme, beta) = (of("acme"), of("beta"));
        let streams: Vec<_> = (0..8).map(|_| gate.stream(&acme.tenant).unwrap()).collect();
        let requests: Vec<_> = (0..8).map(|_| gate.let_in(&acme).unwrap()).collect();
        for refused in [gate.stream(&acme.tenant).unwrap_err(), gate.let_in(&acme).unwrap_err()] {
            assert_eq!((refused.kind, refused.retry_after), (Kind::Exhausted, Some(Duration::from_secs(1))), "{refused}");
        }
        assert!(gate.stream(&beta.tenant).is_ok() && gate.let_in(&beta).is_ok());
        drop((streams, requests));
        assert!(gate.stream(&acme.tenant).is_ok() && gate.let_in(&acme).is_ok());
    }

    #[tokio::test]
    async fn bodies_that_are_read_at_once_weigh_so_much_at_most_and_not_all_of_it_is_one_tenants() {
        let gate = Gate::new(&Limits { bodies_bytes: 10 << 20, ..Limits::default() }, true);
        let (acme, beta) = (Tenant::parse("acme").unwrap(), Tenant::parse("beta").unwrap());
        let reading: Vec<_> = (0..8).map(|_| gate.body(&acme, 1 << 20).unwrap()).collect();
        let refused = gate.body(&acme, 1).unwrap_err();
        assert_eq!((refused.kind, refused.retry_after), (Kind::Exhausted, Some(Duration::from_secs(1))), "{refused}");
        assert_eq!(gate.body(&beta, 3 << 20).unwrap_err().kind, Kind::Unavailable);
        let theirs = gate.body(&beta, 1 << 20).unwrap();
        assert!(gate.body(&beta, 1 << 20).is_err() && gate.body(&beta, 4 << 10).is_ok());
        drop((reading, theirs));
        assert!(gate.body(&acme, 8 << 20).is_ok());
    }
}
