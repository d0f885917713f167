//! What others who build on Postgres have met: replies that never come, connections that die, a primary that is one no more, a pooler.

use super::postgres::Database;
use futures::StreamExt as _;
use maniple_backends::{
    BusUrl, Options, StoreUrl, open,
    postgres::{TaskStore, Times},
};
use maniple_core::{
    Kind, TaskId, TaskKey, Tenant,
    event::{Event, ToolFinished, ToolStatus},
    ports::{Append, Appended, Hint, Live, Room, Tasks as _, Then, Upkeep as _, Work as _},
    task::{Ending, Progress, TaskStatus},
};
use maniple_testkit::store_suite::{ManualClock, agent, new, task_in};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

fn key(name: &str) -> TaskKey {
    TaskKey { tenant: Tenant::default(), id: TaskId::parse(name).expect("legal") }
}

/// A way to the server that can lose the reply of the next commit, after it has been done, and on which everything can stand still.
struct Way {
    address: SocketAddr,
    cuts: Arc<AtomicBool>,
    stands_still: Arc<AtomicBool>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, cuts) = (listener.local_addr().expect("bound"), Arc::new(AtomicBool::new(false)));
        let stands_still = Arc::new(AtomicBool::new(false));
        let (armed, still) = (cuts.clone(), stands_still.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server answers");
                tokio::spawn(carry(client, server, armed.clone(), still.clone()));
            }
        });
        Self { address, cuts, stands_still }
    }
    fn cut_next_commit(&self) {
        self.cuts.store(true, Ordering::SeqCst);
    }
    fn has_cut(&self) -> bool {
        !self.cuts.load(Ordering::SeqCst)
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, armed: Arc<AtomicBool>, still: Arc<AtomicBool>) {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(read @ 1..) = read else { return };
                while still.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let commits = up[..read].windows(7).any(|bytes| bytes == b"COMMIT\0");
                if server.write_all(&up[..read]).await.is_err() {
                    return;
                }
                if commits && armed.swap(false, Ordering::SeqCst) {
                    // The server has answered, so it is done; the client never hears of it.
                    let _ = server.read(&mut down).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(read @ 1..) = read else { return };
                if client.write_all(&down[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Host and port of a URL.
fn host(url: &str) -> String {
    let after = url.split_once("://").expect("a URL").1;
    let host = after.split('/').next().expect("a host");
    host.rsplit('@').next().expect("a host").to_owned()
}

/// A store whose way to the server can be cut.
async fn over_way(database: &Database, clock: Option<&ManualClock>) -> (Way, TaskStore) {
    let way = Way::to(host(&database.url())).await;
    let url = database.url().replace(&host(&database.url()), &way.address.to_string());
    let clock = clock.map(|clock| {
        let clock = clock.clone();
        Arc::new(move || clock.now()) as Arc<dyn maniple_backends::Clock>
    });
    let store = TaskStore::new(&url, &maniple_backends::postgres::Options { connections: 2, clock, ..Default::default() }).expect("legal");
    (way, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_reply_was_lost_is_handed_back_without_poison() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let (way, worker) = over_way(&database, Some(&clock)).await;
    let door = database.store(Some(&clock));
    door.create(new(task_in("t", "s"))).await.expect("accepted");
    // It lives, and renews what it knows of: nothing. Its lease would hold the task for ever.
    for round in 0..6 {
        assert!(worker.renew(&[]).await.expect("answers").is_empty());
        way.cut_next_commit();
        let lost = worker.claim(&[agent("search")], &Room::of(1)).await;
        assert!(lost.is_err() && way.has_cut(), "{round}: {lost:?}");
        assert_eq!(door.get(&key("t")).await.expect("answers").expect("there").status, TaskStatus::Running, "{round}: it was claimed");
        for _ in 0..2 {
            clock.advance(Duration::from_secs(3));
            worker.renew(&[]).await.expect("answers");
        }
        door.sweep().await.expect("answers");
    }
    let claimed = door.claim(&[agent("search")], &Room::of(1)).await.expect("answers").pop().expect("it is ready, and not poisoned");
    assert_eq!(claimed.claim.epoch, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claims_of_a_worker_that_nobody_knows_any_more_run_out_and_one_that_lives_is_known_again() {
    let (database, clock) = (Database::new(), ManualClock::new());
    let (worker, door) = (database.store(Some(&clock)), database.store(Some(&clock)));
    let claim = async |name: &str| {
        door.create(new(task_in(name, name))).await.expect("accepted");
        worker.claim(&[agent("search")], &Room::of(1)).await.expect("answers").pop().expect("ready").claim
    };
    let (kept, left) = (claim("kept").await, claim("left").await);
    database.execute("DELETE FROM workers").await;
    clock.advance(Duration::from_secs(9));
    worker.renew(std::slice::from_ref(&kept)).await.expect("answers");
    clock.advance(Duration::from_secs(9));
    assert_eq!(door.sweep().await.expect("answers").ready, [agent("search")], "one of them ran out");
    let ready = door.claim(&[agent("search")], &Room::of(2)).await.expect("answers");
    assert_eq!(ready.iter().map(|claimed| &claimed.claim.key).collect::<Vec<_>>(), [&left.key]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_reply_is_lost_the_same_call_again_has_the_same_outcome() {
    let database = Database::new();
    let (way, store) = over_way(&database, None).await;
    way.cut_next_commit();
    assert!(store.create(new(task_in("t", "s"))).await.is_err() && way.has_cut());
    let again = store.create(new(task_in("t", "s"))).await.expect("it is there");
    assert!(!again.fresh);
    let claimed = store.claim(&[agent("search")], &Room::of(1)).await.expect("answers").pop().expect("ready");
    let append = |after, events: Vec<Event>, then| Append {
        claim: claimed.claim.clone(),
        after,
        events: events.into_iter().map(|event| (1, event)).collect(),
        signals_read: Vec::new(),
        progress: Progress::default(),
        also: Vec::new(),
        then,
    };
    let fact = Event::ToolFinished(ToolFinished { index: 0, name: "x".into(), status: ToolStatus::Ok, result: "\u{0} is kept".into() });
    for append in [append(1, vec![fact], Then::Keep), append(2, vec![], Then::End(Ending::completed(Some("a\u{0}b".into()))))] {
        way.cut_next_commit();
        assert!(store.append(append.clone()).await.is_err() && way.has_cut());
        let again = store.append(append).await.expect("answers");
        assert!(matches!(again, Appended::Recorded(_)), "{again:?}");
    }
    let result = store.get(&key("t")).await.expect("answers").expect("there");
    assert_eq!((result.status, result.output.as_deref()), (TaskStatus::Completed, Some("a\u{0}b")));
    let events = store.events(&key("t"), 0, 10, usize::MAX).await.expect("answers").expect("there");
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(events[1].data.get().contains("\\u0000 is kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_ends_are_replaced_without_a_restart() {
    let database = Database::new();
    let store = database.store(None);
    store.create(new(task_in("a", "s"))).await.expect("accepted");
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()";
    database.execute(others).await;
    let began = Instant::now();
    let mut number = 0;
    // One that is under way may fail; soon none does.
    while store.create(new(task_in("b", "s"))).await.is_err() {
        number += 1;
        assert!(number < 20 && began.elapsed() < Duration::from_secs(5));
    }
    store.ping().await.expect("answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_is_given_up_and_used_again_once_it_goes_on() {
    let database = Database::new();
    let way = Way::to(host(&database.url())).await;
    let url = database.url().replace(&host(&database.url()), &way.address.to_string());
    let times = Times { connect: Duration::from_millis(200), statement: Duration::from_millis(300), ..Times::default() };
    let store = TaskStore::new(&url, &maniple_backends::postgres::Options { times, ..Default::default() }).expect("legal");
    store.create(new(task_in("a", "s"))).await.expect("accepted");
    way.stands_still.store(true, Ordering::SeqCst);
    // It is connected, and so nothing else ends this.
    let answers = async { (store.create(new(task_in("b", "s"))).await, store.get(&key("a")).await) };
    let (create, get) = soon(answers).await;
    for error in [create.expect_err("nobody answers"), get.expect_err("nobody answers")] {
        assert_eq!(error.kind, Kind::Unavailable, "{error:?}");
    }
    way.stands_still.store(false, Ordering::SeqCst);
    let again = async { while store.create(new(task_in("c", "s"))).await.is_err() {} };
    soon(again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_may_only_be_read_is_said_and_left_for_one_that_may_be_written() {
    let database = Database::new();
    let store = database.store(None);
    store.ping().await.expect("writes");
    let name = database.name();
    // As after a failover: what is connected stays, and may write no more.
    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()";
    database.execute(others).await;
    let refused = async || {
        for _ in 0..20 {
            if let Err(error) = store.create(new(task_in("t", "s"))).await {
                return error;
            }
        }
        panic!("it was written to a database that may only be read");
    };
    let error = refused().await;
    assert_eq!(error.kind, Kind::Unavailable, "{error:?}");
    assert!(store.ping().await.is_err(), "a probe sees it too");
    database.execute(&format!("BEGIN READ WRITE; ALTER DATABASE {name} RESET default_transaction_read_only; COMMIT")).await;
    let began = Instant::now();
    while store.create(new(task_in("t", "s"))).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(5), "it does not find back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_said_at_once_and_used_once_it_is() {
    let url: StoreUrl = "postgres://ann:s3cret@127.0.0.1:1/maniple".parse().expect("legal");
    let error = open(&url, Options::default()).await.map(drop).expect_err("nobody listens there");
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.contains("is Postgres up") && !format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_hear_of_each_other_and_know_when_they_have_missed_something() {
    let database = Database::new();
    let url: StoreUrl = database.url().parse().expect("legal");
    let one = open(&url, Options::default()).await.expect("opens");
    let other = open(&url, Options::default()).await.expect("opens");
    let (mut hints, mut live) = (other.bus.hints(), other.bus.subscribe(&key("t")).await);
    // It says so once it listens: what was before is not known.
    assert_eq!(soon(hints.next()).await, Some(Hint::Missed));
    assert!(matches!(soon(live.next()).await, Some(Live::Lagged)));

    let ready = Hint::Ready(agent("search"));
    one.bus.hint(ready.clone());
    assert_eq!(soon(hints.next()).await, Some(ready));
    one.bus.hint(Hint::Signalled(key("t")));
    assert_eq!(soon(hints.next()).await, Some(Hint::Signalled(key("t"))));
    let created = one.tasks.create(new(task_in("t", "s"))).await.expect("accepted");
    created.events.iter().for_each(|event| one.bus.publish(&key("t"), Live::Event(event.clone())));
    assert!(matches!(soon(live.next()).await, Some(Live::Lagged)), "there is more in the journal");

    // The connection that listens dies, and something happens in the gap.
    let listener = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    database.execute(listener).await;
    one.bus.hint(Hint::Ready(agent("search")));
    let missed = async {
        while let Some(hint) = hints.next().await {
            if hint == Hint::Missed {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(1), missed).await.expect("it looks for itself within a second");
    assert!(matches!(soon(live.next()).await, Some(Live::Lagged)));
}

async fn soon<T>(waited: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), waited).await.expect("it comes")
}

/// `MANIPLE_TEST_PGBOUNCER` is the URL of a PgBouncer in transaction mode before the same server, which passes any database on.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_passes_everything() {
    let pooler = std::env::var("MANIPLE_TEST_PGBOUNCER").expect("MANIPLE_TEST_PGBOUNCER must be set: start one with `scripts/services up`");
    let database = Database::new();
    let pooled: StoreUrl = database.url().replace(&host(&database.url()), &host(&pooler)).parse().expect("legal");
    let options = || Options { bus: BusUrl::PostgresAt(database.url()), ..Options::default() };
    let (one, other) = (open(&pooled, options()).await.expect("opens"), open(&pooled, options()).await.expect("opens"));
    let mut hints = other.bus.hints();
    assert_eq!(soon(hints.next()).await, Some(Hint::Missed), "it listens past the pooler");
    // More transactions at once than the pooler has connections.
    let work = (0..40).map(|number| {
        let (one, other) = (one.clone(), other.clone());
        async move {
            let name = format!("t{number}");
            one.tasks.create(new(task_in(&name, &name))).await.expect("accepted");
            let claimed = other.work.claim(&[agent("search")], &Room::of(1)).await.expect("answers");
            for claimed in claimed {
                let end = Append {
                    claim: claimed.claim,
                    after: 1,
                    events: Vec::new(),
                    signals_read: Vec::new(),
                    progress: Progress::default(),
                    also: Vec::new(),
                    then: Then::End(Ending::completed(None)),
                };
                other.work.append(end).await.expect("answers");
            }
        }
    });
    futures::future::join_all(work).await;
    assert_eq!(one.tasks.list(&maniple_core::ports::ListTasks { limit: 100, ..Default::default() }).await.expect("answers").len(), 40);
    one.bus.hint(Hint::Ready(agent("search")));
    assert_eq!(soon(hints.next()).await, Some(Hint::Ready(agent("search"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_after_a_database_is_told_what_is_wrong_with_it_and_what_to_do() {
    use maniple_backends::examine::examine;
    use maniple_core::finding::State;
    let database = Database::new();
    let url = |text: String| text.parse::<StoreUrl>().expect("legal");
    let found = async |url: &StoreUrl| {
        let findings = examine(url, &Options::default()).await;
        findings.into_iter().map(|finding| (finding.check, (finding.state, finding.next))).collect::<std::collections::BTreeMap<_, _>>()
    };
    let direct = url(database.url());
    let findings = found(&direct).await;
    for check in ["store", "version", "rights", "tables", "clocks", "synchronous_commit", "bus"] {
        assert_eq!(findings[check], (State::Ok, None), "{check}");
    }
    // What this database is told, its sessions see; a newer program has been here.
    database.execute(&format!("ALTER DATABASE {} SET synchronous_commit = off", database.name())).await;
    database.execute("INSERT INTO maniple_migrations VALUES (1000)").await;
    let findings = found(&direct).await;
    assert_eq!(findings["synchronous_commit"], (State::Failed, Some("set synchronous_commit = on".into())));
    assert_eq!(findings["tables"].0, State::Failed);
    let newer = open(&direct, Options::default()).await.map(drop).expect_err("a newer program's");
    assert_eq!(newer.kind, Kind::Invalid);

    // Somebody who may look at everything, and no more.
    let reader = format!("reader_of_{}", database.name());
    database.execute(&format!("CREATE ROLE {reader} LOGIN; GRANT pg_read_all_data TO {reader}")).await;
    let asked = database.url().replace("//maniple@", &format!("//{reader}@"));
    let findings = found(&url(asked)).await;
    database.execute(&format!("DROP ROLE {reader}")).await;
    assert_eq!((findings["store"].0, findings["rights"].0), (State::Ok, State::Failed));
    database.execute(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name())).await;
    let read_only = open(&direct, Options::default()).await.map(drop).expect_err("nothing can be written");
    assert!(read_only.message.contains("may only be read"), "{read_only:?}");

    let pooler = std::env::var("MANIPLE_TEST_PGBOUNCER").expect("MANIPLE_TEST_PGBOUNCER must be set: start one with `scripts/services up`");
    database.execute(&format!("BEGIN READ WRITE; ALTER DATABASE {} RESET default_transaction_read_only; COMMIT", database.name())).await;
    let findings = found(&url(database.url().replace(&host(&database.url()), &host(&pooler)))).await;
    assert_eq!((findings["store"].0, findings["bus"].0), (State::Ok, State::Warning), "nothing is heard through a pooler");
    let findings = found(&url("postgres://ann@127.0.0.1:1/x".into())).await;
    assert_eq!((findings["store"].0, findings.len()), (State::Failed, 2));
}
