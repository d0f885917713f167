//! Calls that come at once share a transaction of Postgres, and none of them notices.

use super::postgres::Database;
use maniple_backends::postgres::TaskStore;
use maniple_core::{
    Kind, Result,
    ports::{Appended, Created, Room, Tasks as _, Work as _},
    task::Task,
};
use maniple_testkit::store_suite::{agent, append, completed, key, new, task_in, tool_finished};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

/// Somebody else at the database, who is in the way of a session.
struct Other(tokio_postgres::Client);

impl Other {
    async fn at(database: &Database) -> Self {
        let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.expect("the server answers");
        tokio::spawn(connection);
        Self(client)
    }
    async fn count(&self, sql: &str) -> i64 {
        self.0.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }
    /// Holds a session until [`Self::lets_go`].
    async fn holds(&self, session: &str) {
        let lock = format!("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('default/search/{session}', 0))");
        self.0.batch_execute(&lock).await.expect("free");
    }
    async fn lets_go(&self) {
        self.0.batch_execute("COMMIT").await.expect("held");
    }
    /// Until somebody waits for what it holds.
    async fn is_waited_for(&self) {
        let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() \
                       AND l.locktype = 'advisory' AND NOT l.granted";
        while self.count(waiting).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What comes of calls that have all asked by the time the other lets go.
async fn behind<T: Send + 'static>(other: &Other, calls: JoinSet<T>) -> Vec<T> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    other.lets_go().await;
    calls.join_all().await
}

/// Has the store's only writer wait in a session that another holds.
async fn wait_for(store: &Arc<TaskStore>, other: &Other) {
    other.holds("held").await;
    let first = store.clone();
    tokio::spawn(async move { first.create(new(task_in("first", "held"))).await });
    other.is_waited_for().await;
}

fn creates(store: &Arc<TaskStore>, tasks: impl IntoIterator<Item = Task>) -> JoinSet<Result<Created>> {
    let create = |task: Task| {
        let store = store.clone();
        async move { store.create(new(task)).await }
    };
    tasks.into_iter().map(create).collect()
}

fn tasks(count: usize) -> impl Iterator<Item = Task> {
    (0..count).map(|number| task_in(&format!("t{number}"), &format!("s{number}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_another_is_written_is_written_in_one_transaction() {
    let database = Database::new();
    let (store, other) = (database.store(None), Other::at(&database).await);
    wait_for(&store, &other).await;
    let created = behind(&other, creates(&store, tasks(40))).await;
    assert_eq!(created.iter().flatten().filter(|created| created.fresh).count(), 40);
    assert_eq!(other.count("SELECT count(DISTINCT xmin::text) FROM tasks").await, 2, "the first, and all that came behind it");

    let claimed = store.claim(&[agent("search")], &Room::of(64)).await.expect("answers");
    assert_eq!(claimed.len(), 41);
    let facts = claimed.iter().map(|claimed| {
        let (store, claim) = (store.clone(), claimed.claim.clone());
        async move { store.append(append(&claim, 1, vec![tool_finished(0)], completed("done"))).await.expect("answers") }
    });
    let ended = futures::future::join_all(facts).await;
    assert!(ended.iter().all(|appended| matches!(appended, Appended::Recorded(_))));
    assert_eq!(other.count("SELECT count(*) FROM events").await, 3 * 41);
    assert_eq!(other.count("SELECT count(*) FROM tasks WHERE state = 5").await, 41);
    assert_eq!(other.count("SELECT (SELECT count(*) FROM live) + (SELECT count(*) FROM ready)").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_session_come_one_after_the_other_in_the_order_in_which_they_came() {
    let database = Database::new();
    let (store, other) = (database.store(None), Other::at(&database).await);
    wait_for(&store, &other).await;
    let mut calls = JoinSet::new();
    for number in 0..5 {
        let store = store.clone();
        calls.spawn(async move { store.create(new(task_in(&format!("t{number}"), "one"))).await });
        // Each has asked before the next does.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(behind(&other, calls).await.iter().all(Result::is_ok));
    assert_eq!(other.count("SELECT count(*) FROM live WHERE session = 'one' AND is_head").await, 1);
    let out_of_order = "SELECT count(*) FROM tasks a JOIN tasks b ON a.session = b.session AND a.id < b.id AND a.place > b.place";
    assert_eq!(other.count(out_of_order).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_or_fails_hinders_none_of_those_beside_it() {
    let database = Database::new();
    let (store, other) = (database.store(None), Other::at(&database).await);
    // What the database itself does not take, and says so only as it is written.
    database
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not this one''; END'; \
             CREATE TRIGGER refuse BEFORE INSERT ON tasks FOR EACH ROW WHEN (NEW.session = 'bad') EXECUTE FUNCTION refuse()",
        )
        .await;
    store.create(new(task_in("known", "k"))).await.expect("accepted");
    for bad in [false, true] {
        wait_for(&store, &other).await;
        let names = (0..20).map(|number| task_in(&format!("{bad}{number}"), &format!("{bad}{number}")));
        let calls = creates(&store, names.chain([task_in("known", "another")]).chain(bad.then(|| task_in("bad", "bad"))));
        let answers = behind(&other, calls).await;
        let kinds: Vec<Kind> = answers.iter().filter_map(|answer| answer.as_ref().err()).map(|error| error.kind).collect();
        assert_eq!(answers.len() - kinds.len(), 20, "{kinds:?}");
        assert!(kinds.contains(&Kind::Conflict) && kinds.contains(&Kind::Internal) == bad, "{kinds:?}");
        assert_eq!(other.count("SELECT count(*) FROM tasks WHERE id IN ('known', 'bad')").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_is_written_though_nobody_waits_for_it_any_more() {
    let database = Database::new();
    let (store, other) = (database.store(None), Other::at(&database).await);
    wait_for(&store, &other).await;
    let mut calls = creates(&store, tasks(1));
    tokio::time::sleep(Duration::from_millis(50)).await;
    calls.shutdown().await;
    other.lets_go().await;
    let there = async { while store.get(&key("t0")).await.expect("answers").is_none() {} };
    tokio::time::timeout(Duration::from_secs(5), there).await.expect("it is written");
}
