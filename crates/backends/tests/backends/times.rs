//! How long a database may take is for its operator to say.

use super::postgres::Database;
use maniple_backends::postgres::{Options, TaskStore, Times};
use maniple_core::{Kind, Result, Tenant, ports::ListTasks, ports::Tasks as _};
use maniple_testkit::store_suite::{new, task_in};
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

/// Far above what the stores here wait, and far below what they wait by default.
const SOON: Duration = Duration::from_secs(8);

async fn given_up<T: std::fmt::Debug>(what: &str, asked: impl Future<Output = Result<T>>) {
    let began = Instant::now();
    let told = asked.await.expect_err(what);
    assert!(told.kind == Kind::Unavailable && began.elapsed() < SOON, "{what}: {told:?} after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_and_a_statement_are_waited_for_as_long_as_is_set() {
    let database = Database::new();
    let ms = Duration::from_millis;
    let store = |times| TaskStore::new(&database.url(), &Options { times, ..Options::default() }).expect("legal");
    let by_lock = store(Times { lock: ms(200), ..Times::default() });
    let by_statement = store(Times { statement: ms(300), lock: ms(300), ..Times::default() });
    let all = || ListTasks {
        tenant: Tenant::default(),
        agents: Vec::new(),
        status: None,
        session_id: None,
        dead: false,
        before: None,
        limit: 1,
        max_bytes: None,
    };
    let (other, connection) = tokio_postgres::connect(&database.url(), NoTls).await.expect("it answers");
    tokio::spawn(connection);
    other.batch_execute("BEGIN; LOCK TABLE tasks, live IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    given_up("a lock", by_lock.create(new(task_in("a", "a")))).await;
    given_up("a statement", by_statement.list(&all())).await;
    other.batch_execute("ROLLBACK").await.expect("free");
    by_lock.create(new(task_in("a", "a"))).await.expect("accepted, once nobody is in the way");
    assert_eq!(by_statement.list(&all()).await.expect("answers").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_waited_for_as_long_as_is_set() {
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("postgres://maniple@{}/maniple", silent.local_addr().expect("bound"));
    let times = Times { connect: Duration::from_millis(300), ..Times::default() };
    let store = TaskStore::new(&url, &Options { times, ..Options::default() }).expect("legal");
    let began = Instant::now();
    let told = store.migrate().await.expect_err("nobody answers");
    assert!(told.kind == Kind::Unavailable && began.elapsed() < Duration::from_secs(3), "{told:?} after {:?}", began.elapsed());
}
