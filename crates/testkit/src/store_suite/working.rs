//! Claims, appends, parking and signals.

use super::*;
use maniple_core::{ports::Renewal, task::TaskStatus};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(a_claimed_task_is_running_and_comes_with_all_its_holder_needs),
        case(appended_events_are_numbered_without_gaps),
        case(progress_is_seen_while_it_runs),
        case(an_append_repeated_after_a_lost_reply_is_a_success_with_the_same_events),
        case(a_park_repeated_after_a_lost_reply_is_a_success_even_when_it_was_woken),
        case(an_end_repeated_after_a_lost_reply_is_a_success_and_another_end_is_not),
        case(an_append_with_other_events_at_the_same_numbers_is_stale),
        case(an_append_that_leaves_a_gap_is_stale),
        case(a_holder_whose_claim_went_to_another_writes_nothing),
        case(a_holder_whose_claim_is_gone_is_not_told_to_go_on_by_what_it_recorded_before),
        case(a_claim_nobody_took_away_holds_past_its_lease),
        case(renewal_keeps_a_lease_and_names_the_unread_signals),
        case(renewal_of_a_claim_that_is_gone_is_lost),
        case(a_released_task_is_ready_at_once_and_the_old_claim_is_stale),
        case(a_parked_task_is_held_by_nobody_and_holds_its_session),
        case(a_signal_makes_a_parked_task_ready_and_reaches_its_next_holder),
        case(a_run_with_an_unread_signal_may_not_park),
        case(a_run_that_reads_its_signals_while_parking_may_park),
        case(the_same_signal_twice_is_once_even_when_it_was_read),
        case(a_task_has_a_bounded_inbox),
        case(a_signal_to_no_task_and_one_without_an_id_are_refused),
        case(a_parked_run_is_woken_by_a_timer_signal_when_it_is_due),
        case(the_final_event_cannot_be_smuggled_in),
        case(a_long_journal_comes_whole),
    ]
}

async fn a_claimed_task_is_running_and_comes_with_all_its_holder_needs(w: World) {
    w.accept(task("a")).await;
    let accepted_at = w.clock.now();
    w.signal("a", signal("s1", SignalKind::Input)).await;
    w.clock.advance(seconds(3));
    let claimed = w.claim(5).await.pop().expect("ready");
    assert_eq!((claimed.claim.key.clone(), claimed.created_at, claimed.now), (key("a"), accepted_at, w.clock.now()));
    assert!(claimed.claim.epoch >= 1 && claimed.lease == seconds(10) && !claimed.has_history);
    assert_eq!(claimed.journal.len(), 1);
    assert_eq!(claimed.signals, [Signal { at: accepted_at, ..signal("s1", SignalKind::Input) }]);
    let result = w.get("a").await;
    assert_eq!((result.status, result.started_at), (TaskStatus::Running, Some(w.clock.now())));
}

async fn appended_events_are_numbered_without_gaps(w: World) {
    let claim = w.running(task("a")).await;
    let first = recorded(w.append(append(&claim, 1, vec![tool_finished(0), tool_finished(1)], Then::Keep)).await);
    assert_eq!(first.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 3]);
    w.clock.advance(seconds(1));
    let last = recorded(w.append(append(&claim, 3, vec![tool_finished(2)], completed("x"))).await);
    assert_eq!(last.iter().map(|event| (event.seq, &*event.name)).collect::<Vec<_>>(), [(4, "tool.finished"), (5, "task.completed")]);
    assert_eq!((last[1].at, last[1].step), (w.clock.now(), 1));
    let journal = w.journal("a").await;
    assert_eq!(journal.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(journal[4].result(), Some(w.get("a").await));
}

async fn progress_is_seen_while_it_runs(w: World) {
    let claim = w.running(task("a")).await;
    w.append(append(&claim, 1, vec![tool_finished(0)], Then::Keep)).await;
    w.clock.advance(seconds(2));
    let now = w.get("a").await;
    assert_eq!((now.steps_used, now.tokens_used, now.tool_calls, now.cost_usd), (1, 1, 2, Some(0.25)));
    assert_eq!((now.model.as_deref(), now.duration_ms, now.finished_at), (Some("lab/one"), 2_000, None));
}

async fn an_append_repeated_after_a_lost_reply_is_a_success_with_the_same_events(w: World) {
    let claim = w.running(task("a")).await;
    let facts = append(&claim, 1, vec![tool_finished(0), tool_finished(1)], Then::Keep);
    let first = recorded(w.append(facts.clone()).await);
    w.clock.advance(seconds(1));
    let again = recorded(w.append(facts).await);
    let seen = |events: &[Arc<StoredEvent>]| events.iter().map(|event| event.frame(&id("a"))).collect::<Vec<_>>();
    assert_eq!(seen(&first), seen(&again));
    assert_eq!(w.journal("a").await.len(), 3);
    recorded(w.append(append(&claim, 3, vec![tool_finished(2)], Then::Keep)).await);
}

