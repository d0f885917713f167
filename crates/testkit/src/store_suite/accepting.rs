//! Accepting tasks: identity, idempotency, bounds, order and fairness.

use super::*;
use maniple_core::{
    event::TakenOver,
    ports::{Idempotency, ListTasks},
    task::TaskStatus,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(an_accepted_task_is_pending_and_its_first_event_is_the_task),
        case(the_same_id_with_the_same_content_is_the_same_task),
        case(the_same_id_with_other_content_is_a_conflict),
        case(the_same_id_in_two_tenants_is_two_tasks),
        case(an_idempotency_key_answers_the_same_task_for_a_day),
        case(hundreds_of_submissions_with_one_key_at_once_are_one_task),
        case(an_idempotency_key_with_another_body_is_refused),
        case(an_idempotency_key_is_known_in_its_scope_and_tenant_only),
        case(a_refused_submission_is_not_remembered_under_its_key),
        case(a_key_whose_task_is_gone_is_a_conflict),
        case(a_hundred_tasks_wait_in_a_session_and_no_more),
        case(a_full_node_takes_no_more),
        case(a_tenant_that_has_all_it_may_takes_no_more_and_leaves_the_rest_to_others),
        case(one_task_of_a_session_runs_and_they_run_in_order),
        case(a_cancelled_waiting_task_neither_runs_nor_holds_up_its_session),
        case(higher_priority_goes_first_and_then_the_oldest),
        case(priority_does_not_reorder_a_session),
        case(tenants_take_turns),
        case(tenants_take_turns_across_claims),
        case(a_tenants_priorities_order_its_own_tasks_only),
        case(a_tenant_is_handed_no_more_than_there_is_room_for),
        case(a_claim_hands_out_tasks_of_its_agents_only),
        case(a_task_with_not_before_takes_its_place_when_it_is_due),
        case(a_due_task_waits_behind_those_that_came_before_it),
        case(a_not_before_that_is_past_means_now),
        case(a_retry_has_what_it_takes_over_as_its_second_event),
        case(a_requeue_takes_its_dead_letter_out_and_needs_it_there),
    ]
}

fn keyed(task: Task, name: &str, body: &str) -> NewTask {
    let idempotency = Idempotency { scope: "tasks".into(), key: name.into(), body_hash: body.into() };
    NewTask { idempotency: Some(idempotency), ..new(task) }
}

async fn an_accepted_task_is_pending_and_its_first_event_is_the_task(w: World) {
    let created = w.accept(task("a")).await;
    assert!(created.fresh && !created.replayed);
    assert_eq!((created.result.status, created.result.created_at), (TaskStatus::Pending, w.clock.now()));
    assert_eq!(created.result, w.get("a").await);
    let journal = w.journal("a").await;
    assert_eq!(created.events.len(), 1);
    assert_eq!((journal.len(), journal[0].seq, journal[0].step, journal[0].at), (1, 1, 0, w.clock.now()));
    assert_eq!(journal[0].event().expect("known"), Event::Accepted(task("a")));
}

async fn the_same_id_with_the_same_content_is_the_same_task(w: World) {
    let claim = w.running(task("a")).await;
    let again = w.accept(task("a")).await;
    assert_eq!((again.fresh, again.replayed, again.result.status, again.events.len()), (false, false, TaskStatus::Running, 0));
    w.complete(&claim, 1, "done").await;
    assert_eq!(w.accept(task("a")).await.result.output.as_deref(), Some("done"));
}

async fn the_same_id_with_other_content_is_a_conflict(w: World) {
    w.accept(task("a")).await;
    let other = Task { prompt: "something else".into(), ..task("a") };
    assert_eq!(kind(w.store.create(new(other)).await), Some(Kind::Conflict));
    assert_eq!(w.journal("a").await.len(), 1);
}

async fn the_same_id_in_two_tenants_is_two_tasks(w: World) {
    let other = Tenant::parse("other").expect("legal");
    w.accept(task("a")).await;
    assert!(w.accept(Task { tenant: other.clone(), prompt: "mine".into(), ..task("a") }).await.fresh);
    let query = ListTasks { tenant: other, limit: 10, ..ListTasks::default() };
    assert_eq!(w.store.list(&query).await.expect("answers").len(), 1);
}

async fn an_idempotency_key_answers_the_same_task_for_a_day(w: World) {
    assert!(w.store.create(keyed(task("a"), "k", "body")).await.expect("accepted").fresh);
    let again = w.store.create(keyed(task("b"), "k", "body")).await.expect("replayed");
    assert_eq!((again.fresh, again.replayed, again.result.task_id), (false, true, id("a")));
    w.clock.advance(days(1));
    let later = w.store.create(keyed(task("c"), "k", "other body")).await.expect("accepted");
    assert!(later.fresh && !later.replayed);
    let again = w.store.create(keyed(task("d"), "k", "other body")).await.expect("replayed");
    assert_eq!(again.result.task_id, id("c"));
}

