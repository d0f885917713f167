//! What a broker brings is a task once, and what is to go out is there until it was heard: over Postgres.

use crate::postgres::Database;
use maniple_backends::postgres::TaskStore;
use maniple_core::{
    TaskId,
    ports::{Admitted, Append, Arrival, Ingest, Line, Outbox, Place, Publish, ResultFact, Room, Settled, Tasks, Then, Upkeep, Work},
    signal::{Signal, SignalKind},
    task::Ending,
};
use maniple_testkit::store_suite::{self, agent, append, completed, key, new, task_in, tool_finished};
use std::{sync::Arc, time::Duration};
use tokio_postgres::NoTls;

const LEASE: Duration = Duration::from_secs(60);

/// A record that asks `agent_name` for a task of that id.
fn arrival(agent_name: &str, name: &str, session: &str, steps: bool) -> Arrival {
    let mut task = task_in(name, session);
    task.agent = agent(agent_name);
    let mut new = new(task.clone());
    new.content = store_suite::asked(&task);
    new.publish = Some(Publish { steps, asked_by: "planner".into(), sent_id: None });
    Arrival {
        sent_id: name.into(),
        other_id: TaskId::parse(&format!("{name}-for-{agent_name}")).expect("legal"),
        hash: new.content.hash(),
        place: Place { topic: format!("agent.tasks.{agent_name}"), partition: 0, offset: 7 },
        new,
    }
}

async fn accept(store: &TaskStore, arrival: &Arrival) {
    let admitted = store.admit(arrival).await.expect("answers");
    assert!(matches!(&admitted, Admitted::Created(created) if created.fresh), "{admitted:?}");
}

/// Claims what is next of an agent and ends it.
async fn end(store: &TaskStore, agent_name: &str, output: &str) {
    let claim = store.claim(&[agent(agent_name)], &Room::of(1)).await.expect("answers").pop().expect("ready").claim;
    store.append(append(&claim, 1, vec![], completed(output))).await.expect("recorded");
}

async fn take(store: &TaskStore, holder: &str) -> Vec<Line> {
    store.take(holder, 10, 10, 1 << 20, LEASE).await.expect("answers")
}

fn heard(line: &Line) -> Settled {
    let sent = line.rows.iter().map(|row| row.number).collect();
    Settled { topic: line.topic.clone(), key: line.key.clone(), sent, pause: Duration::ZERO, failures: 0 }
}

fn names(lines: &[Line]) -> Vec<String> {
    let mut names: Vec<String> = lines.iter().flat_map(|line| &line.rows).map(|row| row.event_id.clone()).collect();
    names.sort();
    names
}