async fn a_park_repeated_after_a_lost_reply_is_a_success_even_when_it_was_woken(w: World) {
    let claim = w.running(task("a")).await;
    let facts = append(&claim, 1, vec![parked(None)], park(None));
    recorded(w.append(facts.clone()).await);
    recorded(w.append(facts.clone()).await);
    w.signal("a", signal("wake", SignalKind::Input)).await;
    recorded(w.append(facts.clone()).await);
    let next = w.claim(1).await.pop().expect("woken");
    recorded(w.append(facts).await);
    assert_eq!(w.journal("a").await.len(), 2);
    assert!(matches!(w.store.renew(&[next.claim]).await.expect("answers")[..], [Renewal::Held(_)]));
}

async fn an_end_repeated_after_a_lost_reply_is_a_success_and_another_end_is_not(w: World) {
    let claim = w.running(task("a")).await;
    let facts = append(&claim, 1, vec![tool_finished(0)], completed("x"));
    let first = recorded(w.append(facts.clone()).await);
    w.clock.advance(seconds(1));
    assert_eq!(recorded(w.append(facts).await)[1].frame(&id("a")), first[1].frame(&id("a")));
    let other = append(&claim, 1, vec![tool_finished(0)], completed("y"));
    assert!(matches!(w.append(other).await, Appended::Stale));
    assert!(matches!(w.append(append(&claim, 3, vec![], completed("x"))).await, Appended::Stale));
    assert_eq!(w.get("a").await.output.as_deref(), Some("x"));
}

async fn an_append_with_other_events_at_the_same_numbers_is_stale(w: World) {
    let claim = w.running(task("a")).await;
    recorded(w.append(append(&claim, 1, vec![tool_finished(0)], Then::Keep)).await);
    assert!(matches!(w.append(append(&claim, 1, vec![tool_finished(9)], Then::Keep)).await, Appended::Stale));
    assert!(matches!(w.append(append(&claim, 1, vec![tool_finished(0), tool_finished(1)], Then::Keep)).await, Appended::Stale));
    assert_eq!(w.journal("a").await.len(), 2);
}

async fn an_append_that_leaves_a_gap_is_stale(w: World) {
    let claim = w.running(task("a")).await;
    assert!(matches!(w.append(append(&claim, 2, vec![tool_finished(0)], Then::Keep)).await, Appended::Stale));
    let nobody = Claim { key: key("nobody"), epoch: 1 };
    assert!(matches!(w.append(append(&nobody, 1, vec![], completed("x"))).await, Appended::Stale));
    assert_eq!(w.journal("a").await.len(), 1);
}

async fn a_holder_whose_claim_went_to_another_writes_nothing(w: World) {
    let zombie = w.running(task("a")).await;
    assert_eq!(w.expire().await.ready, [agent("search")]);
    assert!(matches!(w.append(append(&zombie, 1, vec![tool_finished(0)], Then::Keep)).await, Appended::Stale));
    let holder = w.claim(1).await.pop().expect("ready again").claim;
    assert!(holder.epoch > zombie.epoch);
    for then in [Then::Keep, completed("zombie")] {
        assert!(matches!(w.append(append(&zombie, 1, vec![tool_finished(0)], then)).await, Appended::Stale));
    }
    assert!(matches!(w.append(append(&zombie, 1, vec![parked(None)], park(None))).await, Appended::Stale));
    w.store.release(&zombie).await.expect("answers");
    assert_eq!(w.journal("a").await.len(), 1);
    recorded(w.append(append(&holder, 1, vec![tool_finished(0)], Then::Keep)).await);
}

async fn a_holder_whose_claim_is_gone_is_not_told_to_go_on_by_what_it_recorded_before(w: World) {
    let zombie = w.running(task("a")).await;
    let facts = append(&zombie, 1, vec![tool_finished(0)], Then::Keep);
    recorded(w.append(facts.clone()).await);
    w.expire().await;
    assert!(matches!(w.append(facts.clone()).await, Appended::Stale));
    w.claim(1).await;
    assert!(matches!(w.append(facts).await, Appended::Stale));
}

