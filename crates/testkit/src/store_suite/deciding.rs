//! What people are asked, and what they say: requests follow the journal, and a decision reaches its run.

use super::*;
use crate::{
    checker::Witness,
    faults::{self, Fault, Faults},
    ledger::Ledger,
};
use maniple_core::{
    event::{Answer, ApprovalDecided, ApprovalRequested, Question},
    ports::{Approval, ApprovalState, Decided, Decision, ListApprovals, Refused, Tasks as _},
};
use serde_json::json;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(a_request_is_open_from_the_append_that_records_it),
        case(a_decision_wakes_the_parked_run_and_reaches_its_holder),
        case(a_decision_for_a_running_task_is_an_unread_signal),
        case(the_same_decision_again_is_the_same_and_another_is_a_conflict),
        case(a_decision_whose_reply_was_lost_is_made_once),
        case(a_decision_that_never_came_leaves_nothing),
        case(after_its_moment_a_request_is_expired),
        case(what_was_decided_in_time_is_not_expired_by_a_holder_that_has_not_heard),
        case(a_recorded_expiry_closes_the_request),
        case(the_end_of_a_task_closes_its_requests_and_lists_them_no_more),
        case(an_erased_task_takes_its_requests_along),
        case(a_cancel_before_the_decision_does_not_hide_it),
        case(requests_are_listed_oldest_first_by_tenant_agent_task_and_state),
        case(ids_as_long_as_a_task_allows_are_decided),
    ]
}

/// A request of step 1.
pub(super) fn requested(id: &str, expires_at: Time) -> Event {
    Event::ApprovalRequested(ApprovalRequested {
        id: id.into(),
        index: 0,
        question: Question::MayCall,
        tool: "pay".into(),
        version: "1.0.0".parse().expect("legal"),
        contract: "hash".into(),
        way: None,
        arguments: json!({ "amount": 7 }),
        arguments_hash: "hash".into(),
        expires_at,
    })
}
pub(super) fn decided(id: &str, answer: Answer) -> Event {
    Event::ApprovalDecided(ApprovalDecided { id: id.into(), index: 0, answer, by: None, reason: None })
}
pub(super) fn yes(by: &str) -> Decision {
    Decision { approve: true, by: by.into(), reason: None }
}
pub(super) fn no(by: &str) -> Decision {
    Decision { approve: false, by: by.into(), reason: Some("too dear".into()) }
}
fn tenant() -> Tenant {
    Tenant::default()
}

impl World {
    async fn asks(&self, name: &str, id: &str) -> Claim {
        let claim = self.running(task(name)).await;
        let request = requested(id, self.clock.now().plus(seconds(60)));
        recorded(self.append(append(&claim, 1, vec![request], Then::Keep)).await);
        claim
    }
    /// The task asks and is parked: three events.
    async fn waits(&self, name: &str, id: &str) -> Claim {
        let claim = self.asks(name, id).await;
        recorded(self.append(append(&claim, 2, vec![parked(None)], park(None))).await);
        claim
    }
    async fn decide(&self, id: &str, decision: Decision) -> Result<Decided> {
        self.store.decide(&tenant(), id, decision, None).await.map(|(decided, _)| decided)
    }
    async fn approval(&self, id: &str) -> Approval {
        self.store.approval(&tenant(), id).await.expect("answers").expect("exists")
    }
    async fn listed(&self, query: ListApprovals) -> Vec<String> {
        let found = self.store.approvals(&ListApprovals { limit: 100, ..query }).await.expect("answers");
        found.into_iter().map(|approval| approval.request.id).collect()
    }
    async fn open(&self) -> Vec<String> {
        self.listed(ListApprovals { state: Some(ApprovalState::Open), ..ListApprovals::default() }).await
    }
}