async fn hundreds_of_submissions_with_one_key_at_once_are_one_task(w: World) {
    let all = (0..300).map(|n| w.store.create(keyed(task(&format!("t{n}")), "k", "body")));
    let all: Vec<Created> = futures::future::try_join_all(all).await.expect("accepted");
    assert_eq!(all.iter().filter(|created| created.fresh).count(), 1);
    assert!(all.iter().all(|created| created.result == all[0].result && created.fresh != created.replayed));
    assert_eq!(w.claim(10).await.len(), 1);
}

async fn an_idempotency_key_with_another_body_is_refused(w: World) {
    w.store.create(keyed(task("a"), "k", "body")).await.expect("accepted");
    let error = w.store.create(keyed(task("b"), "k", "other body")).await.expect_err("refused");
    assert_eq!((error.kind, error.field.as_deref()), (Kind::Invalid, Some("Idempotency-Key")));
    assert_eq!(w.store.get(&key("b")).await.expect("answers"), None);
}

async fn an_idempotency_key_is_known_in_its_scope_and_tenant_only(w: World) {
    w.store.create(keyed(task("a"), "k", "body")).await.expect("accepted");
    let elsewhere = Idempotency { scope: "/tasks/x/retry".into(), key: "k".into(), body_hash: "other".into() };
    let created = w.store.create(NewTask { idempotency: Some(elsewhere), ..new(task("b")) }).await.expect("accepted");
    assert!(created.fresh);
    let other = Task { tenant: Tenant::parse("other").expect("legal"), ..task("c") };
    assert!(w.store.create(keyed(other, "k", "body")).await.expect("accepted").fresh);
}

async fn a_refused_submission_is_not_remembered_under_its_key(w: World) {
    w.accept(task("a")).await;
    let refused = keyed(Task { prompt: "other".into(), ..task("a") }, "k", "body");
    assert_eq!(kind(w.store.create(refused).await), Some(Kind::Conflict));
    assert!(w.store.create(keyed(task("b"), "k", "another body")).await.expect("accepted").fresh);
}

async fn a_key_whose_task_is_gone_is_a_conflict(w: World) {
    w.store.create(keyed(task_in("a", "s"), "k", "body")).await.expect("accepted");
    w.signal("a", signal("c", SignalKind::Cancel)).await;
    assert_eq!(w.store.erase(&session("s")).await.expect("erased"), 1);
    assert_eq!(kind(w.store.create(keyed(task("b"), "k", "body")).await), Some(Kind::Conflict));
}

async fn a_hundred_tasks_wait_in_a_session_and_no_more(w: World) {
    for n in 0..=100 {
        w.accept(task_in(&format!("t{n}"), "s")).await;
    }
    assert_eq!(kind(w.store.create(new(task_in("one-more", "s"))).await), Some(Kind::Exhausted));
    w.accept(task_in("elsewhere", "other")).await;
    w.accept(Task { not_before: Some(w.clock.now().plus(days(1))), ..task_in("later", "s") }).await;
    w.signal("t50", signal("c", SignalKind::Cancel)).await;
    w.accept(task_in("now-there-is-room", "s")).await;
}

async fn a_full_node_takes_no_more(w: World) {
    let small = |name| NewTask { unfinished_max: 2, ..new(task(name)) };
    w.store.create(small("a")).await.expect("accepted");
    w.store.create(small("b")).await.expect("accepted");
    let error = w.store.create(small("c")).await.expect_err("full");
    assert!(error.kind == Kind::Unavailable && error.retry_after.is_some());
    assert!(!w.store.create(small("a")).await.expect("the same task").fresh);
    w.signal("a", signal("cancel", SignalKind::Cancel)).await;
    assert!(w.store.create(small("c")).await.expect("accepted").fresh);
}

async fn a_tenant_that_has_all_it_may_takes_no_more_and_leaves_the_rest_to_others(w: World) {
    let of = |tenant: &str, task: Task| {
        let task = Task { tenant: Tenant::parse(tenant).expect("legal"), ..task };
        NewTask { unfinished_max: 4, unfinished_each: 3, ..new(task) }
    };
    let later = Some(w.clock.now().plus(days(1)));
    let all = [Task { not_before: later, ..task("a1") }, task_in("a2", "s"), task_in("a3", "s")];
    for task in all {
        w.store.create(of("a", task)).await.expect("accepted");
    }
    let error = w.store.create(of("a", task("a4"))).await.expect_err("it has its share");
    assert!(error.kind == Kind::Exhausted && error.retry_after.is_some() && error.message.contains("`a`"), "{error}");
    w.store.create(of("b", task("b1"))).await.expect("there is room for others");
    assert_eq!(kind(w.store.create(of("b", task("b2"))).await), Some(Kind::Unavailable), "and then for nobody");
    let claimed = w.claim(1).await.pop().expect("ready");
    w.complete(&claimed.claim, 1, "done").await;
    assert!(w.store.create(of("a", task("a4"))).await.expect("one has ended").fresh);
}

