//! Who works on what: claim, renew, append, release.

use super::table::{Row, State, Table};
use crate::rules::{self, Draft};
use maniple_core::{
    AgentName, Result, Tenant, Time,
    event::StoredEvent,
    ports::{Also, Append, Appended, Claim, Claimed, Recorded, Refused, Renewal, Room, Then},
    run::Awaited,
    signal::SignalKind,
};
use std::{collections::BTreeMap, sync::Arc};

impl Table {
    pub(super) fn claim(&mut self, agents: &[AgentName], room: &Room, now: Time) -> Vec<Claimed> {
        let agents = rules::agents_of(agents);
        let (mut claimed, mut handed_out) = (Vec::new(), BTreeMap::<Tenant, usize>::new());
        while claimed.len() < room.places.min(rules::CLAIM_MAX) {
            let fits = |tenant: &Tenant| {
                let own = handed_out.get(tenant).copied().unwrap_or(0);
                own < room.left_of(tenant) && claimed.len() < room.places_of(tenant, own)
            };
            let Some((tenant, number)) = self.next(&agents, fits) else { break };
            *handed_out.entry(tenant.clone()).or_default() += 1;
            self.turns.served(&agents, tenant);
            claimed.push(self.hand_out(number, now));
        }
        claimed
    }

    /// The tenant whose turn it is, then its highest priority, then the lowest place.
    fn next(&self, agents: &[AgentName], fits: impl Fn(&Tenant) -> bool) -> Option<(Tenant, u64)> {
        let queues = || agents.iter().filter_map(|agent| self.ready.get(agent));
        let tenants = || queues().flat_map(|tenants| tenants.keys()).filter(|tenant| fits(tenant));
        let last = self.turns.last(agents);
        let tenant = tenants().filter(|tenant| last.is_none_or(|last| *tenant > last)).min().or_else(|| tenants().min())?;
        let firsts = queues().filter_map(|tenants| tenants.get(tenant)?.first_key_value());
        let (_, number) =
            firsts.filter_map(|(priority, places)| Some(((*priority, places.keys().next()?), places.values().next()?))).min()?;
        Some((tenant.clone(), *number))
    }

    pub(super) fn hand_out(&mut self, number: u64, now: Time) -> Claimed {
        self.change(number, |row| {
            row.state = State::Running;
            row.epoch += 1;
            row.born = None;
            row.lease_until = now.plus(rules::LEASE);
            row.progressed = false;
            row.header.started_at.get_or_insert(now);
        });
        let row = &self.rows[&number];
        let first_place = self.sessions.get(&row.session).and_then(|session| session.placed.keys().next());
        Claimed {
            claim: Claim { key: row.key.clone(), epoch: row.epoch },
            lease: rules::LEASE,
            now,
            created_at: row.header.created_at,
            journal: row.journal.iter().map(|(_, event)| StoredEvent::clone(event)).collect(),
            signals: row.unread(),
            has_history: first_place < row.place.as_ref(),
        }
    }

    fn held(&self, claim: &Claim) -> Option<u64> {
        let number = *self.by_key.get(&claim.key)?;
        let row = &self.rows[&number];
        (row.state == State::Running && row.epoch == claim.epoch).then_some(number)
    }

    pub(super) fn renew(&mut self, claim: &Claim, now: Time) -> Renewal {
        let Some(number) = self.held(claim) else { return Renewal::Lost };
        self.change(number, |row| {
            (row.lease_until, row.born) = (now.plus(rules::LEASE), None);
            let mut kinds: Vec<SignalKind> = row.unread().iter().map(|signal| signal.kind).collect();
            kinds.sort_unstable_by_key(|kind| kind.as_str());
            kinds.dedup();
            Renewal::Held(kinds)
        })
    }

    pub(super) fn release(&mut self, claim: &Claim, now: Time) {
        if let Some(number) = self.held(claim) {
            self.make_ready(number, now);
        }
    }

