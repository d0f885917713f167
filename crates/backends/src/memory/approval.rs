//! What people are asked, and what they say.

use super::table::{State, Table};
use crate::rules;
use maniple_core::{
    Result, Tenant, Time,
    event::Answer,
    ports::{Also, Append, Approval, ApprovalState, Decided, Decision, Idempotency, KeyWas, ListApprovals},
    signal::Signal,
};
use std::collections::hash_map::Entry;

impl Table {
    /// Puts the question of an append to people.
    pub(super) fn ask(&mut self, number: u64, append: &Append, event: usize, now: Time) -> Result<()> {
        let request = rules::asked(append, event)?;
        let step = append.events[event].0;
        let row = self.rows.get_mut(&number).expect("held");
        if let Entry::Vacant(free) = self.approvals.entry((row.key.tenant.clone(), request.id.clone())) {
            free.insert(number);
            row.approvals.push(Approval {
                key: row.key.clone(),
                agent: row.session.agent.clone(),
                step,
                request: request.clone(),
                requested_at: now,
                state: ApprovalState::Open,
                decision: None,
                decided_at: None,
            });
        }
        Ok(())
    }

    /// What was said to a question.
    pub(super) fn settle(&mut self, number: u64, id: &str, answer: Answer) {
        let row = self.rows.get_mut(&number).expect("held");
        let asked = row.approvals.iter_mut().filter(|approval| approval.request.id == id);
        asked.for_each(|approval| approval.state = ApprovalState::of(answer));
    }

    /// The request that an append says nobody decided in time, though somebody did.
    pub(super) fn overlooked(&self, number: u64, also: &[Also]) -> Option<String> {
        let is_decided = |id: &&str| {
            let mut own = self.rows[&number].approvals.iter();
            own.any(|approval| approval.request.id == *id && approval.decision.is_some())
        };
        rules::expired(also).find(is_decided).map(str::to_owned)
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

    pub(super) fn decide(
        &mut self,
        tenant: &Tenant,
        id: &str,
        decision: &Decision,
        idempotency: Option<Idempotency>,
        now: Time,
    ) -> Result<(Decided, KeyWas)> {
        let mut approval = self.approval(tenant, id, now).ok_or_else(|| rules::no_approval(id))?;
        if self.knows(tenant, idempotency.as_ref(), now)? == KeyWas::Known {
            return Ok((Decided { approval, fresh: false }, KeyWas::Known));
        }
        let number = self.approvals[&(tenant.clone(), id.to_owned())];
        let ended = self.rows[&number].state == State::Final;
        let is_new = rules::decides(&approval, decision, ended)?;
        self.keep_key(tenant, idempotency, id, now);
        if !is_new {
            return Ok((Decided { approval, fresh: false }, KeyWas::New));
        }
        (approval.state, approval.decision, approval.decided_at) = (decision.state(), Some(decision.clone()), Some(now));
        let kept = self.rows.get_mut(&number).expect("found above").approvals.iter_mut().find(|kept| kept.request.id == id);
        kept.into_iter().for_each(|kept| *kept = approval.clone());
        self.leave(number, Signal { at: now, ..decision.signal(id) }, now);
        Ok((Decided { approval, fresh: true }, KeyWas::New))
    }
}

fn seen(approval: &Approval, now: Time) -> Approval {
    Approval { state: rules::state_at(approval.state, approval.request.expires_at, now), ..approval.clone() }
}
