//! How tasks end without a holder: cancel, deadlines, poison; and what is forgotten.

use super::*;
use maniple_core::{
    agent::Definitions,
    ports::{ListTasks, Renewal, Swept},
    task::{ErrorCode, TaskStatus},
};
use serde_json::json;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(a_cancel_ends_a_task_never_claimed_at_once),
        case(a_cancel_of_a_running_task_waits_for_its_holder),
        case(a_cancel_of_a_released_task_waits_for_its_next_holder),
        case(a_final_task_takes_no_signal),
        case(a_deadline_ends_a_task_never_claimed_wherever_it_is),
        case(a_deadline_wakes_a_parked_task_so_that_a_holder_ends_it),
        case(a_deadline_leaves_claimed_tasks_to_their_holders),
        case(three_barren_expiries_are_poison),
        case(a_sweep_by_a_moment_takes_no_lease_that_ran_out_after_it),
        case(progress_resets_the_count_of_barren_expiries),
        case(released_and_parked_claims_do_not_count_towards_poison),
        case(a_dead_letter_is_dropped_once_and_its_record_stays),
        case(erasing_a_session_takes_its_tasks_and_keeps_their_ids),
        case(an_id_used_again_is_taken_anew_when_its_task_goes),
        case(a_long_session_is_erased_whole),
        case(a_session_with_an_unfinished_task_is_not_erased),
        case(old_tasks_are_forgotten_in_batches_and_their_ids_stay_taken_for_thirty_days),
        case(beyond_a_weight_the_oldest_finished_tasks_go_and_the_unfinished_stay),
        case(definitions_stay_until_no_task_needs_them),
        case(a_sweep_is_bounded_and_says_that_more_is_due),
    ]
}

async fn sweep(w: &World) -> Swept {
    w.store.sweep().await.expect("answers")
}
fn ended(swept: &Swept) -> Vec<&str> {
    let mut names: Vec<&str> = swept.ended.iter().map(|(key, _)| key.id.as_str()).collect();
    names.sort_unstable();
    names
}

async fn a_sweep_by_a_moment_takes_no_lease_that_ran_out_after_it(w: World) {
    let claim = w.running(task("a")).await;
    for _ in 0..5 {
        let moment = w.clock.now();
        // Here the process stands still.
        w.clock.advance(days(1));
        let swept = w.store.sweep_leases_by(moment).await.expect("answers");
        assert_eq!((swept.ready, swept.ended.len()), (vec![], 0), "it had not run out by then");
        assert_eq!(w.store.renew(std::slice::from_ref(&claim)).await.expect("answers"), [Renewal::Held(vec![])]);
    }
    w.clock.advance(days(1));
    assert_eq!(sweep(&w).await.ready.len(), 1);
    assert_eq!(w.store.renew(std::slice::from_ref(&claim)).await.expect("answers"), [Renewal::Lost]);
}

async fn a_cancel_ends_a_task_never_claimed_at_once(w: World) {
    w.accept(task("ready")).await;
    w.accept(Task { not_before: Some(w.clock.now().plus(days(1))), ..task("scheduled") }).await;
    for name in ["ready", "scheduled"] {
        let Signalled::Ended(result, event) = w.signal(name, signal("c", SignalKind::Cancel)).await else { panic!("{name} goes on") };
        assert_eq!((result.status, result.duration_ms, result.started_at), (TaskStatus::Cancelled, 0, None));
        assert_eq!((event.seq, event.result(), w.get(name).await), (2, Some(result.clone()), result));
    }
    assert!(w.claim(10).await.is_empty());
    w.clock.advance(days(2));
    let swept = sweep(&w).await;
    assert_eq!((swept.ready, swept.ended.len(), swept.next), (vec![], 0, None));
}

async fn a_cancel_of_a_running_task_waits_for_its_holder(w: World) {
    let claim = w.running(task("a")).await;
    let Signalled::Recorded(result) = w.signal("a", signal("c", SignalKind::Cancel)).await else { panic!("ended") };
    assert_eq!(result.status, TaskStatus::Running);
    let end = Append { signals_read: vec!["c".into()], ..append(&claim, 1, vec![], Then::End(Ending::cancelled())) };
    recorded(w.append(end).await);
    assert_eq!(w.get("a").await.status, TaskStatus::Cancelled);
    assert_eq!(w.names("a").await, ["task.accepted", "task.cancelled"]);
}

async fn a_cancel_of_a_released_task_waits_for_its_next_holder(w: World) {
    let claim = w.running(task("a")).await;
    w.store.release(&claim).await.expect("answers");
    assert!(matches!(w.signal("a", signal("c", SignalKind::Cancel)).await, Signalled::Recorded(_)));
    assert_eq!(w.claim(1).await[0].signals.len(), 1);
}

