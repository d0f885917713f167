//! How much of what there is one tenant may hold, so that the next one always finds a place.
//!
//! A tenant that is alone may hold everything. Where several are known, each holds at most four fifths, and the last place is for one
//! that holds none. There are several where the settings name them, or once a second one has come.

use maniple_core::{Tenant, ports::Room};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Who holds how many of so many places. Dropping a [`Share`] gives its place back.
#[derive(Debug)]
pub struct Shares {
    whole: usize,
    held: Mutex<Holders>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Holders {
    /// Whoever holds any. It is as long as that many tenants hold something at once.
    by_tenant: HashMap<Tenant, usize>,
    /// What they hold together.
    in_all: usize,
    /// The first that came, until another one does.
    first: Option<Tenant>,
    are_several: bool,
}

/// Places of a tenant, until it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Shares>,
    tenant: Tenant,
    places: usize,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    Whole,
    /// Its tenant has its share, and the rest is for others.
    Share,
}

impl Shares {
    /// Of so many places, for several tenants if the settings say so.
    pub fn of(whole: usize, are_several: bool) -> Arc<Self> {
        let held = Mutex::new(Holders { are_several, ..Holders::default() });
        Arc::new(Self { whole, held, freed: Notify::new() })
    }

    /// A place, if there is one and it is within the tenant's share.
    pub fn take(self: &Arc<Self>, tenant: &Tenant) -> Result<Share, Full> {
        self.take_many(tenant, 1)
    }

    /// So many places at once. More than any tenant may hold is taken for that.
    pub fn take_many(self: &Arc<Self>, tenant: &Tenant, places: usize) -> Result<Share, Full> {
        let mut held = self.lock();
        held.meet(tenant);
        let (own, most) = (held.of(tenant), self.most(&held));
        let places = places.min(most);
        if held.in_all + places > self.whole {
            return Err(Full::Whole);
        }
        let kept = usize::from(held.are_several && own > 0);
        if own + places > most || held.in_all + kept + places > self.whole {
            return Err(Full::Share);
        }
        Ok(self.given(&mut held, tenant, places))
    }

    /// A place that is known to be within the tenant's share.
    pub fn enter(self: &Arc<Self>, tenant: &Tenant) -> Share {
        let mut held = self.lock();
        held.meet(tenant);
        self.given(&mut held, tenant, 1)
    }

    /// So many more, and of whom how many.
    pub fn room(&self, places: usize) -> Room {
        let held = self.lock();
        let most = self.most(&held);
        let left = held.by_tenant.iter().map(|(tenant, held)| (tenant.clone(), most.saturating_sub(*held))).collect();
        let kept = usize::from(held.are_several && held.in_all + places >= self.whole);
        Room { places, of_each: most, left, kept }
    }

    /// The tenants that hold all they may.
    pub fn full(&self) -> Vec<Tenant> {
        let held = self.lock();
        let most = self.most(&held);
        held.by_tenant.iter().filter(|(_, held)| **held >= most).map(|(tenant, _)| tenant.clone()).collect()
    }

    /// Resolves when a tenant that held all it might has given one back.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    fn most(&self, held: &Holders) -> usize {
        if !held.are_several {
            return self.whole;
        }
        (self.whole / 5 * 4 + self.whole % 5 * 4 / 5).min(self.whole.saturating_sub(1)).max(1)
    }

    fn given(self: &Arc<Self>, held: &mut Holders, tenant: &Tenant, places: usize) -> Share {
        *held.by_tenant.entry(tenant.clone()).or_default() += places;
        held.in_all += places;
        Share { of: self.clone(), tenant: tenant.clone(), places }
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holders {
    fn of(&self, tenant: &Tenant) -> usize {
        self.by_tenant.get(tenant).copied().unwrap_or(0)
    }
    fn meet(&mut self, tenant: &Tenant) {
        match &self.first {
            None => self.first = Some(tenant.clone()),
            Some(first) => self.are_several |= first != tenant,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.lock();
        let most = self.of.most(&held);
        let held_all = held.in_all + 1 >= self.of.whole;
        held.in_all = held.in_all.saturating_sub(self.places);
        let Some(count) = held.by_tenant.get_mut(&self.tenant) else { return };
        let was_full = *count >= most || held_all;
        *count = count.saturating_sub(self.places);
        if *count == 0 {
            held.by_tenant.remove(&self.tenant);
        }
        drop(held);
        if was_full {
            self.of.freed.notify_one();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::parse(name).unwrap()
    }
    fn taken(shares: &Arc<Shares>, name: &str) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(&tenant(name)).ok()).take(1_000).collect()
    }

    #[test]
    fn of_several_tenants_none_holds_more_than_four_fifths_and_one_place_stays() {
        for (whole, most) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (9, 7), (10, 8), (100, 80)] {
            let shares = Shares::of(whole, true);
            assert_eq!(taken(&shares, "acme").len(), most, "of {whole}");
        }
    }

    #[test]
    fn a_tenant_that_is_alone_holds_everything_until_another_comes() {
        let shares = Shares::of(10, false);
        let all = taken(&shares, "acme");
        assert_eq!(all.len(), 10);
        assert_eq!(shares.take(&tenant("beta")).unwrap_err(), Full::Whole);
        assert_eq!(shares.full(), [tenant("acme")]);
        drop(all);
        assert_eq!(taken(&shares, "acme").len(), 8);
    }

    #[test]
    fn the_last_place_is_for_one_that_holds_none() {
        let shares = Shares::of(10, true);
        let (acme, beta) = (taken(&shares, "acme"), taken(&shares, "beta"));
        assert_eq!((acme.len(), beta.len()), (8, 1));
        assert_eq!(shares.take(&tenant("beta")).unwrap_err(), Full::Share);
        let gamma = taken(&shares, "gamma");
        assert_eq!(gamma.len(), 1);
        drop(beta);
        assert_eq!(taken(&shares, "gamma").len(), 0, "it holds one");
        assert_eq!(taken(&shares, "delta").len(), 1);
    }

    #[test]
    fn many_places_are_taken_at_once_or_none_of_them() {
        let shares = Shares::of(10, true);
        let five = shares.take_many(&tenant("acme"), 5).unwrap();
        assert_eq!(shares.take_many(&tenant("acme"), 4).unwrap_err(), Full::Share);
        assert_eq!(shares.take_many(&tenant("beta"), 6).unwrap_err(), Full::Whole);
        drop(five);
        assert!(shares.take_many(&tenant("acme"), 1_000).is_ok(), "what is more than a share is taken for one");
    }

    #[test]
    fn there_is_room_for_what_a_tenant_has_left_of_its_share() {
        let shares = Shares::of(5, true);
        let held: Vec<_> = (0..3).map(|_| shares.enter(&tenant("acme"))).collect();
        let room = shares.room(2);
        assert_eq!((room.left_of(&tenant("acme")), room.left_of(&tenant("beta")), room.kept, held.len()), (1, 2, 1, 3));
        assert_eq!(shares.room(1).kept, 0, "another place is left");
    }

    #[tokio::test]
    async fn a_place_of_a_full_tenant_that_is_given_back_is_heard_of() {
        let shares = Shares::of(5, true);
        let mut held = taken(&shares, "acme");
        held.pop();
        tokio::time::timeout(std::time::Duration::from_secs(5), shares.freed()).await.expect("heard");
    }
}