async fn a_request_is_open_from_the_append_that_records_it(w: World) {
    assert_eq!(w.open().await, [""; 0]);
    let before = w.clock.now();
    w.asks("a", "a:1:0").await;
    let Event::ApprovalRequested(request) = requested("a:1:0", before.plus(seconds(60))) else { unreachable!() };
    let expected = Approval {
        key: key("a"),
        agent: agent("search"),
        step: 1,
        request,
        requested_at: before,
        state: ApprovalState::Open,
        decision: None,
        decided_at: None,
    };
    assert_eq!(w.approval("a:1:0").await, expected);
    assert_eq!(w.store.approvals(&ListApprovals { limit: 10, ..ListApprovals::default() }).await.expect("answers"), [expected]);
    assert_eq!(w.store.approval(&tenant(), "a:1:1").await.expect("answers"), None);
    let other = Tenant::parse("other").expect("legal");
    assert_eq!(w.store.approval(&other, "a:1:0").await.expect("answers"), None);
    assert_eq!(kind(w.store.decide(&other, "a:1:0", yes("eve"), None).await), Some(Kind::NotFound));
    assert_eq!(kind(w.decide("a:1:1", yes("ann")).await), Some(Kind::NotFound));
}

async fn a_decision_wakes_the_parked_run_and_reaches_its_holder(w: World) {
    w.waits("a", "a:1:0").await;
    assert!(w.claim(1).await.is_empty());
    w.clock.advance(seconds(5));
    let made = w.decide("a:1:0", no("ann")).await.expect("decided");
    assert_eq!((made.fresh, made.approval.state, made.approval.decided_at), (true, ApprovalState::Denied, Some(w.clock.now())));
    assert_eq!(made.approval.decision, Some(no("ann")));
    assert_eq!(w.approval("a:1:0").await, made.approval);
    assert_eq!(w.open().await, [""; 0]);
    let claimed = w.claim(1).await.pop().expect("ready");
    let data = json!({ "id": "a:1:0", "approve": false, "by": "ann", "reason": "too dear" });
    let told = Signal { id: "approval:a:1:0".into(), kind: SignalKind::Approval, data, at: w.clock.now() };
    assert_eq!(claimed.signals, [told]);
}

async fn a_decision_for_a_running_task_is_an_unread_signal(w: World) {
    let claim = w.asks("a", "a:1:0").await;
    w.decide("a:1:0", yes("ann")).await.expect("decided");
    assert_eq!(
        w.store.renew(std::slice::from_ref(&claim)).await.expect("answers"),
        [maniple_core::ports::Renewal::Held(vec![SignalKind::Approval])]
    );
    let parks = append(&claim, 2, vec![parked(None)], park(None));
    assert!(matches!(w.append(parks).await, Appended::Refused(Refused::SignalsUnread)), "it would sleep over its answer");
    let folds =
        Append { signals_read: vec!["approval:a:1:0".into()], ..append(&claim, 2, vec![decided("a:1:0", Answer::Approved)], Then::Keep) };
    recorded(w.append(folds).await);
    assert_eq!(w.approval("a:1:0").await.state, ApprovalState::Approved);
    assert_eq!(w.store.signals(&key("a")).await.expect("answers"), []);
}

async fn the_same_decision_again_is_the_same_and_another_is_a_conflict(w: World) {
    w.waits("a", "a:1:0").await;
    let first = w.decide("a:1:0", yes("ann")).await.expect("decided");
    w.clock.advance(seconds(90));
    let again = w.decide("a:1:0", yes("ann")).await.expect("the same");
    assert_eq!(again, Decided { fresh: false, ..first.clone() });
    assert_eq!(kind(w.decide("a:1:0", no("ann")).await), Some(Kind::Conflict));
    assert_eq!(kind(w.decide("a:1:0", yes("ben")).await), Some(Kind::Conflict));
    assert_eq!(w.approval("a:1:0").await, first.approval);
    let claimed = w.claim(1).await.pop().expect("ready");
    assert_eq!(claimed.signals.len(), 1);
    w.complete(&claimed.claim, 3, "done").await;
    assert_eq!(w.decide("a:1:0", yes("ann")).await.expect("the same"), again, "though the task has ended");
}