async fn a_final_task_takes_no_signal(w: World) {
    let claim = w.running(task("a")).await;
    w.signal("a", signal("too late", SignalKind::Input)).await;
    w.complete(&claim, 1, "done").await;
    let before = w.get("a").await;
    let Signalled::Final(result) = w.signal("a", signal("c", SignalKind::Cancel)).await else { panic!("changed") };
    assert_eq!((result, w.get("a").await), (before.clone(), before));
    assert_eq!(w.store.signals(&key("a")).await.expect("answers"), []);
}

async fn a_deadline_ends_a_task_never_claimed_wherever_it_is(w: World) {
    let claim = w.running(task_in("head", "s")).await;
    let soon = |task| Task { deadline_ms: Some(60_000), ..task };
    w.accept(soon(task_in("waiting", "s"))).await;
    w.accept(task_in("behind", "s")).await;
    w.accept(soon(task_in("ready", "r"))).await;
    w.accept(task_in("next", "r")).await;
    w.accept(Task { not_before: Some(w.clock.now().plus(days(1))), ..soon(task("scheduled")) }).await;
    w.clock.advance(seconds(59));
    w.store.renew(std::slice::from_ref(&claim)).await.expect("answers");
    assert_eq!(ended(&sweep(&w).await), [""; 0]);
    w.clock.advance(seconds(1));
    let swept = sweep(&w).await;
    assert_eq!(ended(&swept), ["ready", "scheduled", "waiting"]);
    assert_eq!(swept.ready, [agent("search")], "`next` took the place of `ready`");
    for (key, event) in &swept.ended {
        let result = w.get(key.id.as_str()).await;
        assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(ErrorCode::DeadlineExceeded)));
        assert_eq!(event.result(), Some(result));
    }
    assert_eq!(w.claim_ids(10).await, ["next"]);
    w.complete(&claim, 1, "done").await;
    assert_eq!(w.claim_ids(10).await, ["behind"]);
}

async fn a_deadline_wakes_a_parked_task_so_that_a_holder_ends_it(w: World) {
    let claim = w.running(Task { deadline_ms: Some(60_000), ..task("a") }).await;
    recorded(w.append(append(&claim, 1, vec![parked(None)], park(None))).await);
    w.clock.advance(seconds(60));
    let swept = sweep(&w).await;
    assert_eq!((ended(&swept), swept.ready.len()), (vec![], 1));
    let claimed = w.claim(1).await.pop().expect("ready");
    assert_eq!(claimed.signals, []);
    assert_eq!(w.get("a").await.waiting_for, None);
}

async fn a_deadline_leaves_claimed_tasks_to_their_holders(w: World) {
    let claim = w.running(Task { deadline_ms: Some(5_000), ..task("a") }).await;
    w.clock.advance(seconds(6));
    assert_eq!(ended(&sweep(&w).await), [""; 0]);
    w.store.release(&claim).await.expect("answers");
    let swept = sweep(&w).await;
    assert_eq!((ended(&swept), swept.next), (vec![], None));
    assert_eq!(w.claim(1).await.len(), 1);
}

