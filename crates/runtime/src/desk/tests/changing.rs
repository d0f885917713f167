//! Cancelling, retrying, and what is dead.

use super::*;

#[tokio::test(start_paused = true)]
async fn cancelling_ends_what_never_began_asks_what_runs_and_leaves_what_ended() {
    let node = node();
    let mut hints = node.bus.hints();
    let (_, mut reader) = node.desk.submit_and_follow(&me(), submission("waits")).await.unwrap();
    assert!(
        matches!(node.desk.cancel(&named("ann"), &sought("waits"), None).await.unwrap().0, Cancelled::Asked(r) if r.status == TaskStatus::Cancelled)
    );
    assert!(matches!(reader.next().await.unwrap(), Some(Told::Event(event)) if event.seq == 1));
    assert!(matches!(reader.next().await.unwrap(), Some(Told::Event(event)) if event.name == "task.cancelled"));
    assert!(reader.next().await.unwrap().is_none());
    assert!(
        matches!(node.desk.cancel(&named("ann"), &sought("waits"), None).await.unwrap().0, Cancelled::Final(r) if r.status == TaskStatus::Cancelled)
    );

    node.desk.submit(&me(), submission("runs")).await.unwrap();
    let claimed = node.claim().await;
    for _ in 0..3 {
        assert!(
            matches!(node.desk.cancel(&named("ann"), &sought("runs"), None).await.unwrap().0, Cancelled::Asked(r) if r.status == TaskStatus::Running)
        );
    }
    let signals = node.store.signals(&claimed.claim.key).await.unwrap();
    assert_eq!(
        signals.iter().map(|signal| (signal.id.as_str(), signal.data.clone())).collect::<Vec<_>>(),
        [("cancel", json!({"by": "ann"}))]
    );
    let mut heard = Vec::new();
    while let Some(Some(hint)) = futures::FutureExt::now_or_never(hints.next()) {
        heard.push(hint);
    }
    assert!(heard.contains(&Hint::Signalled(key("runs"))), "{heard:?}");
    assert_eq!(node.desk.cancel(&named("ann"), &sought("none"), None).await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_parked_task_that_is_cancelled_is_offered_to_the_workers() {
    let node = node();
    node.desk.submit(&me(), submission("t")).await.unwrap();
    let claimed = node.claim().await;
    let parked = Event::Parked(Parked { waiting_for: WaitingFor::Timer, until: None });
    node.record(&claimed, 1, vec![(1, parked)], Then::Park(Awaited { what: WaitingFor::Timer, until: None })).await;
    let hints = node.bus.hints();
    node.desk.cancel(&named("ann"), &sought("t"), None).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(1), hints.take(2).collect::<Vec<_>>()).await.expect("two hints");
    assert_eq!(heard, [Hint::Signalled(key("t")), Hint::Ready(agent())]);
    let claimed = node.claim().await;
    node.record(&claimed, 2, vec![(1, Event::Resumed(Resumed { by: "cancel".into() }))], Then::End(Ending::cancelled())).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_retried_as_a_new_one_that_begins_with_its_record() {
    let node = node();
    let mut first = submission("t");
    first.request.deadline_ms = Some(60_000);
    first.request.not_before = Some(Time::parse("2026-11-22T11:00:00Z").unwrap());
    node.desk.submit(&me(), first).await.unwrap();
    let bob = named("bob");
    assert_eq!(node.desk.retry(&bob, &sought("t"), None, None).await.unwrap_err().kind, Kind::Conflict, "it has not failed yet");
    let claimed = node.claim().await;
    node.record(&claimed, 1, vec![], Then::End(Ending::failed(ErrorCode::ModelUnavailable, "later"))).await;

    let trace = TraceContext::begin(1, 2);
    let retried = node.desk.retry(&bob, &sought("t"), None, Some(trace.clone())).await.unwrap().result;
    assert_eq!(retried.retry_of, Some(key("t").id));
    let (first, again) = (node.journal(&key("t").id).await, node.journal(&retried.task_id).await);
    let Event::Accepted(first) = first[0].clone() else { panic!("a journal begins with its task") };
    assert_eq!((first.deadline_ms, first.not_before.is_some()), (Some(60_000), true));
    let of_bob = |task: Task| Task { principal: "bob".into(), trace: Some(trace.clone()), ..task };
    let expected = of_bob(Task { id: retried.task_id.clone(), retry_of: Some(first.id.clone()), not_before: None, ..first });
    assert_eq!(again, [Event::Accepted(expected), Event::TakenOver(TakenOver { from: key("t").id, steps: vec![] })]);

    assert_eq!(node.desk.retry(&bob, &sought("none"), None, None).await.unwrap_err().kind, Kind::NotFound);
    node.end(&node.claim().await, 2).await;
    let completed = Sought::from(retried.task_id);
    assert_eq!(node.desk.retry(&bob, &completed, None, None).await.unwrap_err().kind, Kind::Conflict, "it completed");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_requeued_once_and_only_from_the_dead_letters() {
    let node = node();
    node.desk.submit(&me(), submission("t")).await.unwrap();
    node.poison().await;
    let dead = async || node.desk.dead_letters(&me(), all()).await.unwrap().items;
    assert_eq!(dead().await[0].error, Some(ErrorCode::Poisoned));
    assert_eq!(node.desk.requeue(&me(), &sought("t"), None, None).await.unwrap().result.retry_of, Some(key("t").id));
    assert_eq!(dead().await, []);
    assert_eq!(node.desk.requeue(&me(), &sought("t"), None, None).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(node.desk.drop_dead_letter(&me(), &sought("t"), None).await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_under_a_key_is_done_once_and_told_as_it_is_now() {
    let node = node();
    let key = || Some(IdempotencyKey::parse("k").unwrap());
    node.desk.submit(&me(), submission("t")).await.unwrap();
    let was = async || node.desk.cancel(&me(), &sought("t"), key()).await.unwrap().1.is_replay();
    assert_eq!((was().await, was().await), (false, true));
    node.desk.submit(&me(), submission("dead")).await.unwrap();
    node.poison().await;
    // The same key is another one for another act, and a retry is no requeue.
    let retried = async || node.desk.retry(&me(), &sought("dead"), key(), None).await.unwrap();
    let requeued = async || node.desk.requeue(&me(), &sought("dead"), key(), None).await.unwrap();
    let (first, second, other, same) = (retried().await, retried().await, requeued().await, requeued().await);
    assert_eq!((first.replayed, second.replayed, other.replayed, same.replayed), (false, true, false, true));
    assert_eq!((&first.result.task_id, &other.result.task_id), (&second.result.task_id, &same.result.task_id));
    assert_ne!(first.result.task_id, other.result.task_id);
    for bad in ["", "é", "a\nb", &"x".repeat(256)] {
        assert_eq!(IdempotencyKey::parse(bad).unwrap_err().field.as_deref(), Some("Idempotency-Key"), "{bad:?}");
    }
}