async fn a_decision_whose_reply_was_lost_is_made_once(w: World) {
    w.waits("a", "a:1:0").await;
    let faulty = |fault| faults::Store { inner: w.store.clone(), faults: Faults::at(1, fault), witness: Witness::new(Ledger::new()) };
    let lost = faulty(Fault::Unavailable).decide(&tenant(), "a:1:0", yes("ann"), None).await;
    assert_eq!(kind(lost), Some(Kind::Unavailable));
    let crashed = faulty(Fault::Crash);
    let whose = tenant();
    tokio::select! {
        _ = crashed.decide(&whose, "a:1:0", yes("ann"), None) => panic!("it was to crash"),
        () = crashed.faults.crashed() => {}
    }
    let again = w.decide("a:1:0", yes("ann")).await.expect("the same");
    assert_eq!((again.fresh, again.approval.state), (false, ApprovalState::Approved));
    assert_eq!(w.claim(1).await[0].signals.len(), 1);
}

async fn a_decision_that_never_came_leaves_nothing(w: World) {
    w.waits("a", "a:1:0").await;
    let faulty = faults::Store { inner: w.store.clone(), faults: Faults::at(0, Fault::Unavailable), witness: Witness::new(Ledger::new()) };
    assert_eq!(kind(faulty.decide(&tenant(), "a:1:0", yes("ann"), None).await), Some(Kind::Unavailable));
    assert_eq!((w.open().await, w.claim(1).await.len()), (vec!["a:1:0".to_owned()], 0));
    assert!(w.decide("a:1:0", no("ben")).await.expect("decided").fresh);
}

async fn after_its_moment_a_request_is_expired(w: World) {
    w.waits("a", "a:1:0").await;
    w.clock.advance(seconds(59));
    assert_eq!(w.open().await, ["a:1:0"]);
    w.clock.advance(seconds(1));
    assert_eq!(w.open().await, [""; 0]);
    assert_eq!(w.listed(ListApprovals { state: Some(ApprovalState::Expired), ..ListApprovals::default() }).await, ["a:1:0"]);
    assert_eq!(kind(w.decide("a:1:0", yes("ann")).await), Some(Kind::Conflict));
    assert_eq!((w.approval("a:1:0").await.state, w.claim(1).await.len()), (ApprovalState::Expired, 0));
}

async fn what_was_decided_in_time_is_not_expired_by_a_holder_that_has_not_heard(w: World) {
    let claim = w.asks("a", "a:1:0").await;
    w.decide("a:1:0", yes("ann")).await.expect("in time");
    let overlooks = append(&claim, 2, vec![decided("a:1:0", Answer::Expired)], Then::Keep);
    assert!(matches!(w.append(overlooks).await, Appended::Refused(Refused::Decided(id)) if id == "a:1:0"));
    assert_eq!(w.names("a").await, ["task.accepted", "approval.requested"]);
    assert_eq!(w.approval("a:1:0").await.state, ApprovalState::Approved);
}

async fn a_recorded_expiry_closes_the_request(w: World) {
    let claim = w.asks("a", "a:1:0").await;
    let expires = append(&claim, 2, vec![decided("a:1:0", Answer::Expired)], Then::Keep);
    recorded(w.append(expires.clone()).await);
    recorded(w.append(expires).await);
    assert_eq!(w.approval("a:1:0").await.state, ApprovalState::Expired);
    assert_eq!(kind(w.decide("a:1:0", yes("ann")).await), Some(Kind::Conflict), "the run has gone on");
}

async fn the_end_of_a_task_closes_its_requests_and_lists_them_no_more(w: World) {
    let claim = w.asks("a", "a:1:0").await;
    let other = w.waits("b", "b:1:0").await;
    w.complete(&claim, 2, "done").await;
    assert_eq!(w.listed(ListApprovals::default()).await, ["b:1:0"]);
    assert_eq!(w.approval("a:1:0").await.state, ApprovalState::Expired);
    assert_eq!(kind(w.decide("a:1:0", yes("ann")).await), Some(Kind::Conflict));
    // A worker that dies three times without getting anywhere.
    w.decide("b:1:0", yes("ann")).await.expect("decided");
    for _ in 0..3 {
        assert_eq!(w.claim(1).await.len(), 1);
        w.expire().await;
    }
    assert!(matches!(w.append(append(&other, 3, vec![], Then::Keep)).await, Appended::Stale));
    assert_eq!(w.listed(ListApprovals::default()).await, [""; 0]);
    assert_eq!(w.approval("b:1:0").await.state, ApprovalState::Approved);
}