async fn one_task_of_a_session_runs_and_they_run_in_order(w: World) {
    for name in ["a", "b", "c"] {
        w.accept(task_in(name, "s")).await;
    }
    for (name, has_history) in [("a", false), ("b", true), ("c", true)] {
        let claimed = w.claim(10).await;
        assert_eq!(claimed.len(), 1, "{name}");
        assert_eq!((claimed[0].claim.key.id.as_str(), claimed[0].has_history), (name, has_history));
        assert!(w.claim(10).await.is_empty());
        w.complete(&claimed[0].claim, 1, "done").await;
    }
    assert!(w.claim(10).await.is_empty());
}

async fn a_cancelled_waiting_task_neither_runs_nor_holds_up_its_session(w: World) {
    let first = w.running(task_in("a", "s")).await;
    w.accept(task_in("b", "s")).await;
    w.accept(task_in("c", "s")).await;
    assert!(matches!(w.signal("b", signal("x", SignalKind::Cancel)).await, Signalled::Ended(..)));
    assert!(w.claim(10).await.is_empty(), "the first still holds the session");
    w.complete(&first, 1, "done").await;
    assert_eq!(w.claim_ids(10).await, ["c"]);
}

async fn higher_priority_goes_first_and_then_the_oldest(w: World) {
    for (name, priority) in [("low", 0), ("first", 5), ("high", 9), ("second", 5)] {
        w.accept(Task { priority, ..task(name) }).await;
    }
    assert_eq!(w.claim_ids(3).await, ["high", "first", "second"]);
    assert_eq!(w.claim_ids(3).await, ["low"]);
}

async fn priority_does_not_reorder_a_session(w: World) {
    w.accept(Task { priority: 1, ..task_in("a", "s") }).await;
    w.accept(Task { priority: 9, ..task_in("b", "s") }).await;
    assert_eq!(w.claim_ids(2).await, ["a"]);
}

async fn of_tenants(w: &World, tasks: &[(&str, &str)]) {
    for (tenant, name) in tasks {
        w.accept(Task { tenant: Tenant::parse(tenant).expect("legal"), ..task(name) }).await;
    }
}

