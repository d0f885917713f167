//! Waiting for a task.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_the_moment_the_task_ends() {
    let node = node();
    let desk = node.desk.clone();
    let waiting =
        tokio::spawn(async move { desk.submit_and_wait(&me(), submission("t"), tokio::time::sleep(Duration::from_secs(50))).await });
    tokio::task::yield_now().await;
    let began = tokio::time::Instant::now();
    node.end(&node.claim().await, 1).await;
    let (created, result) = waiting.await.unwrap().unwrap();
    assert!(created.fresh);
    assert_eq!((result.status, result.output.as_deref(), began.elapsed()), (TaskStatus::Completed, Some("done"), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn who_waits_on_a_deaf_bus_finds_the_end_in_the_store() {
    let node = node_on(Arc::new(Deaf));
    let desk = node.desk.clone();
    let waiting =
        tokio::spawn(async move { desk.submit_and_wait(&me(), submission("t"), tokio::time::sleep(Duration::from_secs(50))).await });
    tokio::task::yield_now().await;
    let claimed = node.claim().await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    node.end(&claimed, 1).await;
    let ended = tokio::time::Instant::now();
    let (_, result) = waiting.await.unwrap().unwrap();
    assert_eq!(result.status, TaskStatus::Completed);
    assert!(ended.elapsed() <= Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn waiting_stops_at_the_limit_and_the_task_goes_on() {
    let node = node();
    let (created, result) = node.desk.submit_and_wait(&me(), submission("t"), tokio::time::sleep(Duration::from_secs(2))).await.unwrap();
    assert_eq!((created.result.status, result.status), (TaskStatus::Pending, TaskStatus::Pending));
    node.end(&node.claim().await, 1).await;
    assert_eq!(node.desk.wait(&me(), &sought("t"), tokio::time::sleep(Duration::ZERO)).await.unwrap().status, TaskStatus::Completed);
    assert_eq!(node.desk.wait(&me(), &sought("none"), tokio::time::sleep(Duration::ZERO)).await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn waiting_stops_when_the_run_parks() {
    let node = node();
    let desk = node.desk.clone();
    let waiting =
        tokio::spawn(async move { desk.submit_and_wait(&me(), submission("t"), tokio::time::sleep(Duration::from_secs(50))).await });
    tokio::task::yield_now().await;
    let claimed = node.claim().await;
    let parked = Event::Parked(Parked { waiting_for: WaitingFor::Timer, until: None });
    node.record(&claimed, 1, vec![(1, parked)], Then::Park(Awaited { what: WaitingFor::Timer, until: None })).await;
    assert_eq!(waiting.await.unwrap().unwrap().1.waiting_for, Some(WaitingFor::Timer));
}

#[tokio::test(start_paused = true)]
async fn the_same_submission_again_waits_for_the_same_task() {
    let node = node();
    let with_key = || {
        let request = TaskRequest::new(agent(), "p".into());
        Submission { request, key: Some(IdempotencyKey::parse("k").unwrap()), trace: None }
    };
    let desk = node.desk.clone();
    let first = tokio::spawn(async move { desk.submit_and_wait(&me(), with_key(), tokio::time::sleep(Duration::from_secs(50))).await });
    tokio::task::yield_now().await;
    let desk = node.desk.clone();
    let second = tokio::spawn(async move { desk.submit_and_wait(&me(), with_key(), tokio::time::sleep(Duration::from_secs(50))).await });
    tokio::task::yield_now().await;
    node.end(&node.claim().await, 1).await;
    let ((first, _), (second, result)) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!((first.replayed, second.replayed, result.status), (false, true, TaskStatus::Completed));
    assert_eq!(first.result.task_id, second.result.task_id);
}