async fn three_barren_expiries_are_poison(w: World) {
    w.accept(task_in("a", "s")).await;
    w.accept(task_in("b", "s")).await;
    for n in 1..=3 {
        let claimed = w.claim(10).await;
        assert_eq!(claimed.len(), 1);
        recorded(w.append(append(&claimed[0].claim, n, vec![resumed()], Then::Keep)).await);
        let swept = w.expire().await;
        assert_eq!(ended(&swept), if n == 3 { vec!["a"] } else { vec![] });
        assert_eq!(swept.ready, [agent("search")]);
    }
    let result = w.get("a").await;
    assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(ErrorCode::Poisoned)));
    assert!(result.error_detail.is_some_and(|detail| detail.contains("requeue")));
    let dead = w.store.list(&ListTasks { dead: true, limit: 10, ..ListTasks::default() }).await.expect("answers");
    assert_eq!(dead.iter().map(|result| result.task_id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(w.claim_ids(10).await, ["b"]);
}

async fn progress_resets_the_count_of_barren_expiries(w: World) {
    w.accept(task("a")).await;
    let mut last = 1;
    for n in 0..12 {
        let claimed = w.claim(1).await.pop().expect("not poisoned");
        if n % 3 == 2 {
            recorded(w.append(append(&claimed.claim, last, vec![tool_finished(n)], Then::Keep)).await);
            last += 1;
        }
        assert_eq!(ended(&w.expire().await), [""; 0], "after {n}");
    }
}

async fn released_and_parked_claims_do_not_count_towards_poison(w: World) {
    w.accept(task("a")).await;
    let mut last = 1;
    for n in 0..10 {
        let claim = w.claim(1).await.pop().expect("ready").claim;
        if n % 2 == 0 {
            w.store.release(&claim).await.expect("answers");
            continue;
        }
        recorded(w.append(append(&claim, last, vec![parked(Some(w.clock.now()))], park(Some(w.clock.now())))).await);
        last += 1;
        sweep(&w).await;
        let read = w.claim(1).await.pop().expect("woken");
        let ids = read.signals.iter().map(|signal| signal.id.clone()).collect();
        recorded(w.append(Append { signals_read: ids, ..append(&read.claim, last, vec![resumed()], Then::Keep) }).await);
        last += 1;
        w.store.release(&read.claim).await.expect("answers");
    }
    for n in 1..=3 {
        assert_eq!(w.claim(1).await.len(), 1);
        assert_eq!(w.expire().await.ended.len(), usize::from(n == 3));
    }
}

async fn a_dead_letter_is_dropped_once_and_its_record_stays(w: World) {
    w.accept(task("a")).await;
    assert_eq!(kind(w.store.drop_dead_letter(&key("a"), None).await), Some(Kind::NotFound));
    for _ in 0..3 {
        w.claim(1).await;
        w.expire().await;
    }
    w.store.drop_dead_letter(&key("a"), None).await.expect("dropped");
    assert_eq!(kind(w.store.drop_dead_letter(&key("a"), None).await), Some(Kind::NotFound));
    assert_eq!(w.get("a").await.error, Some(ErrorCode::Poisoned));
    assert_eq!(w.store.list(&ListTasks { dead: true, limit: 10, ..ListTasks::default() }).await.expect("answers"), []);
}

async fn erasing_a_session_takes_its_tasks_and_keeps_their_ids(w: World) {
    for name in ["a", "b"] {
        let claim = w.running(task_in(name, "s")).await;
        w.complete(&claim, 1, "done").await;
    }
    let other = w.running(task_in("c", "other")).await;
    w.complete(&other, 1, "done").await;
    assert_eq!(w.store.erase(&session("s")).await.expect("erased"), 2);
    assert_eq!(w.store.erase(&session("s")).await.expect("nothing left"), 0);
    assert_eq!(w.store.get(&key("a")).await.expect("answers"), None);
    assert!(w.store.events(&key("a"), 0, 10, usize::MAX).await.expect("answers").is_none());
    assert!(w.store.turns(&session("s"), None, 10, 1_000).await.expect("answers").is_empty());
    assert_eq!(w.store.turns(&session("other"), None, 10, 1_000).await.expect("answers").len(), 1);
    assert_eq!(kind(w.store.create(new(task_in("a", "s"))).await), Some(Kind::Conflict));
    let fresh = w.accept(task_in("d", "s")).await;
    assert!(fresh.fresh && !w.claim(1).await[0].has_history);
}

async fn an_id_used_again_is_taken_anew_when_its_task_goes(w: World) {
    for _ in 0..2 {
        assert!(w.accept(task_in("a", "s")).await.fresh);
        w.signal("a", signal("c", SignalKind::Cancel)).await;
        assert_eq!(w.store.erase(&session("s")).await.expect("erased"), 1);
        assert_eq!(kind(w.store.create(new(task_in("a", "s"))).await), Some(Kind::Conflict));
        w.clock.advance(days(30));
    }
}

async fn a_long_session_is_erased_whole(w: World) {
    const LONG: u64 = 600;
    for number in 0..LONG {
        let name = format!("t{number}");
        let claim = w.running(task_in(&name, "s")).await;
        w.complete(&claim, 1, "done").await;
    }
    assert_eq!(w.store.erase(&session("s")).await.expect("erased"), LONG);
    assert!(w.store.turns(&session("s"), None, 10, 1_000).await.expect("answers").is_empty());
    assert_eq!(w.store.get(&key("t0")).await.expect("answers"), None);
}

async fn a_session_with_an_unfinished_task_is_not_erased(w: World) {
    let claim = w.running(task_in("a", "s")).await;
    w.complete(&claim, 1, "done").await;
    w.accept(Task { not_before: Some(w.clock.now().plus(days(1))), ..task_in("b", "s") }).await;
    assert_eq!(kind(w.store.erase(&session("s")).await), Some(Kind::Conflict));
    assert_eq!(w.get("a").await.status, TaskStatus::Completed);
    w.signal("b", signal("c", SignalKind::Cancel)).await;
    assert_eq!(w.store.erase(&session("s")).await.expect("erased"), 2);
}

async fn old_tasks_are_forgotten_in_batches_and_their_ids_stay_taken_for_thirty_days(w: World) {
    for name in ["a", "b", "c"] {
        let claim = w.running(task(name)).await;
        w.complete(&claim, 1, "done").await;
    }
    let running = w.running(task("d")).await;
    w.clock.advance(days(1));
    assert_eq!(w.store.forget(days(2), 10).await.expect("answers"), 0);
    assert_eq!(w.store.forget(days(1), 2).await.expect("answers"), 2);
    assert_eq!(w.store.forget(days(1), 2).await.expect("answers"), 1);
    assert_eq!(w.store.forget(days(1), 2).await.expect("answers"), 0);
    assert_eq!(w.store.get(&key("a")).await.expect("answers"), None);
    w.complete(&running, 1, "done").await;
    w.clock.advance(days(30) - seconds(1));
    w.store.forget(days(365), 10).await.expect("answers");
    assert_eq!(kind(w.store.create(new(task("a"))).await), Some(Kind::Conflict));
    w.clock.advance(seconds(1));
    assert!(w.accept(task("a")).await.fresh, "free again, swept or not");
    w.store.forget(days(365), 10).await.expect("answers");
    assert!(w.accept(task("b")).await.fresh);
}

async fn beyond_a_weight_the_oldest_finished_tasks_go_and_the_unfinished_stay(w: World) {
    for name in ["a", "b", "c", "d"] {
        let claim = w.running(Task { prompt: "x".repeat(50_000), ..task(name) }).await;
        if name != "b" {
            w.complete(&claim, 1, "done").await;
        }
    }
    let there = || async {
        let all = w.store.list(&ListTasks { limit: 10, ..ListTasks::default() }).await.expect("answers");
        let mut names: Vec<String> = all.iter().map(|task| task.task_id.to_string()).collect();
        names.sort();
        names
    };
    let beyond = |max_bytes, limit| w.store.forget_beyond(max_bytes, limit);
    assert_eq!(beyond(u64::MAX, 10).await.expect("answers"), 0);
    assert_eq!(there().await.len(), 4);
    assert_eq!(beyond(0, 1).await.expect("answers"), 1);
    assert_eq!(there().await, ["b", "c", "d"]);
    assert_eq!(beyond(0, 10).await.expect("answers"), 2);
    assert_eq!(beyond(0, 10).await.expect("answers"), 0);
    assert_eq!(there().await, ["b"]);
    assert_eq!(kind(w.store.create(new(task("a"))).await), Some(Kind::Conflict), "its id stays taken");
}

async fn definitions_stay_until_no_task_needs_them(w: World) {
    let read = |name: &str| -> Definitions {
        let agent = json!({ "name": name, "description": "x", "version": "1.0.0", "model": "lab/one", "prompt": "be brief" });
        serde_json::from_value(json!({ "agent": agent, "tools": [] })).expect("legal")
    };
    let kept = read("search");
    let hash = kept.hash();
    let with = |claim: &Claim| Append {
        also: vec![Also::Definitions(Arc::new((kept.hash(), kept.clone())))],
        ..append(claim, 1, vec![resumed()], Then::Keep)
    };
    assert_eq!(w.store.definitions(&hash).await.expect("answers"), None);
    let first = w.running(task("a")).await;
    recorded(w.append(with(&first)).await);
    w.complete(&first, 2, "done").await;
    w.clock.advance(days(2));
    let second = w.running(task("b")).await;
    recorded(w.append(with(&second)).await);
    assert_eq!(w.store.forget(days(1), 10).await.expect("answers"), 1);
    assert_eq!(w.store.definitions(&hash).await.expect("answers"), Some(kept.clone()), "`b` runs on them");
    w.complete(&second, 2, "done").await;
    w.clock.advance(days(2));
    assert_eq!(w.store.forget(days(1), 10).await.expect("answers"), 1);
    assert_eq!(w.store.definitions(&hash).await.expect("answers"), None);
    let third = w.running(task("c")).await;
    recorded(w.append(with(&third)).await);
    assert_eq!(w.store.definitions(&hash).await.expect("answers"), Some(kept), "written anew");
}

async fn a_sweep_is_bounded_and_says_that_more_is_due(w: World) {
    for n in 0..300 {
        w.accept(Task { deadline_ms: Some(1_000), ..task(&format!("t{n}")) }).await;
    }
    w.clock.advance(seconds(1));
    let first = sweep(&w).await;
    assert!(first.ended.len() < 300 && first.next == Some(Duration::ZERO));
    let second = sweep(&w).await;
    assert_eq!((first.ended.len() + second.ended.len(), second.next), (300, None));
}
