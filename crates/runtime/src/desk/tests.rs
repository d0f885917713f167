use super::*;
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use maniple_backends::{TokioClock, local, memory};
use maniple_core::{
    AgentName, Kind, SessionId, Tenant, Time,
    event::{Event, ModelStarted, Parked, Resumed, StoredEvent, TakenOver},
    ports::{Append, Appended, Claimed, Delta, Then, Upkeep as _, Work as _},
    request::TaskRequest,
    run::Awaited,
    task::{Ending, ErrorCode, Progress, TaskStatus, WaitingFor},
};
use std::sync::Mutex;

/// A node in small: a desk, its store and a worker played by the test.
struct Node {
    desk: Desk,
    store: Arc<memory::TaskStore>,
    bus: Arc<dyn Bus>,
}

fn node() -> Node {
    node_on(Arc::new(local::Bus::new()))
}

fn node_on(bus: Arc<dyn Bus>) -> Node {
    let clock = TokioClock::starting_at(Time::parse("2026-11-22T12:00:00Z").unwrap());
    let store = Arc::new(memory::TaskStore::with_clock(Arc::new(clock)));
    Node { desk: Desk::new(store.clone(), bus.clone(), Limits::default()), store, bus }
}

fn agent() -> AgentName {
    AgentName::parse("search").unwrap()
}

fn key(id: &str) -> TaskKey {
    TaskKey { tenant: Tenant::default(), id: TaskId::parse(id).unwrap() }
}

fn submission(id: &str) -> Submission {
    let task = Task {
        id: TaskId::parse(id).unwrap(),
        agent: agent(),
        session_id: SessionId::parse(id).unwrap(),
        prompt: "p".into(),
        metadata: Default::default(),
        max_steps: 10,
        token_budget: 8192,
        context: Default::default(),
        deadline_ms: None,
        priority: 5,
        not_before: None,
        output_schema: None,
        cost_budget_usd: None,
        tree_token_budget: None,
        parent_task_id: None,
        retry_of: None,
        tenant: Tenant::default(),
        principal: "local".into(),
        trace: None,
    };
    let content = Content::Asked(Box::new(TaskRequest { id: Some(task.id.clone()), ..TaskRequest::new(agent(), task.prompt.clone()) }));
    Submission { task, content, idempotency: None }
}

fn asked(attempt: u32) -> Event {
    Event::ModelStarted(ModelStarted { attempt, model: "a/b".into(), request_hash: String::new(), max_output_tokens: 64 })
}

impl Node {
    async fn claim(&self) -> Claimed {
        self.store.claim(&[agent()], 1).await.unwrap().pop().expect("a task is ready")
    }
    /// Records as a worker does, and tells the bus.
    async fn record(&self, claimed: &Claimed, after: u64, events: Vec<(u32, Event)>, then: Then) -> u64 {
        let append = Append {
            claim: claimed.claim.clone(),
            after,
            events,
            signals_read: Vec::new(),
            progress: Progress::default(),
            also: Vec::new(),
            then,
        };
        let Appended::Recorded(maniple_core::ports::Recorded { events: recorded, .. }) = self.store.append(append).await.unwrap() else {
            panic!("the claim holds")
        };
        recorded.iter().for_each(|event| self.bus.publish(&claimed.claim.key, Live::Event(event.clone())));
        after + recorded.len() as u64
    }
    async fn end(&self, claimed: &Claimed, after: u64) {
        self.record(claimed, after, vec![], Then::End(Ending::completed(Some("done".into())))).await;
    }
}

async fn numbers(reader: Reader) -> Vec<u64> {
    let told: Vec<Result<Told>> = reader.into_stream().collect().await;
    told.into_iter()
        .filter_map(|told| match told.unwrap() {
            Told::Event(event) => Some(event.seq),
            Told::Delta(_) => None,
        })
        .collect()
}

/// Nothing ever comes by it.
struct Deaf;
#[async_trait]
impl Bus for Deaf {
    fn hint(&self, _: Hint) {}
    fn hints(&self) -> BoxStream<'static, Hint> {
        futures::stream::pending().boxed()
    }
    fn publish(&self, _: &TaskKey, _: Live) {}
    async fn subscribe(&self, _: &TaskKey) -> BoxStream<'static, Live> {
        futures::stream::pending().boxed()
    }
}