    pub(super) fn append(&mut self, append: &Append, drafts: &[Draft], now: Time) -> Result<Appended> {
        let Some(number) = self.by_key.get(&append.claim.key).copied() else { return Ok(Appended::Stale) };
        let Some(number) = self.held(&append.claim).filter(|_| self.rows[&number].last() == append.after) else {
            let before = recorded_before(&self.rows[&number], append, drafts);
            return Ok(before.map_or(Appended::Stale, |events| Appended::Recorded(Recorded { events, readied: true })));
        };
        let folds = |id: &str| append.signals_read.iter().any(|read| read == id);
        if matches!(append.then, Then::Park(_)) && self.rows[&number].unread().iter().any(|signal| !folds(&signal.id)) {
            return Ok(Appended::Refused(Refused::SignalsUnread));
        }
        if let Some(id) = self.overlooked(number, &append.also) {
            return Ok(Appended::Refused(Refused::Decided(id)));
        }

        let mut events = self.change(number, |row| {
            if append.events.iter().any(|(_, event)| event.is_progress()) {
                (row.progressed, row.barren_expired, row.barren_open) = (true, 0, 0);
            }
            for (signal, read) in &mut row.signals {
                *read |= folds(&signal.id);
            }
            row.header.progress = append.progress.clone();
            let epoch = row.epoch;
            drafts.iter().map(|draft| row.record(epoch, draft.numbered(row.last() + 1, now))).collect::<Vec<_>>()
        });
        for also in &append.also {
            match also {
                Also::Definitions(kept) => self.keep_definitions(number, kept),
                Also::Ask { event } => self.ask(number, append, *event, now)?,
                Also::Settle { id, answer } => self.settle(number, id, *answer),
                // Nothing reads them yet.
            }
        }
        let mut readied = false;
        match &append.then {
            Then::Keep => {}
            Then::Park(Awaited { what, until }) => self.change(number, |row| {
                row.state = State::Parked;
                row.until = *until;
                row.header.waiting_for = Some(*what);
            }),
            Then::End(ending) => {
                let (event, released) = self.end(number, ending, now)?;
                events.push(event);
                readied = released;
            }
        }
        Ok(Appended::Recorded(Recorded { events, readied }))
    }

    pub(super) fn keep_definitions(&mut self, number: u64, (hash, definitions): &(String, maniple_core::agent::Definitions)) {
        let row = self.rows.get_mut(&number).expect("held");
        if row.definitions.as_ref() == Some(hash) {
            return;
        }
        if let Some(kept) = row.definitions.replace(hash.clone()).and_then(|old| self.definitions.get_mut(&old)) {
            kept.0 -= 1;
        }
        self.definitions.entry(hash.clone()).or_insert_with(|| (0, definitions.clone())).0 += 1;
    }
}

/// The events of an append whose reply was lost. A holder that would go on must still hold its claim.
fn recorded_before(row: &Row, append: &Append, drafts: &[Draft]) -> Option<Vec<Arc<StoredEvent>>> {
    let mut count = drafts.len();
    match &append.then {
        Then::Keep if row.state != State::Running || row.epoch != append.claim.epoch || drafts.is_empty() => return None,
        Then::Keep | Then::Park(_) => {}
        Then::End(_) => count += 1,
    }
    let from = append.after as usize;
    let stored = row.journal.get(from..from + count)?;
    let own = stored.iter().all(|(epoch, _)| *epoch == append.claim.epoch);
    let alike = drafts.iter().zip(stored).all(|(draft, (_, stored))| draft.is(stored));
    let ended = match &append.then {
        Then::Keep | Then::Park(_) => true,
        Then::End(ending) => stored.last().is_some_and(|(_, event)| rules::ends_alike(event, ending)),
    };
    (own && alike && ended).then(|| stored.iter().map(|(_, event)| event.clone()).collect())
}