async fn a_claim_nobody_took_away_holds_past_its_lease(w: World) {
    let claim = w.running(task("a")).await;
    w.clock.advance(seconds(60));
    recorded(w.append(append(&claim, 1, vec![tool_finished(0)], Then::Keep)).await);
    assert_eq!(w.store.renew(std::slice::from_ref(&claim)).await.expect("answers"), [Renewal::Held(vec![])]);
    assert_eq!(w.store.sweep().await.expect("answers").ready, []);
    w.complete(&claim, 2, "done").await;
}

async fn renewal_keeps_a_lease_and_names_the_unread_signals(w: World) {
    let claim = w.running(task("a")).await;
    for _ in 0..5 {
        w.clock.advance(seconds(9));
        assert_eq!(w.store.renew(std::slice::from_ref(&claim)).await.expect("answers"), [Renewal::Held(vec![])]);
        let swept = w.store.sweep().await.expect("answers");
        assert_eq!((swept.ready, swept.next), (vec![], Some(seconds(10))));
    }
    w.signal("a", signal("1", SignalKind::Input)).await;
    w.signal("a", signal("2", SignalKind::Cancel)).await;
    w.signal("a", signal("3", SignalKind::Input)).await;
    let held = Renewal::Held(vec![SignalKind::Cancel, SignalKind::Input]);
    assert_eq!(w.store.renew(std::slice::from_ref(&claim)).await.expect("answers"), [held]);
    let read = Append { signals_read: vec!["1".into(), "2".into()], ..append(&claim, 1, vec![resumed()], Then::Keep) };
    recorded(w.append(read).await);
    assert_eq!(w.store.renew(std::slice::from_ref(&claim)).await.expect("answers"), [Renewal::Held(vec![SignalKind::Input])]);
}

async fn renewal_of_a_claim_that_is_gone_is_lost(w: World) {
    let gone = w.running(task("a")).await;
    w.expire().await;
    let ended = w.running_after(&gone).await;
    let held = w.running(task("b")).await;
    let never = Claim { key: key("nobody"), epoch: 1 };
    let renewals = w.store.renew(&[gone, held, ended, never]).await.expect("answers");
    assert_eq!(renewals, [Renewal::Lost, Renewal::Held(vec![]), Renewal::Lost, Renewal::Lost]);
}

impl World {
    /// Claims again what `gone` held, and ends it.
    async fn running_after(&self, gone: &Claim) -> Claim {
        let claim = self.claim(1).await.pop().expect("ready").claim;
        assert!(claim.key == gone.key && claim.epoch > gone.epoch);
        self.complete(&claim, 1, "done").await;
        claim
    }
}

async fn a_released_task_is_ready_at_once_and_the_old_claim_is_stale(w: World) {
    let claim = w.running(task("a")).await;
    w.store.release(&claim).await.expect("answers");
    w.store.release(&claim).await.expect("twice is once");
    assert!(matches!(w.append(append(&claim, 1, vec![tool_finished(0)], Then::Keep)).await, Appended::Stale));
    let next = w.claim(1).await.pop().expect("ready").claim;
    assert!(next.epoch > claim.epoch);
    assert_eq!(w.get("a").await.status, TaskStatus::Running);
}

async fn a_parked_task_is_held_by_nobody_and_holds_its_session(w: World) {
    let claim = w.running(task_in("a", "s")).await;
    w.accept(task_in("b", "s")).await;
    recorded(w.append(append(&claim, 1, vec![parked(None)], park(None))).await);
    let now = w.get("a").await;
    assert_eq!((now.status, now.waiting_for), (TaskStatus::Running, Some(WaitingFor::Timer)));
    assert!(w.claim(10).await.is_empty());
    assert_eq!(w.expire().await.ready, []);
    assert_eq!(w.store.renew(&[claim]).await.expect("answers"), [Renewal::Lost]);
}

async fn a_signal_makes_a_parked_task_ready_and_reaches_its_next_holder(w: World) {
    let claim = w.running(task("a")).await;
    recorded(w.append(append(&claim, 1, vec![parked(None)], park(None))).await);
    assert!(matches!(w.signal("a", signal("go", SignalKind::Approval)).await, Signalled::Recorded(_)));
    assert_eq!(w.get("a").await.waiting_for, None);
    let next = w.claim(1).await.pop().expect("ready");
    assert!(next.claim.epoch > claim.epoch);
    assert_eq!(next.signals, [Signal { at: w.clock.now(), ..signal("go", SignalKind::Approval) }]);
    assert_eq!(next.signals, w.store.signals(&key("a")).await.expect("answers"));
}