async fn tenants_take_turns(w: World) {
    of_tenants(&w, &[("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("c", "c2")]).await;
    assert_eq!(w.claim_ids(10).await, ["a1", "b1", "c1", "a2", "c2", "a3"]);
}

async fn tenants_take_turns_across_claims(w: World) {
    of_tenants(&w, &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2"), ("c", "c1")]).await;
    let mut order = Vec::new();
    for limit in [1, 2, 1, 5] {
        order.extend(w.claim_ids(limit).await);
    }
    assert_eq!(order, ["a1", "b1", "c1", "a2", "b2"]);
}

async fn a_tenants_priorities_order_its_own_tasks_only(w: World) {
    for (tenant, name, priority) in [("a", "a9", 9), ("a", "a8", 8), ("a", "a7", 7), ("b", "b0", 0), ("b", "b1", 1), ("c", "c5", 5)] {
        w.accept(Task { tenant: Tenant::parse(tenant).expect("legal"), priority, ..task(name) }).await;
    }
    assert_eq!(w.claim_ids(2).await, ["a9", "b1"], "however high the others' are");
    assert_eq!(w.claim_ids(10).await, ["c5", "a8", "b0", "a7"]);
}

async fn a_tenant_is_handed_no_more_than_there_is_room_for(w: World) {
    of_tenants(&w, &[("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2"), ("c", "c1"), ("c", "c2")]).await;
    let tenant = |name| Tenant::parse(name).expect("legal");
    let room = Room { places: 10, of_each: 2, left: [(tenant("b"), 1), (tenant("c"), 0)].into(), kept: 0 };
    let claimed = w.store.claim(&[agent("search")], &room).await.expect("answers");
    assert_eq!(claimed.iter().map(|claimed| claimed.claim.key.id.as_str()).collect::<Vec<_>>(), ["a1", "b1", "a2"]);
    let room = Room { places: 1, left: [(tenant("a"), 0), (tenant("b"), 0)].into(), ..room };
    let claimed = w.store.claim(&[agent("search")], &room).await.expect("answers");
    assert_eq!(claimed[0].claim.key.id.as_str(), "c1", "those that are full are passed over");
    let room = Room { places: 2, left: [(tenant("a"), 5), (tenant("b"), 5)].into(), kept: 1, ..room };
    let claimed = w.store.claim(&[agent("search")], &room).await.expect("answers");
    let names: Vec<&str> = claimed.iter().map(|claimed| claimed.claim.key.id.as_str()).collect();
    assert_eq!(names, ["a3", "c2"], "the last place is for one that has none");
    assert_eq!(w.claim_ids(10).await, ["b2"]);
}

async fn a_claim_hands_out_tasks_of_its_agents_only(w: World) {
    w.accept(task("mine")).await;
    w.accept(Task { agent: agent("writer"), ..task("theirs") }).await;
    w.accept(Task { agent: agent("clerk"), ..task("nobodys") }).await;
    assert!(w.store.claim(&[], &Room::of(10)).await.expect("answers").is_empty());
    let claimed = w.store.claim(&[agent("writer"), agent("search"), agent("search")], &Room::of(10)).await.expect("answers");
    let names: Vec<&str> = claimed.iter().map(|claimed| claimed.claim.key.id.as_str()).collect();
    assert_eq!(names, ["mine", "theirs"]);
}

async fn a_task_with_not_before_takes_its_place_when_it_is_due(w: World) {
    let due = w.clock.now().plus(seconds(60));
    w.accept(Task { not_before: Some(due), ..task_in("later", "s") }).await;
    w.accept(task_in("now", "s")).await;
    let claimed = w.claim(10).await;
    assert_eq!(claimed.len(), 1, "what is not due neither runs nor holds its session");
    assert!(!claimed[0].has_history);
    w.complete(&claimed[0].claim, 1, "done").await;
    w.clock.advance(seconds(59));
    let swept = w.store.sweep().await.expect("answers");
    assert_eq!((swept.ready, swept.next), (vec![], Some(seconds(1))));
    w.clock.advance(seconds(1));
    assert_eq!(w.store.sweep().await.expect("answers").ready, [agent("search")]);
    let claimed = w.claim(10).await;
    assert_eq!((claimed[0].claim.key.id.as_str(), claimed[0].has_history), ("later", true));
}

async fn a_due_task_waits_behind_those_that_came_before_it(w: World) {
    w.accept(Task { not_before: Some(w.clock.now().plus(seconds(60))), ..task_in("scheduled", "s") }).await;
    let running = w.running(task_in("a", "s")).await;
    w.accept(task_in("b", "s")).await;
    w.clock.advance(seconds(60));
    w.store.renew(std::slice::from_ref(&running)).await.expect("answers");
    assert_eq!(w.store.sweep().await.expect("answers").ready, [], "it waits in its session");
    w.accept(task_in("c", "s")).await;
    w.complete(&running, 1, "done").await;
    for name in ["b", "scheduled", "c"] {
        let claimed = w.claim(10).await;
        assert_eq!(claimed[0].claim.key.id.as_str(), name);
        w.complete(&claimed[0].claim, 1, "done").await;
    }
}

async fn a_not_before_that_is_past_means_now(w: World) {
    w.accept(Task { not_before: Some(w.clock.now()), ..task("a") }).await;
    assert_eq!(w.claim_ids(1).await, ["a"]);
}

async fn a_retry_has_what_it_takes_over_as_its_second_event(w: World) {
    let taken_over = Event::TakenOver(TakenOver { from: id("old"), steps: vec![] });
    let retry = Task { retry_of: Some(id("old")), ..task("a") };
    let created = w.store.create(NewTask { taken_over: Some(taken_over.clone()), ..new(retry) }).await.expect("accepted");
    assert_eq!((created.events.len(), created.result.retry_of), (2, Some(id("old"))));
    let claimed = w.claim(1).await.pop().expect("ready");
    assert_eq!((claimed.journal[1].seq, claimed.journal[1].event().expect("known")), (2, taken_over));
    w.complete(&claimed.claim, 2, "done").await;
    assert_eq!(w.get("a").await.retry_of, Some(id("old")));
}

async fn a_requeue_takes_its_dead_letter_out_and_needs_it_there(w: World) {
    let requeue = |name| NewTask { requeues: Some(id("a")), ..new(task(name)) };
    assert_eq!(kind(w.store.create(requeue("too-early")).await), Some(Kind::NotFound));
    w.accept(task("a")).await;
    for _ in 0..3 {
        assert_eq!(w.claim(1).await.len(), 1);
        w.expire().await;
    }
    let dead = ListTasks { dead: true, limit: 10, ..ListTasks::default() };
    assert_eq!(w.store.list(&dead).await.expect("answers").len(), 1);
    assert!(w.store.create(requeue("again")).await.expect("accepted").fresh);
    assert_eq!(w.store.list(&dead).await.expect("answers"), []);
    assert!(!w.store.create(requeue("again")).await.expect("a repeated call is the same task").fresh);
    assert_eq!(kind(w.store.create(requeue("third")).await), Some(Kind::NotFound));
}