fn fact(line: &Line) -> ResultFact {
    serde_json::from_str(&line.rows[0].payload).expect("a result")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_a_task_once_and_another_under_its_id_is_a_conflict() {
    let database = Database::new();
    let store = database.store(None);
    let first = arrival("search", "t1", "s", false);
    accept(&store, &first).await;
    assert!(matches!(store.admit(&first).await, Ok(Admitted::Known)));
    // Long after it ended, too.
    end(&store, "search", "done").await;
    assert!(matches!(store.admit(&first).await, Ok(Admitted::Known)));
    let mut other = arrival("search", "t1", "s", false);
    other.hash = "other".into();
    assert!(matches!(store.admit(&other).await, Ok(Admitted::Conflict)));
    assert_eq!(store.pending(&agent("search"), 10).await.expect("answers"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_another_agents_task_holds_is_admitted_under_another_and_told_by_the_senders() {
    let database = Database::new();
    let store = database.store(None);
    accept(&store, &arrival("search", "t1", "s", false)).await;
    accept(&store, &arrival("write", "t1", "s", false)).await;
    assert!(matches!(store.admit(&arrival("write", "t1", "s", false)).await, Ok(Admitted::Known)));
    assert!(store.get(&key("t1-for-write")).await.expect("answers").is_some());
    end(&store, "write", "written").await;
    let lines = take(&store, "a").await;
    let told = fact(&lines[0]);
    assert_eq!((told.task_id.as_str(), told.source_agent.as_str(), lines[0].rows[0].event_id.as_str()), ("t1", "write", "t1-for-write:2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_the_agents_own_task_with_other_content_is_a_conflict() {
    let database = Database::new();
    let store = database.store(None);
    let mut by_http = task_in("t1", "s");
    by_http.prompt = "something else".into();
    store.create(new(by_http)).await.expect("accepted");
    assert!(matches!(store.admit(&arrival("search", "t1", "s", false)).await, Ok(Admitted::Conflict)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_record_that_many_consumers_have_at_once_is_one_task() {
    let database = Database::new();
    let stores: Vec<_> = (0..3).map(|_| database.store(None)).collect();
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..24 {
        let store = stores[number % 3].clone();
        // The same task under the same id, for two agents.
        let arrival = arrival(["search", "write"][number % 2], "t1", &format!("s{number}"), false);
        let arrival = Arrival { hash: "same".into(), ..arrival };
        tries.spawn(async move { store.admit(&arrival).await });
    }
    let (mut created, mut known) = (0, 0);
    for admitted in tries.join_all().await {
        match admitted.expect("answers") {
            Admitted::Created(_) => created += 1,
            Admitted::Known => known += 1,
            Admitted::Conflict => panic!("no conflict"),
        }
    }
    assert_eq!((created, known), (2, 22));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_end_is_told_outside_and_what_nobody_asked_to_be_told_is_not() {
    let database = Database::new();
    let clock = store_suite::ManualClock::new();
    let store = database.store(Some(&clock));
    accept(&store, &arrival("search", "ended", "s1", false)).await;
    end(&store, "search", "yes").await;
    // Cancelled before anybody claimed it: the store itself ends it.
    accept(&store, &arrival("search", "cancelled", "s2", false)).await;
    let cancel = Signal { id: "cancel".into(), kind: SignalKind::Cancel, data: serde_json::json!({}), at: Default::default() };
    store.signal(&key("cancelled"), cancel, None).await.expect("answers");
    // Its deadline passes before anybody claims it.
    let mut late = arrival("search", "late", "s3", false);
    late.new.task.deadline_ms = Some(1_000);
    accept(&store, &late).await;
    clock.advance(Duration::from_secs(2));
    store.sweep().await.expect("answers");
    store.create(new(task_in("quiet", "s4"))).await.expect("accepted");
    end(&store, "search", "for its caller only").await;

    let lines = take(&store, "a").await;
    assert_eq!(names(&lines), ["cancelled:2", "ended:2", "late:2"]);
    let told = fact(lines.iter().find(|line| line.key == "s1").expect("its line"));
    let expected = ResultFact {
        task_id: "ended".into(),
        source_agent: "search".into(),
        target_agent: "planner".into(),
        session_id: "s1".into(),
        status: "completed".into(),
        output: Some("yes".into()),
        error: None,
        steps_used: 1,
        tokens_used: 1,
        tool_calls: 2,
        duration_ms: told.duration_ms,
        finished_at: told.finished_at,
    };
    assert_eq!(told, expected);
    assert!(lines.iter().all(|line| line.topic == "agent.results.search"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_publishes_steps_has_every_event_told_in_its_order() {
    let database = Database::new();
    let store = database.store(None);
    accept(&store, &arrival("search", "t1", "s", true)).await;
    let claim = store.claim(&[agent("search")], &Room::of(1)).await.expect("answers").pop().expect("ready").claim;
    store.append(append(&claim, 1, vec![tool_finished(0), tool_finished(1)], Then::Keep)).await.expect("recorded");
    let ending = Append { after: 3, ..append(&claim, 3, vec![], Then::End(Ending::completed(Some("yes".into())))) };
    store.append(ending).await.expect("recorded");
    let lines = take(&store, "a").await;
    let events = lines.iter().find(|line| line.topic == "agent.events.search").expect("its events");
    let ids: Vec<&str> = events.rows.iter().map(|row| row.event_id.as_str()).collect();
    assert_eq!(ids, ["t1:1", "t1:2", "t1:3", "t1:4"]);
    let third: serde_json::Value = serde_json::from_str(&events.rows[2].payload).expect("JSON");
    assert_eq!((&third["id"], &third["type"], &third["task_id"]), (&3.into(), &"tool.finished".into(), &"t1".into()));
    assert_eq!(lines.len(), 2, "the result too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_one_holders_until_its_lease_ends_and_a_late_holder_takes_nothing_from_the_next() {
    let database = Database::new();
    let clock = store_suite::ManualClock::new();
    let store = database.store(Some(&clock));
    accept(&store, &arrival("search", "t1", "s", false)).await;
    end(&store, "search", "yes").await;
    let first = take(&store, "a").await;
    assert_eq!((names(&first), take(&store, "b").await), (vec!["t1:2".to_owned()], vec![]));
    clock.advance(LEASE + Duration::from_millis(1));
    let second = take(&store, "b").await;
    assert_eq!(second, first);
    // The late one heard of it after all: the row goes, and the line stays the other's.
    accept(&store, &arrival("search", "t2", "s", false)).await;
    end(&store, "search", "yes").await;
    store.settle("a", &heard(&first[0])).await.expect("settled");
    assert_eq!(take(&store, "c").await, []);
    store.settle("b", &heard(&second[0])).await.expect("settled");
    assert_eq!(names(&take(&store, "c").await), ["t2:2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_added_while_its_line_is_let_go_of_is_sent_too() {
    let database = Database::new();
    let store = database.store(None);
    accept(&store, &arrival("search", "t1", "s", false)).await;
    end(&store, "search", "yes").await;
    let held = take(&store, "a").await;
    accept(&store, &arrival("search", "t2", "s", false)).await;
    end(&store, "search", "yes").await;
    store.settle("a", &heard(&held[0])).await.expect("settled");
    let rest = take(&store, "a").await;
    assert_eq!(names(&rest), ["t2:2"]);
    store.settle("a", &heard(&rest[0])).await.expect("settled");
    assert_eq!((take(&store, "a").await, store.backlog().await.expect("answers").rows), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_slower_transaction_commits_later_is_sent_although_a_later_one_was() {
    let database = Database::new();
    let store = database.store(None);
    let (mut slow, connection) = tokio_postgres::connect(&database.url(), NoTls).await.expect("answers");
    let connection = tokio::spawn(connection);
    let slow_row = slow.transaction().await.expect("begun");
    let insert = "INSERT INTO outbox (task, topic, key, event_id, at, payload) VALUES (0, 'agent.results.search', 'slow', 'slow:1', 0, '{}'); \
                  INSERT INTO outbox_lines (topic, key, waiting, due) VALUES ('agent.results.search', 'slow', 1, 0)";
    slow_row.batch_execute(insert).await.expect("inserted");
    accept(&store, &arrival("search", "fast", "s", false)).await;
    end(&store, "search", "yes").await;
    let lines = take(&store, "a").await;
    assert_eq!(names(&lines), ["fast:2"]);
    store.settle("a", &heard(&lines[0])).await.expect("settled");
    slow_row.commit().await.expect("committed");
    assert_eq!(names(&take(&store, "a").await), ["slow:1"]);
    drop(slow);
    let _ = connection.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_whose_row_cannot_be_sent_waits_alone() {
    let database = Database::new();
    let clock = store_suite::ManualClock::new();
    let store: Arc<TaskStore> = database.store(Some(&clock));
    for (name, session) in [("t1", "bad"), ("t2", "good")] {
        accept(&store, &arrival("search", name, session, false)).await;
        end(&store, "search", "yes").await;
    }
    let lines = take(&store, "a").await;
    for line in &lines {
        let settled = match line.key.as_str() {
            "bad" => Settled { sent: vec![], pause: Duration::from_secs(5), failures: 1, ..heard(line) },
            _ => heard(line),
        };
        store.settle("a", &settled).await.expect("settled");
    }
    accept(&store, &arrival("search", "t3", "good", false)).await;
    end(&store, "search", "yes").await;
    assert_eq!(names(&take(&store, "a").await), ["t3:2"]);
    assert_eq!(store.backlog().await.expect("answers").blocked, 1);
    clock.advance(Duration::from_secs(6));
    let again = take(&store, "a").await;
    assert_eq!((names(&again), again[0].failures), (vec!["t1:2".to_owned()], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_has_no_more_is_forgotten_and_nothing_else() {
    let database = Database::new();
    let store = database.store(None);
    for (name, offset) in [("t1", 3), ("t2", 4), ("t3", 5)] {
        let mut arrival = arrival("search", name, name, false);
        arrival.place.offset = offset;
        accept(&store, &arrival).await;
    }
    let before = |offset| Place { topic: "agent.tasks.search".into(), partition: 0, offset };
    assert_eq!(store.forget_before(&before(5), 1).await.expect("answers"), 1);
    assert_eq!(store.forget_before(&before(5), 10).await.expect("answers"), 1);
    assert!(matches!(store.admit(&arrival("search", "t3", "t3", false)).await, Ok(Admitted::Known)));
}