async fn a_run_with_an_unread_signal_may_not_park(w: World) {
    let claim = w.running(task("a")).await;
    w.signal("a", signal("early", SignalKind::Child)).await;
    assert!(matches!(
        w.append(append(&claim, 1, vec![parked(None)], park(None))).await,
        Appended::Refused(maniple_core::ports::Refused::SignalsUnread)
    ));
    assert_eq!(w.journal("a").await.len(), 1);
    recorded(w.append(append(&claim, 1, vec![tool_finished(0)], Then::Keep)).await);
}

async fn a_run_that_reads_its_signals_while_parking_may_park(w: World) {
    let claim = w.running(task("a")).await;
    w.signal("a", signal("s1", SignalKind::Child)).await;
    let facts = Append { signals_read: vec!["s1".into()], ..append(&claim, 1, vec![parked(None)], park(None)) };
    recorded(w.append(facts).await);
    assert_eq!(w.store.signals(&key("a")).await.expect("answers"), []);
    assert!(w.claim(1).await.is_empty());
}

async fn the_same_signal_twice_is_once_even_when_it_was_read(w: World) {
    let claim = w.running(task("a")).await;
    for _ in 0..3 {
        assert!(matches!(w.signal("a", signal("s1", SignalKind::Child)).await, Signalled::Recorded(_)));
    }
    assert_eq!(w.store.signals(&key("a")).await.expect("answers").len(), 1);
    let facts = Append { signals_read: vec!["s1".into()], ..append(&claim, 1, vec![parked(None)], park(None)) };
    recorded(w.append(facts).await);
    w.signal("a", signal("s1", SignalKind::Child)).await;
    assert!(w.claim(1).await.is_empty(), "what was read does not wake");
    w.signal("a", signal("s2", SignalKind::Child)).await;
    let unread: Vec<String> = w.claim(1).await.remove(0).signals.into_iter().map(|signal| signal.id).collect();
    assert_eq!(unread, ["s2"]);
}

async fn a_task_has_a_bounded_inbox(w: World) {
    w.accept(task("a")).await;
    for n in 0..1_000 {
        w.signal("a", signal(&format!("s{n}"), SignalKind::Input)).await;
    }
    let more = w.store.signal(&key("a"), signal("more", SignalKind::Input), None).await;
    assert_eq!(kind(more), Some(Kind::Exhausted));
    assert!(matches!(w.signal("a", signal("stop", SignalKind::Cancel)).await, Signalled::Ended(..)));
}

async fn a_signal_to_no_task_and_one_without_an_id_are_refused(w: World) {
    w.accept(task("a")).await;
    assert_eq!(kind(w.store.signal(&key("nobody"), signal("s", SignalKind::Cancel), None).await), Some(Kind::NotFound));
    for wrong in ["", &"x".repeat(129)] {
        assert_eq!(kind(w.store.signal(&key("a"), signal(wrong, SignalKind::Input), None).await), Some(Kind::Invalid));
    }
}

async fn a_parked_run_is_woken_by_a_timer_signal_when_it_is_due(w: World) {
    let claim = w.running(task("a")).await;
    let until = w.clock.now().plus(seconds(30));
    recorded(w.append(append(&claim, 1, vec![tool_finished(0), parked(Some(until))], park(Some(until)))).await);
    assert_eq!(w.store.sweep().await.expect("answers").next, Some(seconds(30)));
    w.clock.advance(seconds(30));
    for ready in [vec![agent("search")], vec![]] {
        assert_eq!(w.store.sweep().await.expect("answers").ready, ready);
    }
    let next = w.claim(1).await.pop().expect("ready");
    let due: Vec<(&str, SignalKind)> = next.signals.iter().map(|signal| (signal.id.as_str(), signal.kind)).collect();
    assert_eq!(due, [("timer:3", SignalKind::Timer)]);
}

async fn the_final_event_cannot_be_smuggled_in(w: World) {
    let claim = w.running(task("a")).await;
    let finished = Event::Completed(w.get("a").await);
    assert_eq!(kind(w.store.append(append(&claim, 1, vec![finished], Then::Keep)).await), Some(Kind::Internal));
    assert_eq!(kind(w.store.append(append(&claim, 1, vec![], park(None))).await), Some(Kind::Internal));
    assert_eq!(w.journal("a").await.len(), 1);
}

async fn a_long_journal_comes_whole(w: World) {
    let claim = w.running(task("a")).await;
    for n in 0..20 {
        let events = (0..10).map(tool_finished).collect();
        recorded(w.append(append(&claim, 1 + n * 10, events, Then::Keep)).await);
    }
    w.store.release(&claim).await.expect("answers");
    let claimed = w.claim(1).await.pop().expect("ready");
    assert_eq!(claimed.journal.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=201).collect::<Vec<_>>());
}
