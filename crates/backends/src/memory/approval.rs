//! What people are asked, and what they say.

use super::table::{State, Table};
use crate::rules;
use maniple_core::{
    Result, Tenant, Time,
    event::Event,
    ports::{Approval, ApprovalState, Decided, Decision, ListApprovals},
    signal::Signal,
};

impl Table {
    /// What the facts of an append open and close.
    pub(super) fn keep_approvals(&mut self, number: u64, events: &[(u32, Event)], now: Time) {
        for (step, event) in events {
            match event {
                Event::ApprovalRequested(request) => {
                    let row = self.rows.get_mut(&number).expect("held");
                    let known = self.approvals.entry((row.key.tenant.clone(), request.id.clone()));
                    if let std::collections::hash_map::Entry::Vacant(free) = known {
                        free.insert(number);
                        row.approvals.push(Approval {
                            key: row.key.clone(),
                            agent: row.session.agent.clone(),
                            step: *step,
                            request: request.clone(),
                            requested_at: now,
                            state: ApprovalState::Open,
                            decision: None,
                            decided_at: None,
                        });
                    }
                }
                Event::ApprovalDecided(decided) => {
                    let row = self.rows.get_mut(&number).expect("held");
                    let asked = row.approvals.iter_mut().filter(|approval| approval.request.id == decided.id);
                    asked.for_each(|approval| approval.state = ApprovalState::of(decided.answer));
                }
                _ => {}
            }
        }
    }

    /// Whether an append says that nobody decided over a request that somebody did decide.
    pub(super) fn overlooks_a_decision(&self, number: u64, events: &[(u32, Event)]) -> bool {
        rules::expired(events)
            .any(|id| self.rows[&number].approvals.iter().any(|approval| approval.request.id == id && approval.decision.is_some()))
    }

    pub(super) fn list_approvals(&self, query: &ListApprovals, now: Time) -> Vec<Approval> {
        let unfinished = self.rows.values().filter(|row| row.state != State::Final && row.key.tenant == query.tenant);
        let mut found: Vec<Approval> = unfinished
            .filter(|row| query.agents.is_empty() || query.agents.contains(&row.session.agent))
            .filter(|row| query.task.as_ref().is_none_or(|task| *task == row.key.id))
            .flat_map(|row| &row.approvals)
            .map(|approval| seen(approval, now))
            .filter(|approval| query.state.is_none_or(|state| state == approval.state))
            .filter(|approval| query.after.as_ref().is_none_or(|(at, id)| (approval.requested_at, &approval.request.id) > (*at, id)))
            .collect();
        found.sort_by(|a, b| (a.requested_at, &a.request.id).cmp(&(b.requested_at, &b.request.id)));
        found.truncate(query.limit.min(rules::READ_MAX));
        found
    }

    pub(super) fn approval(&self, tenant: &Tenant, id: &str, now: Time) -> Option<Approval> {
        let number = self.approvals.get(&(tenant.clone(), id.to_owned()))?;
        let approval = self.rows[number].approvals.iter().find(|approval| approval.request.id == id)?;
        Some(seen(approval, now))
    }

    pub(super) fn decide(&mut self, tenant: &Tenant, id: &str, decision: &Decision, now: Time) -> Result<Decided> {
        let mut approval = self.approval(tenant, id, now).ok_or_else(|| rules::no_approval(id))?;
        let number = self.approvals[&(tenant.clone(), id.to_owned())];
        let ended = self.rows[&number].state == State::Final;
        if !rules::decides(&approval, decision, ended)? {
            return Ok(Decided { approval, fresh: false });
        }
        (approval.state, approval.decision, approval.decided_at) = (decision.state(), Some(decision.clone()), Some(now));
        let kept = self.rows.get_mut(&number).expect("found above").approvals.iter_mut().find(|kept| kept.request.id == id);
        kept.into_iter().for_each(|kept| *kept = approval.clone());
        self.leave(number, Signal { at: now, ..decision.signal(id) }, now);
        Ok(Decided { approval, fresh: true })
    }
}

fn seen(approval: &Approval, now: Time) -> Approval {
    Approval { state: rules::state_at(approval.state, approval.request.expires_at, now), ..approval.clone() }
}
