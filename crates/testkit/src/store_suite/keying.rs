//! Idempotency-Keys of calls that make no task.

use super::*;
use maniple_core::{
    ports::{Decision, Idempotency, KeyWas, ListTasks},
    task::{ErrorCode, TaskStatus},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(a_cancel_under_a_known_key_does_nothing),
        case(a_decision_under_a_known_key_is_answered_with_what_was_decided),
        case(a_dead_letter_dropped_under_a_key_is_dropped_once),
        case(a_key_is_one_calls_in_its_scope_and_tenant_for_a_day),
        case(what_is_refused_leaves_no_key),
    ]
}

fn keyed(scope: &str, body: &str) -> Idempotency {
    Idempotency { scope: scope.into(), key: "k".into(), body_hash: body.into() }
}

async fn a_cancel_under_a_known_key_does_nothing(w: World) {
    w.running(task("a")).await;
    let cancel = || signal("cancel", SignalKind::Cancel);
    let (_, was) = w.store.signal(&key("a"), cancel(), Some(keyed("/a", "x"))).await.expect("answers");
    assert_eq!(was, KeyWas::New);
    let (signalled, was) = w.store.signal(&key("a"), signal("other", SignalKind::Cancel), Some(keyed("/a", "x"))).await.expect("answers");
    assert!(matches!(signalled, Signalled::Recorded(_)) && was.is_replay());
    let left: Vec<String> = w.store.signals(&key("a")).await.expect("answers").into_iter().map(|signal| signal.id).collect();
    assert_eq!(left, ["cancel"], "the second one left nothing");
    let other_body = w.store.signal(&key("a"), cancel(), Some(keyed("/a", "y"))).await;
    assert_eq!(kind(other_body), Some(Kind::Invalid));
}

async fn a_decision_under_a_known_key_is_answered_with_what_was_decided(w: World) {
    let claim = w.running(task("a")).await;
    let request = super::deciding::requested("a:1:0", w.clock.now().plus(seconds(60)));
    recorded(w.append(append(&claim, 1, vec![request], Then::Keep)).await);
    let says = |approve| Decision { approve, by: "ann".into(), reason: None };
    let tenant = Tenant::default();
    let decide = |approve, body: &'static str| w.store.decide(&tenant, "a:1:0", says(approve), Some(keyed("/approvals/a:1:0", body)));
    assert_eq!(decide(true, "yes").await.expect("decided").1, KeyWas::New);
    let (again, was) = decide(true, "yes").await.expect("known");
    assert_eq!((was, again.fresh, again.approval.decision), (KeyWas::Known, false, Some(says(true))));
    assert_eq!(kind(decide(false, "no").await), Some(Kind::Invalid), "the key's body comes before the decision's conflict");
}

async fn a_dead_letter_dropped_under_a_key_is_dropped_once(w: World) {
    let claim = w.running(task("a")).await;
    let poisoned = Then::End(Ending::failed(ErrorCode::Poisoned, "why"));
    recorded(w.append(append(&claim, 1, vec![], poisoned)).await);
    assert_eq!(w.store.drop_dead_letter(&key("a"), Some(keyed("/drop", ""))).await.expect("dropped"), KeyWas::New);
    assert_eq!(w.store.drop_dead_letter(&key("a"), Some(keyed("/drop", ""))).await.expect("known"), KeyWas::Known);
    assert_eq!(kind(w.store.drop_dead_letter(&key("a"), Some(keyed("/elsewhere", ""))).await), Some(Kind::NotFound));
    let dead = ListTasks { dead: true, status: Some(TaskStatus::Failed), limit: 9, ..ListTasks::default() };
    assert_eq!(w.store.list(&dead).await.expect("answers").len(), 0);
}

async fn a_key_is_one_calls_in_its_scope_and_tenant_for_a_day(w: World) {
    let (tenant, other) = (Tenant::default(), Tenant::parse("other").expect("legal"));
    assert_eq!(w.store.remember(&tenant, &keyed("/tools", "x"), "tool").await.expect("answers"), KeyWas::New);
    assert_eq!(w.store.remember(&tenant, &keyed("/tools", "x"), "another").await.expect("answers"), KeyWas::Known);
    assert_eq!(w.store.recall(&tenant, &keyed("/tools", "x")).await.expect("answers").as_deref(), Some("tool"), "what was made first");
    assert_eq!(kind(w.store.remember(&tenant, &keyed("/tools", "y"), "tool").await), Some(Kind::Invalid));
    assert_eq!(kind(w.store.recall(&tenant, &keyed("/tools", "y")).await), Some(Kind::Invalid));
    assert_eq!(w.store.recall(&other, &keyed("/tools", "x")).await.expect("answers"), None);
    assert_eq!(w.store.recall(&tenant, &keyed("/other", "x")).await.expect("answers"), None);
    w.clock.advance(days(1));
    assert_eq!(w.store.recall(&tenant, &keyed("/tools", "x")).await.expect("answers"), None);
    assert_eq!(w.store.remember(&tenant, &keyed("/tools", "y"), "tool").await.expect("answers"), KeyWas::New, "a new day");
}

async fn what_is_refused_leaves_no_key(w: World) {
    let keyed = || Some(keyed("/x", ""));
    let tenant = Tenant::default();
    let cancel = signal("cancel", SignalKind::Cancel);
    assert_eq!(kind(w.store.signal(&key("a"), cancel, keyed()).await), Some(Kind::NotFound));
    let decision = Decision { approve: true, by: "ann".into(), reason: None };
    assert_eq!(kind(w.store.decide(&tenant, "a:1:0", decision, keyed()).await), Some(Kind::NotFound));
    assert_eq!(kind(w.store.drop_dead_letter(&key("a"), keyed()).await), Some(Kind::NotFound));
    assert_eq!(w.store.recall(&tenant, &keyed().expect("some")).await.expect("answers"), None);
}