async fn an_erased_task_takes_its_requests_along(w: World) {
    for (name, id) in [("a", "a:1:0"), ("b", "b:1:0")] {
        let claim = w.asks(name, id).await;
        w.complete(&claim, 2, "done").await;
    }
    assert_eq!(w.store.erase(&session("session-of-a")).await.expect("erased"), 1);
    w.clock.advance(days(2));
    assert_eq!(w.store.forget(days(1), 10).await.expect("answers"), 1);
    for id in ["a:1:0", "b:1:0"] {
        assert_eq!(w.store.approval(&tenant(), id).await.expect("answers"), None);
        assert_eq!(kind(w.decide(id, yes("ann")).await), Some(Kind::NotFound));
    }
}

async fn a_cancel_before_the_decision_does_not_hide_it(w: World) {
    w.waits("a", "a:1:0").await;
    w.signal("a", signal("c", SignalKind::Cancel)).await;
    assert!(w.decide("a:1:0", yes("ann")).await.expect("the task has not ended").fresh);
    let claimed = w.claim(1).await.pop().expect("ready");
    let kinds: Vec<SignalKind> = claimed.signals.iter().map(|signal| signal.kind).collect();
    assert_eq!(kinds, [SignalKind::Cancel, SignalKind::Approval]);
}

async fn requests_are_listed_oldest_first_by_tenant_agent_task_and_state(w: World) {
    let claim = w.running(task("a")).await;
    let until = w.clock.now().plus(days(1));
    let two = vec![requested("a:1:1", until), requested("a:1:0", until)];
    recorded(w.append(append(&claim, 1, two, Then::Keep)).await);
    w.clock.advance(seconds(1));
    w.asks("b", "b:1:0").await;
    w.accept(Task { tenant: Tenant::parse("acme").expect("legal"), agent: agent("writer"), ..task("c") }).await;
    let theirs = w.store.claim(&[agent("writer")], &Room::of(1)).await.expect("answers").pop().expect("ready").claim;
    recorded(w.append(append(&theirs, 1, vec![requested("c:1:0", until)], Then::Keep)).await);
    let ask = ListApprovals::default;
    assert_eq!(w.listed(ask()).await, ["a:1:0", "a:1:1", "b:1:0"]);
    assert_eq!(w.listed(ListApprovals { tenant: Tenant::parse("acme").expect("legal"), ..ask() }).await, ["c:1:0"]);
    assert_eq!(w.listed(ListApprovals { agents: vec![agent("writer")], ..ask() }).await, [""; 0]);
    assert_eq!(w.listed(ListApprovals { agents: vec![agent("writer"), agent("search")], task: Some(id("b")), ..ask() }).await, ["b:1:0"]);
    w.decide("a:1:1", yes("ann")).await.expect("decided");
    assert_eq!(w.listed(ListApprovals { state: Some(ApprovalState::Approved), ..ask() }).await, ["a:1:1"]);
    assert_eq!(w.open().await, ["a:1:0", "b:1:0"]);
    let first = w.store.approvals(&ListApprovals { limit: 1, ..ask() }).await.expect("answers").remove(0);
    let after = Some((first.requested_at, first.request.id));
    assert_eq!(w.listed(ListApprovals { after, ..ask() }).await, ["a:1:1", "b:1:0"]);
}

async fn ids_as_long_as_a_task_allows_are_decided(w: World) {
    let name = "t".repeat(128);
    let claim = w.running(task(&name)).await;
    let until = w.clock.now().plus(seconds(60));
    let ids = [format!("{name}:1:0"), format!("{name}:1:1"), format!("{name}:1:0:doubt")];
    let requests = ids.iter().map(|id| requested(id, until)).collect();
    recorded(w.append(append(&claim, 1, requests, Then::Keep)).await);
    for request in &ids {
        assert!(w.decide(request, yes("ann")).await.expect("decided").fresh);
    }
    let signals = w.store.signals(&key(&name)).await.expect("answers");
    let told: Vec<&serde_json::Value> = signals.iter().map(|signal| &signal.data["id"]).collect();
    assert_eq!(told, ids.iter().collect::<Vec<_>>());
    assert!(signals.iter().all(|signal| signal.id.len() <= 128));
}