/// Loses, repeats and reorders what a real bus may.
struct Faulty {
    inner: local::Bus,
    dice: Mutex<fastrand::Rng>,
    held: Mutex<Option<(TaskKey, Live)>>,
}
#[async_trait]
impl Bus for Faulty {
    fn hint(&self, hint: Hint) {
        self.inner.hint(hint);
    }
    fn hints(&self) -> BoxStream<'static, Hint> {
        self.inner.hints()
    }
    fn publish(&self, key: &TaskKey, live: Live) {
        match self.dice.lock().unwrap().u32(0..10) {
            0 | 1 => {}
            2 => (0..2).for_each(|_| self.inner.publish(key, live.clone())),
            3 => {
                if let Some((key, late)) = self.held.lock().unwrap().replace((key.clone(), live)) {
                    self.inner.publish(&key, late);
                }
            }
            4 => self.inner.publish(key, Live::Lagged),
            _ => self.inner.publish(key, live),
        }
    }
    async fn subscribe(&self, key: &TaskKey) -> BoxStream<'static, Live> {
        self.inner.subscribe(key).await
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_the_moment_the_task_ends() {
    let node = node();
    let desk = node.desk.clone();
    let waiting = tokio::spawn(async move { desk.submit_and_wait(submission("t"), tokio::time::sleep(Duration::from_secs(50))).await });
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
    let waiting = tokio::spawn(async move { desk.submit_and_wait(submission("t"), tokio::time::sleep(Duration::from_secs(50))).await });
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
    let (created, result) = node.desk.submit_and_wait(submission("t"), tokio::time::sleep(Duration::from_secs(2))).await.unwrap();
    assert_eq!((created.result.status, result.status), (TaskStatus::Pending, TaskStatus::Pending));
    node.end(&node.claim().await, 1).await;
    assert_eq!(node.desk.wait(&key("t"), tokio::time::sleep(Duration::ZERO)).await.unwrap().status, TaskStatus::Completed);
    assert_eq!(node.desk.wait(&key("none"), tokio::time::sleep(Duration::ZERO)).await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn waiting_stops_when_the_run_parks() {
    let node = node();
    let desk = node.desk.clone();
    let waiting = tokio::spawn(async move { desk.submit_and_wait(submission("t"), tokio::time::sleep(Duration::from_secs(50))).await });
    tokio::task::yield_now().await;
    let claimed = node.claim().await;
    let parked = Event::Parked(Parked { waiting_for: WaitingFor::Timer, until: None });
    node.record(&claimed, 1, vec![(1, parked)], Then::Park(Awaited { what: WaitingFor::Timer, until: None })).await;
    assert_eq!(waiting.await.unwrap().unwrap().1.waiting_for, Some(WaitingFor::Timer));
}

#[tokio::test(start_paused = true)]
async fn the_same_submission_again_waits_for_the_same_task() {
    let node = node();
    let with_key = |id: &str| Submission {
        idempotency: Some(Idempotency { scope: "tasks".into(), key: "k".into(), body_hash: "h".into() }),
        ..submission(id)
    };
    let desk = node.desk.clone();
    let first = tokio::spawn(async move { desk.submit_and_wait(with_key("a"), tokio::time::sleep(Duration::from_secs(50))).await });
    tokio::task::yield_now().await;
    let desk = node.desk.clone();
    let second = tokio::spawn(async move { desk.submit_and_wait(with_key("b"), tokio::time::sleep(Duration::from_secs(50))).await });
    tokio::task::yield_now().await;
    node.end(&node.claim().await, 1).await;
    let ((first, _), (second, result)) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!((first.replayed, second.replayed, result.status), (false, true, TaskStatus::Completed));
    assert_eq!(first.result.task_id, second.result.task_id);
}

#[tokio::test(start_paused = true)]
async fn a_reader_resumes_after_any_number_and_after_the_last_there_is_nothing() {
    let node = node();
    node.desk.submit(submission("t")).await.unwrap();
    let claimed = node.claim().await;
    let mut after = 1;
    for step in 1..=150 {
        after = node.record(&claimed, after, vec![(step, asked(1))], Then::Keep).await;
    }
    node.end(&claimed, after).await;
    let last = after + 1;
    for from in 0..last {
        let reader = node.desk.events(&key("t"), from).await.unwrap().expect("something follows");
        assert_eq!(numbers(reader).await, (from + 1..=last).collect::<Vec<_>>());
    }
    assert!(node.desk.events(&key("t"), last).await.unwrap().is_none());
    assert!(node.desk.events(&key("t"), last + 5).await.unwrap().is_none());
    assert_eq!(node.desk.events(&key("none"), 0).await.err().map(|e| e.kind), Some(Kind::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_reader_ahead_of_the_journal_still_ends_with_the_task() {
    for bus in [Arc::new(local::Bus::new()) as Arc<dyn Bus>, Arc::new(Deaf)] {
        let node = node_on(bus);
        node.desk.submit(submission("t")).await.unwrap();
        let reader = node.desk.events(&key("t"), 99).await.unwrap().unwrap();
        let reading = tokio::spawn(numbers(reader));
        node.end(&node.claim().await, 1).await;
        assert_eq!(reading.await.unwrap(), Vec::<u64>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_lags_loses_deltas_and_no_event() {
    let node = node();
    let (_, reader) = node.desk.submit_and_follow(submission("t")).await.unwrap();
    let claimed = node.claim().await;
    let mut after = 1;
    for step in 1..=1_000 {
        after = node.record(&claimed, after, vec![(step, asked(1))], Then::Keep).await;
        for index in 0..5 {
            node.bus.publish(&key("t"), Live::Delta(Delta { step, attempt: 1, index, text: "x".into() }));
        }
    }
    node.end(&claimed, after).await;
    let told: Vec<Told> = reader.into_stream().map(Result::unwrap).collect().await;
    let (events, deltas): (Vec<&Told>, Vec<&Told>) = told.iter().partition(|told| matches!(told, Told::Event(_)));
    assert_eq!(events.len() as u64, after + 1);
    assert!(deltas.len() < 1_024, "{} deltas came through", deltas.len());
}

#[tokio::test(start_paused = true)]
async fn deltas_come_before_the_event_that_replaces_them_and_never_after_a_higher_attempt() {
    let node = node();
    let (_, mut reader) = node.desk.submit_and_follow(submission("t")).await.unwrap();
    let delta = |step, attempt, index| Live::Delta(Delta { step, attempt, index, text: "x".into() });
    for live in [delta(1, 1, 0), delta(1, 2, 0), delta(1, 1, 1), delta(1, 2, 1), delta(2, 1, 0)] {
        node.bus.publish(&key("t"), live);
    }
    node.end(&node.claim().await, 1).await;
    let mut seen = Vec::new();
    while let Some(told) = reader.next().await.unwrap() {
        seen.push(match told {
            Told::Event(event) => event.name.to_string(),
            Told::Delta(delta) => format!("{}.{}.{}", delta.step, delta.attempt, delta.index),
        });
    }
    assert_eq!(seen, ["task.accepted", "1.1.0", "1.2.0", "1.2.1", "2.1.0", "task.completed"]);
}

/// 1,000 connections in all, broken off at random moments, over a bus that loses, repeats and reorders.
#[tokio::test(start_paused = true)]
async fn a_thousand_random_disconnects_miss_repeat_and_reorder_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut connections = 0;
    for round in 0.. {
        if connections >= 1_000 {
            break;
        }
        let bus = Faulty { inner: local::Bus::new(), dice: Mutex::new(dice.fork()), held: Mutex::default() };
        let node = Arc::new(node_on(Arc::new(bus)));
        node.desk.submit(submission("t")).await.unwrap();
        let worker = tokio::spawn(work_at_random(node.clone(), dice.fork()));
        let mut seen = Vec::new();
        while let Some(mut reader) = node.desk.events(&key("t"), seen.len() as u64).await.unwrap() {
            connections += 1;
            let patience = Duration::from_millis(dice.u64(0..3_000));
            let reading = async {
                while let Some(told) = reader.next().await.unwrap() {
                    if let Told::Event(event) = told {
                        seen.push(event.seq);
                    }
                }
            };
            let _ = tokio::time::timeout(patience, reading).await;
        }
        worker.await.unwrap();
        let all: Vec<u64> = node.store.events(&key("t"), 0, 10_000).await.unwrap().unwrap().iter().map(|event| event.seq).collect();
        assert_eq!(seen, all, "round {round} of seed {seed}");
    }
}

async fn work_at_random(node: Arc<Node>, mut dice: fastrand::Rng) {
    let claimed = node.claim().await;
    let mut after = 1;
    for step in 1..=dice.u32(5..60) {
        tokio::time::sleep(Duration::from_millis(dice.u64(0..800))).await;
        let events = (0..dice.usize(1..8)).map(|_| (step, asked(1))).collect();
        after = node.record(&claimed, after, events, Then::Keep).await;
        for index in 0..dice.u32(0..20) {
            node.bus.publish(&key("t"), Live::Delta(Delta { step, attempt: 1, index, text: "x".into() }));
        }
        node.store.renew(std::slice::from_ref(&claimed.claim)).await.unwrap();
    }
    node.end(&claimed, after).await;
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_what_never_began_asks_what_runs_and_leaves_what_ended() {
    let node = node();
    let mut hints = node.bus.hints();
    let (_, mut reader) = node.desk.submit_and_follow(submission("waits")).await.unwrap();
    assert!(
        matches!(node.desk.cancel(&key("waits"), "ann", None).await.unwrap().0, Cancelled::Asked(r) if r.status == TaskStatus::Cancelled)
    );
    assert!(matches!(reader.next().await.unwrap(), Some(Told::Event(event)) if event.seq == 1));
    assert!(matches!(reader.next().await.unwrap(), Some(Told::Event(event)) if event.name == "task.cancelled"));
    assert!(reader.next().await.unwrap().is_none());
    assert!(
        matches!(node.desk.cancel(&key("waits"), "ann", None).await.unwrap().0, Cancelled::Final(r) if r.status == TaskStatus::Cancelled)
    );

    node.desk.submit(submission("runs")).await.unwrap();
    let claimed = node.claim().await;
    for _ in 0..3 {
        assert!(
            matches!(node.desk.cancel(&key("runs"), "ann", None).await.unwrap().0, Cancelled::Asked(r) if r.status == TaskStatus::Running)
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
    assert_eq!(node.desk.cancel(&key("none"), "ann", None).await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_parked_task_that_is_cancelled_is_offered_to_the_workers() {
    let node = node();
    node.desk.submit(submission("t")).await.unwrap();
    let claimed = node.claim().await;
    let parked = Event::Parked(Parked { waiting_for: WaitingFor::Timer, until: None });
    node.record(&claimed, 1, vec![(1, parked)], Then::Park(Awaited { what: WaitingFor::Timer, until: None })).await;
    let hints = node.bus.hints();
    node.desk.cancel(&key("t"), "ann", None).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(1), hints.take(2).collect::<Vec<_>>()).await.expect("two hints");
    assert_eq!(heard, [Hint::Signalled(key("t")), Hint::Ready(agent())]);
    let claimed = node.claim().await;
    node.record(&claimed, 2, vec![(1, Event::Resumed(Resumed { by: "cancel".into() }))], Then::End(Ending::cancelled())).await;
}

fn retry_as(id: &str) -> Retry {
    Retry { fresh_id: TaskId::parse(id).unwrap(), principal: "bob".into(), trace: None, idempotency: None, requeues: false }
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_retried_as_a_new_one_that_begins_with_its_record() {
    let node = node();
    let mut first = submission("t");
    first.task.deadline_ms = Some(60_000);
    first.task.not_before = Some(Time::parse("2026-11-22T11:00:00Z").unwrap());
    node.desk.submit(first.clone()).await.unwrap();
    assert_eq!(node.desk.retry(&key("t"), retry_as("r")).await.unwrap_err().kind, Kind::Conflict, "it has not failed yet");
    let claimed = node.claim().await;
    node.record(&claimed, 1, vec![], Then::End(Ending::failed(ErrorCode::ModelUnavailable, "later"))).await;

    let retried = node.desk.retry(&key("t"), retry_as("r")).await.unwrap();
    assert_eq!(retried.result.retry_of, Some(key("t").id));
    let journal = node.store.events(&key("r"), 0, 10).await.unwrap().unwrap();
    let events: Vec<Event> = journal.iter().map(|event: &StoredEvent| event.event().unwrap()).collect();
    let expected = Task { id: key("r").id, retry_of: Some(key("t").id), principal: "bob".into(), not_before: None, ..first.task };
    assert_eq!(events, [Event::Accepted(expected), Event::TakenOver(TakenOver { from: key("t").id, steps: vec![] })]);

    assert_eq!(node.desk.retry(&key("none"), retry_as("x")).await.unwrap_err().kind, Kind::NotFound);
    node.end(&node.claim().await, 2).await;
    assert_eq!(node.desk.retry(&key("r"), retry_as("x")).await.unwrap_err().kind, Kind::Conflict, "it completed");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_requeued_once_and_only_from_the_dead_letters() {
    let node = node();
    node.desk.submit(submission("t")).await.unwrap();
    for _ in 0..3 {
        node.claim().await;
        tokio::time::sleep(Duration::from_secs(11)).await;
        node.store.sweep().await.unwrap();
    }
    let dead = ListTasks { dead: true, limit: 10, ..Default::default() };
    assert_eq!(node.desk.list(&dead).await.unwrap()[0].error, Some(ErrorCode::Poisoned));
    let again = |id: &str| Retry { requeues: true, ..retry_as(id) };
    assert_eq!(node.desk.retry(&key("t"), again("r")).await.unwrap().result.retry_of, Some(key("t").id));
    assert_eq!(node.desk.list(&dead).await.unwrap(), []);
    assert_eq!(node.desk.retry(&key("t"), again("s")).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(node.desk.drop_dead_letter(&key("t"), None).await.unwrap_err().kind, Kind::NotFound);
}
