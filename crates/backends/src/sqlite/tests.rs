//! What only a file can do: be reopened, be torn, fill up, be somebody else's.

use super::*;
use crate::rules;
use futures::FutureExt;
use maniple_core::{
    Kind,
    ports::{Room, Tasks as _, Then, Upkeep as _, Work as _},
    run::Awaited,
    signal::SignalKind,
    task::{ErrorCode, TaskStatus},
    tool::Realm,
};
use maniple_testkit::store_suite::{ManualClock, agent, append, completed, key, new, session, task_in, tool_finished};
use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

/// A file that stores come and go on.
struct File {
    folder: TempDir,
    clock: ManualClock,
}

impl File {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder"), clock: ManualClock::new() }
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }
    fn options(&self) -> Options {
        let clock = self.clock.clone();
        Options { clock: Arc::new(move || clock.now()), fsync: false, ..Options::default() }
    }
    fn open(&self) -> TaskStore {
        TaskStore::open(self.path(), self.options()).expect("opens")
    }
    fn sql<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        Connection::open(self.path()).and_then(|db| db.query_row(sql, [], |row| row.get(0))).expect(sql)
    }
    /// What must be true of every file, whatever happened to it.
    fn audit(&self) {
        assert_eq!(self.sql::<String>("PRAGMA integrity_check"), "ok");
        for (count, invariant) in [
            ("SELECT count(*) - (SELECT unfinished FROM store) FROM tasks WHERE state < 5", "unfinished tasks are counted"),
            (
                "SELECT count(*) FROM tasks WHERE last_seq != (SELECT count(*) FROM events WHERE id >> 20 = tasks.row AND id & 1048575 BETWEEN 1 AND last_seq)",
                "journals have no gaps",
            ),
            ("SELECT count(*) FROM events WHERE id >> 20 NOT IN (SELECT row FROM tasks)", "events belong to tasks"),
            (
                "SELECT count(*) FROM approvals a WHERE event >> 20 != task OR event NOT IN (SELECT id FROM events WHERE name = 'approval.requested') \
                 OR (listed IS NOT NULL) != (SELECT state < 5 FROM tasks WHERE row = a.task)",
                "approvals belong to requests, and are listed while their task goes on",
            ),
            ("SELECT count(*) FROM tasks WHERE (state = 0) != (place IS NULL) AND state < 5", "those with a place are not scheduled"),
            (
                "SELECT count(*) FROM tasks w WHERE state = 1 AND NOT EXISTS (SELECT 1 FROM tasks h WHERE h.tenant = w.tenant AND h.agent = w.agent \
                 AND h.session = w.session AND h.state >= 2 AND state <= 4)",
                "who waits, waits behind somebody",
            ),
            ("SELECT (SELECT max(max(row), max(place)) FROM tasks) > numbers FROM store", "numbers are given once"),
        ] {
            assert_eq!(self.sql::<Option<i64>>(count).unwrap_or(0), 0, "{invariant}");
        }
    }
}

async fn accept(store: &TaskStore, name: &str, session: &str) {
    store.create(new(task_in(name, session))).await.expect("accepted");
}
#[tokio::test]
async fn the_file_and_what_lies_beside_it_are_their_users_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let modes = || -> Vec<(String, u32)> {
        let all = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
        let files = all.filter(|entry| !entry.file_name().to_string_lossy().ends_with(".lock"));
        files
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.metadata().unwrap().permissions().mode() & 0o777))
            .collect()
    };
    // One that an older build made for everybody to read.
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    for reopened in [false, true] {
        let store = TaskStore::open(&path, Options::default()).unwrap();
        store.create(new(task_in("a", "s"))).await.unwrap();
        let modes = modes();
        assert_eq!(modes.len(), 3, "{modes:?}");
        assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "reopened: {reopened}: {modes:?}");
    }
}

async fn claim(store: &TaskStore) -> Claimed {
    store.claim(&[agent("search")], &Room::of(1)).await.expect("answers").pop().expect("ready")
}
async fn names_ready(store: &TaskStore) -> Vec<String> {
    let claimed = store.claim(&[agent("search")], &Room::of(100)).await.expect("answers");
    claimed.iter().map(|claimed| claimed.claim.key.id.to_string()).collect()
}
fn said(appended: Appended) -> usize {
    let Appended::Recorded(recorded) = appended else { panic!("{appended:?}") };
    recorded.events.len()
}

/// Everything a reader can see.
async fn dump(store: &TaskStore) -> Vec<String> {
    let query = ListTasks { limit: 1_000, ..ListTasks::default() };
    let mut seen = Vec::new();
    for result in store.list(&query).await.expect("answers") {
        let events = store.events(&key(result.task_id.as_str()), 0, 1_000, usize::MAX).await.expect("answers").expect("listed");
        let journal: Vec<String> = events.iter().map(|event| event.frame(&result.task_id)).collect();
        seen.push(format!("{result:?} {journal:?} {:?}", store.signals(&key(result.task_id.as_str())).await.expect("answers")));
    }
    seen
}

#[tokio::test]
async fn a_reopened_file_has_everything_and_its_claims_are_void() {
    let file = File::new();
    let store = file.open();
    for (name, session) in [("running", "r"), ("behind", "r"), ("parked", "p"), ("done", "d")] {
        accept(&store, name, session).await;
    }
    let held = claim(&store).await.claim;
    said(store.append(append(&held, 1, vec![tool_finished(0)], Then::Keep)).await.expect("answers"));
    let parked = claim(&store).await.claim;
    let parks =
        maniple_core::event::Event::Parked(maniple_core::event::Parked { waiting_for: maniple_core::task::WaitingFor::Input, until: None });
    let park = Then::Park(Awaited { what: maniple_core::task::WaitingFor::Input, until: None });
    said(store.append(append(&parked, 1, vec![parks], park)).await.expect("answers"));
    let done = claim(&store).await.claim;
    said(store.append(append(&done, 1, vec![], completed("x"))).await.expect("answers"));
    let signal = Signal { id: "s".into(), kind: SignalKind::Input, data: "text".into(), at: Default::default() };
    store.signal(&held.key, signal, None).await.expect("answers");
    let before = dump(&store).await;
    drop(store);
    file.audit();

    let store = file.open();
    assert_eq!(dump(&store).await, before);
    assert!(matches!(store.append(append(&held, 2, vec![tool_finished(1)], Then::Keep)).await, Ok(Appended::Stale)));
    let again = claim(&store).await;
    assert!(again.claim.key == held.key && again.claim.epoch > held.epoch, "ready at once, under a higher epoch");
    assert_eq!((again.journal.len(), again.signals.len()), (2, 1));
    assert_eq!(names_ready(&store).await, [""; 0], "`parked` and `behind` still wait");
}

#[tokio::test]
async fn a_task_found_open_ten_times_without_progress_is_poisoned_and_the_next_goes_on() {
    let file = File::new();
    let store = file.open();
    accept(&store, "a", "s").await;
    accept(&store, "b", "s").await;
    drop(store);
    for n in 1..=rules::BARREN_OPEN_MAX {
        let store = file.open();
        assert_eq!(store.get(&key("a")).await.expect("answers").expect("there").error, None, "opened {n} times");
        assert_eq!(names_ready(&store).await, ["a"]);
    }
    let store = file.open();
    assert_eq!(store.get(&key("a")).await.expect("answers").expect("there").error, Some(ErrorCode::Poisoned));
    let dead = store.list(&ListTasks { dead: true, limit: 9, ..ListTasks::default() }).await.expect("answers");
    assert_eq!(dead.len(), 1);
    assert_eq!(names_ready(&store).await, ["b"]);
    drop(store);
    file.audit();
}

#[tokio::test]
async fn neither_released_claims_nor_those_with_progress_count_at_open() {
    let file = File::new();
    let store = file.open();
    accept(&store, "a", "s").await;
    drop(store);
    for n in 0..25 {
        let store = file.open();
        let claimed = claim(&store).await;
        match n % 3 {
            0 => store.release(&claimed.claim).await.expect("answers"),
            1 => drop(said(
                store
                    .append(append(&claimed.claim, claimed.journal.len() as u64, vec![tool_finished(n)], Then::Keep))
                    .await
                    .expect("answers"),
            )),
            _ => {}
        }
    }
    assert_eq!(file.open().get(&key("a")).await.expect("answers").expect("there").status, TaskStatus::Running);
}

/// A workload of single commits; what was seen, and how long the WAL was, after each.
async fn workload(file: &File) -> (TaskStore, Vec<(u64, Vec<String>)>) {
    let store = file.open();
    let wal = file.folder.path().join("test.db-wal");
    let length = || fs::metadata(&wal).map_or(0, |data| data.len());
    let mut seen = vec![(length(), dump(&store).await)];
    for n in 0..12 {
        let (name, session) = (format!("t{n}"), format!("s{}", n % 5));
        accept(&store, &name, &session).await;
        seen.push((length(), dump(&store).await));
        if n % 3 == 0 {
            continue;
        }
        let claimed = claim(&store).await;
        seen.push((length(), dump(&store).await));
        let last = claimed.journal.len() as u64;
        said(store.append(append(&claimed.claim, last, vec![tool_finished(0)], Then::Keep)).await.expect("answers"));
        seen.push((length(), dump(&store).await));
        said(store.append(append(&claimed.claim, last + 1, vec![tool_finished(1)], completed("x"))).await.expect("answers"));
        seen.push((length(), dump(&store).await));
    }
    (store, seen)
}

/// The file as a machine that lost power may find it: with another WAL.
fn with_wal(file: &File, wal: &[u8]) -> File {
    let torn = File { folder: TempDir::new().expect("a folder"), clock: file.clock.clone() };
    fs::copy(file.path(), torn.path()).expect("copied");
    fs::write(torn.folder.path().join("test.db-wal"), wal).expect("written");
    torn
}

#[tokio::test]
async fn a_torn_log_loses_nothing_that_was_acknowledged_before_the_tear() {
    let file = File::new();
    let (_store, seen) = workload(&file).await;
    let wal = fs::read(file.folder.path().join("test.db-wal")).expect("there");
    assert_eq!(seen.last().map(|(length, _)| *length), Some(wal.len() as u64), "nothing was checkpointed away");
    let before = |offset: usize| seen.iter().rposition(|(length, _)| *length <= offset as u64);
    let mut dice = fastrand::Rng::with_seed(3);
    let mut cuts: Vec<usize> = (0..150).map(|_| dice.usize(0..=wal.len())).collect();
    cuts.extend(seen.iter().flat_map(|(length, _)| [*length as usize - 1, *length as usize]));
    for cut in cuts {
        let torn = with_wal(&file, &wal[..cut]);
        let store = torn.open();
        let expected = before(cut).map_or(&[][..], |n| &seen[n].1);
        assert_eq!(dump(&store).await, expected, "cut at {cut}");
        accept(&store, "one-more", "s0").await;
        drop(store);
        torn.audit();
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_loses_nothing_that_was_acknowledged_before_it() {
    let file = File::new();
    let (_store, seen) = workload(&file).await;
    let wal = fs::read(file.folder.path().join("test.db-wal")).expect("there");
    let mut dice = fastrand::Rng::with_seed(4);
    for _ in 0..120 {
        let (byte, bit) = (dice.usize(0..wal.len()), dice.u32(0..8));
        let mut flipped = wal.clone();
        flipped[byte] ^= 1 << bit;
        let torn = with_wal(&file, &flipped);
        let store = torn.open();
        let acknowledged = seen.iter().rposition(|(length, _)| *length <= byte as u64);
        let found = dump(&store).await;
        let at = seen.iter().rposition(|(_, state)| *state == found);
        assert!(at >= acknowledged || found.is_empty() && acknowledged.is_none(), "flipped {byte}:{bit}");
        drop(store);
        torn.audit();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_applies_nothing_says_so_and_goes_on_when_there_is_room() {
    let file = File::new();
    drop(file.open());
    let pages = file.sql::<u32>("PRAGMA page_count") + 40;
    let store = TaskStore::open(file.path(), Options { max_pages: Some(pages), ..file.options() }).expect("opens");
    accept(&store, "small", "small").await;
    let cancel = Signal { id: "c".into(), kind: SignalKind::Cancel, data: Default::default(), at: Default::default() };
    store.signal(&key("small"), cancel, None).await.expect("ended");
    let big = |name: &str| new(maniple_core::task::Task { prompt: "x".repeat(20_000), ..task_in(name, name) });
    let mut accepted = 0;
    let full = loop {
        match store.create(big(&format!("t{accepted}"))).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(accepted > 3 && full.kind == Kind::Unavailable && full.message.contains("disk"), "{full}");
    let before = dump(&store).await;
    let together = (0..8).map(|n| store.create(big(&format!("more{n}"))));
    assert!(futures::future::join_all(together).await.iter().all(|created| created.is_err()));
    assert_eq!((dump(&store).await, before.len()), (before, accepted + 1));

    store.erase(&session("small")).await.expect("forgetting needs no room");
    store.create(new(task_in("at-last", "s"))).await.expect("there is room again");
    drop(store);
    file.audit();
}

#[tokio::test]
async fn a_store_that_can_be_read_and_not_written_does_not_answer_a_ping() {
    let file = File::new();
    drop(file.open());
    let pages = file.sql::<u32>("PRAGMA page_count") + 40;
    let is_full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let full = is_full.clone();
    let disk_full = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
    let fault = move || full.load(std::sync::atomic::Ordering::SeqCst).then(disk_full);
    let options = Options { max_pages: Some(pages), commit_fault: Arc::new(fault), ..file.options() };
    let store = TaskStore::open(file.path(), options).expect("opens");
    store.ping().await.expect("there is room");
    is_full.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(store.get(&key("nobody")).await.expect("can be read"), None);
    let full = store.ping().await.expect_err("cannot be written");
    assert!(full.kind == Kind::Unavailable && full.message.contains("disk"), "{full}");
    is_full.store(false, std::sync::atomic::Ordering::SeqCst);
    store.ping().await.expect("there is room again");
}

#[tokio::test]
async fn a_store_that_is_bounded_in_size_stops_growing_and_keeps_the_newest() {
    let file = File::new();
    let store = file.open();
    let bound = 3 << 20;
    for n in 0..150 {
        let (name, prompt) = (format!("t{n}"), "x".repeat(60_000));
        store.create(new(maniple_core::task::Task { prompt, ..task_in(&name, &name) })).await.expect("accepted");
        let cancel = Signal { id: "c".into(), kind: SignalKind::Cancel, data: Default::default(), at: Default::default() };
        store.signal(&key(&name), cancel, None).await.expect("ended");
        if n % 10 == 9 {
            store.forget_beyond(bound, 500).await.expect("answers");
        }
    }
    let kept = store.list(&ListTasks { limit: 1_000, ..ListTasks::default() }).await.expect("answers");
    assert!((30..60).contains(&kept.len()) && kept.iter().any(|task| task.task_id.as_str() == "t149"), "{} tasks", kept.len());
    drop(store);
    let length = std::fs::metadata(file.path()).expect("there").len();
    assert!(length < bound + (1 << 20), "{length} bytes");
    file.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_fit_fails_alone() {
    let file = File::new();
    drop(file.open());
    let pages = file.sql::<u32>("PRAGMA page_count") + 60;
    let gate = Arc::new(std::sync::Mutex::new(()));
    let waits = gate.clone();
    let at_the_gate = move || {
        drop(waits.lock());
        None
    };
    let options = Options { max_pages: Some(pages), commit_fault: Arc::new(at_the_gate), ..file.options() };
    let store = TaskStore::open(file.path(), options).expect("opens");
    let sized = |n: usize| {
        let prompt = "x".repeat(if n == 7 { 1_000_000 } else { 10 });
        new(maniple_core::task::Task { prompt, ..task_in(&format!("t{n}"), &format!("s{n}")) })
    };
    let closed = gate.lock().expect("whole");
    // The first commit stands at the gate while the rest are queued, to be one batch.
    let mut all = futures::future::join_all((0..20).map(|n| store.create(sized(n))));
    assert!((&mut all).now_or_never().is_none());
    drop(closed);
    let created = all.await;
    let failed: Vec<usize> = (0..20).filter(|n| created[*n].is_err()).collect();
    assert_eq!(failed, [7]);
    assert_eq!(names_ready(&store).await.len(), 19);
}

/// Fails commits with that code while it is not zero.
fn failing(file: &File) -> (Options, Arc<AtomicU32>, Arc<AtomicU32>) {
    let (code, aborts) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (read, count) = (code.clone(), aborts.clone());
    let fault = move || match read.load(Ordering::SeqCst) as i32 {
        0 => None,
        code => Some(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)),
    };
    let policy = move |_: &rusqlite::Error| {
        count.fetch_add(1, Ordering::SeqCst);
    };
    (Options { commit_fault: Arc::new(fault), on_io_error: Arc::new(policy), ..file.options() }, code, aborts)
}

#[tokio::test]
async fn a_commit_refused_for_want_of_space_applies_nothing() {
    let file = File::new();
    let (options, code, aborts) = failing(&file);
    let store = TaskStore::open(file.path(), options).expect("opens");
    code.store(rusqlite::ffi::SQLITE_FULL as u32, Ordering::SeqCst);
    assert_eq!(store.create(new(task_in("a", "s"))).await.map_err(|error| error.kind).err(), Some(Kind::Unavailable));
    assert_eq!(store.get(&key("a")).await.expect("answers"), None);
    code.store(0, Ordering::SeqCst);
    accept(&store, "a", "s").await;
    assert_eq!((names_ready(&store).await, aborts.load(Ordering::SeqCst)), (vec!["a".to_owned()], 0));
    drop(store);
    file.audit();
}

#[tokio::test]
async fn after_an_io_error_nothing_is_written_any_more() {
    let file = File::new();
    let (options, code, aborts) = failing(&file);
    let store = TaskStore::open(file.path(), options).expect("opens");
    accept(&store, "before", "s").await;
    code.store(rusqlite::ffi::SQLITE_IOERR_FSYNC as u32, Ordering::SeqCst);
    let error = store.create(new(task_in("a", "s"))).await.expect_err("not durable");
    assert_eq!((error.kind, aborts.load(Ordering::SeqCst)), (Kind::Unavailable, 1));
    code.store(0, Ordering::SeqCst);
    let error = store.create(new(task_in("b", "s"))).await.expect_err("no success after a failed fsync");
    assert_eq!((error.kind, aborts.load(Ordering::SeqCst)), (Kind::Unavailable, 1));
    drop(store);
    assert_eq!(dump(&file.open()).await.len(), 1);
}

#[test]
fn by_default_an_io_error_aborts_the_process() {
    const CHILD: &str = "MANIPLE_TEST_ABORT";
    if std::env::var_os(CHILD).is_none() {
        let test = "sqlite::tests::by_default_an_io_error_aborts_the_process";
        let mut child = std::process::Command::new(std::env::current_exe().expect("known"));
        let child = child.args(["--exact", test]).env(CHILD, "1").output().expect("runs");
        assert_eq!(child.status.code(), None, "ended by a signal: {}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    let file = File::new();
    let (options, code, _) = failing(&file);
    let options = Options { on_io_error: Options::default().on_io_error, ..options };
    let store = TaskStore::open(file.path(), options).expect("opens");
    code.store(rusqlite::ffi::SQLITE_IOERR as u32, Ordering::SeqCst);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("builds");
    let _ = runtime.block_on(store.create(new(task_in("a", "s"))));
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_the_file_and_where() {
    let file = File::new();
    assert_eq!(holder(&file.path()), None);
    let store = file.open();
    let pid = std::process::id();
    let refused = || TaskStore::open(file.path(), file.options()).err().expect("one owner");
    assert!(refused().kind == Kind::Conflict && refused().message.contains(&pid.to_string()), "{}", refused());
    assert_eq!(holder(&file.path()), Some(Holder { pid, address: None }));
    store.set_address("http://127.0.0.1:8080").expect("written");
    assert_eq!(holder(&file.path()), Some(Holder { pid, address: Some("http://127.0.0.1:8080".into()) }));
    assert!(refused().message.contains("http://127.0.0.1:8080"), "{}", refused());
    accept(&store, "a", "s").await;
    drop(store);
    assert_eq!(holder(&file.path()), None);
    assert_eq!(names_ready(&file.open()).await, ["a"]);
}

#[tokio::test]
async fn a_clock_set_back_never_turns_the_stores_time_back_not_even_across_a_restart() {
    let file = File::new();
    let late = file.clock.now();
    let store = file.open();
    accept(&store, "a", "s").await;
    file.clock.set(maniple_core::Time(late.0 - 3_600_000));
    assert_eq!(store.create(new(task_in("b", "s"))).await.expect("accepted").result.created_at, late);
    drop(store);
    assert_eq!(file.open().create(new(task_in("c", "s"))).await.expect("accepted").result.created_at, late);
}

#[test]
fn a_file_of_a_newer_version_and_one_that_is_no_database_are_refused() {
    let file = File::new();
    drop(file.open());
    let db = Connection::open(file.path()).expect("opens");
    db.pragma_update(None, "user_version", 99).expect("written");
    let error = TaskStore::open(file.path(), file.options()).err().expect("newer");
    assert!(error.kind == Kind::Invalid && error.message.contains("newer"), "{error}");

    let other = File::new();
    fs::write(other.path(), "this is a letter, not a database, and long enough to be read as one".repeat(200)).expect("written");
    let error = TaskStore::open(other.path(), other.options()).err().expect("no database");
    assert!(error.message.contains("damaged"), "{error}");
    let nowhere = TaskStore::open("/nowhere/at/all.db", other.options()).err().expect("no folder");
    assert!(nowhere.kind == Kind::Invalid && nowhere.message.contains("/nowhere/at/all.db.lock"), "{nowhere}");
}

#[tokio::test]
async fn a_journal_costs_what_is_in_it() {
    let file = File::new();
    let store = file.open();
    accept(&store, "a", "s").await;
    let held = claim(&store).await.claim;
    let text = "y".repeat(4_000);
    let fact = |n| {
        maniple_core::event::Event::ToolFinished(maniple_core::event::ToolFinished {
            index: n,
            name: "read".into(),
            status: maniple_core::event::ToolStatus::Ok,
            result: text.clone().into(),
        })
    };
    for n in 0..100 {
        said(store.append(append(&held, 1 + u64::from(n), vec![fact(n)], Then::Keep)).await.expect("answers"));
    }
    drop(store);
    let size = fs::metadata(file.path()).expect("there").len();
    assert!(size < 700_000, "100 answers of 4,000 bytes take {size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_when_the_store_is_dropped_is_still_done() {
    let file = File::new();
    let store = Arc::new(file.open());
    let waiting: Vec<_> = (0..100)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { accept(&store, &format!("t{n}"), &format!("s{n}")).await })
        })
        .collect();
    drop(store);
    for task in waiting {
        task.await.expect("accepted");
    }
    assert_eq!(names_ready(&file.open()).await.len(), 100);
    file.audit();
}

#[tokio::test]
async fn a_file_from_before_tools_were_remembered_learns_to() {
    use maniple_testkit::tool_store_suite::version;
    let file = File::new();
    drop(file.open());
    let db = Connection::open(file.path()).expect("opens");
    let as_it_was = "DROP TABLE tool_versions; DROP TABLE tool_calls; DROP TABLE approvals; \
                     ALTER TABLE keys RENAME COLUMN made TO task; DROP INDEX tasks_scheduled; DROP TABLE rate_takes; PRAGMA user_version = 1;";
    db.execute_batch(as_it_was).expect("as it was");
    drop(db);
    let store = file.open();
    ports::ToolStore::publish(&store, version("pay", "1.0.0", "ann")).await.expect("published");
}

#[tokio::test]
async fn calls_that_an_older_version_recorded_keep_their_meaning() {
    use maniple_core::{Tenant, tool::Effect};
    use ports::{LedgerKey, Opened, Opening, Outcome, ToolStore};
    let file = File::new();
    drop(file.open());
    let db = Connection::open(file.path()).expect("opens");
    db.execute_batch(
        "DROP INDEX tool_calls_name; CREATE UNIQUE INDEX tool_calls_key ON tool_calls (tenant, tool, key);
         ALTER TABLE tool_calls DROP COLUMN principal; ALTER TABLE tool_calls DROP COLUMN effect; ALTER TABLE tool_calls DROP COLUMN holder;
         ALTER TABLE tool_calls DROP COLUMN until; ALTER TABLE tool_calls DROP COLUMN sends; DROP INDEX tasks_scheduled; DROP TABLE rate_takes; PRAGMA user_version = 4;
         DROP INDEX tool_versions_realm; ALTER TABLE tool_versions DROP COLUMN tenant;
         CREATE UNIQUE INDEX tool_versions_name ON tool_versions (name, version);
         INSERT INTO tool_calls (tenant, tool, key, arguments_hash, at) VALUES ('default', 'pay', 'once', 'h:once', 0), ('default', 'pay', 'more', 'h', 0);
         INSERT INTO tool_calls (tenant, tool, key, arguments_hash, at, is_ok, result) VALUES ('default', 'pay', 'done', 'h:once', 0, 1, '7');",
    )
    .expect("as it was");
    drop(db);
    let store = file.open();
    let open = async |principal: &str, key: &str, effect, hash: &str| {
        let call = LedgerKey { tenant: Tenant::default(), principal: principal.into(), tool: "pay".into(), key: key.into() };
        let opening = Opening { arguments_hash: hash.into(), effect, holder: principal.into(), lease: Duration::from_secs(6) };
        ToolStore::open_call(&store, &call, &opening).await.expect("opened")
    };
    for effect in [Effect::Pure, Effect::Idempotent, Effect::AtMostOnce] {
        assert_eq!(open("ann", "done", effect, "h").await, Opened::Done(Outcome::Ok(serde_json::json!(7))));
        assert_eq!(open("ann", "once", effect, "h").await, Opened::InDoubt);
    }
    assert_eq!(open("bob", "done", Effect::Pure, "other").await, Opened::OtherArguments, "it was its tenant's");
    assert_eq!(open("ann", "more", Effect::AtMostOnce, "h").await, Opened::InDoubt);
    for _ in 0..2 {
        assert_eq!(open("ann", "more", Effect::Idempotent, "h").await, Opened::AgainAsGiven, "under the key it went under");
    }
    assert!(matches!(open("bob", "more", Effect::Pure, "h").await, Opened::UnderWay(_)));
    assert_eq!((open("ann", "new", Effect::Pure, "h").await, open("bob", "new", Effect::Pure, "h").await), (Opened::New, Opened::New));
}

#[tokio::test]
async fn a_name_from_before_there_were_realms_is_that_of_whose_owner_it_had() {
    use maniple_core::Tenant;
    use maniple_testkit::tool_store_suite::version;
    let file = File::new();
    let owners = ["operator", "local", "ann", "acme/ann"];
    let store = file.open();
    for owner in owners {
        ports::ToolStore::publish(&store, version(&owner.replace('/', "_"), "1.0.0", owner)).await.expect("published");
    }
    drop(store);
    let db = Connection::open(file.path()).expect("opens");
    let as_it_was = "DROP INDEX tool_versions_realm; ALTER TABLE tool_versions DROP COLUMN tenant; DROP INDEX tasks_scheduled; DROP TABLE rate_takes; PRAGMA user_version = 5; \
                     CREATE UNIQUE INDEX tool_versions_name ON tool_versions (name, version);";
    db.execute_batch(as_it_was).expect("as it was");
    drop(db);
    let found = ports::ToolStore::published(&file.open()).await.expect("published");
    let found: Vec<_> = found.into_iter().map(|one| (one.realm, one.owner)).collect();
    let of = |tenant: &str| Realm::Of(Tenant::parse(tenant).expect("a tenant"));
    let expected = [(Realm::Node, "local"), (Realm::Node, "operator"), (of("acme"), "acme/ann"), (of("default"), "ann")];
    assert_eq!(found, expected.map(|(realm, owner)| (realm, owner.to_owned())));
}

#[tokio::test]
async fn no_more_versions_of_tools_are_kept_than_a_node_can_bear() {
    use maniple_testkit::tool_store_suite::version;
    let file = File::new();
    drop(file.open());
    let db = Connection::open(file.path()).expect("opens");
    let fill = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000) \
                INSERT INTO tool_versions (name, version, owner, data, at) SELECT 't' || n, '1.0.0', 'ann', '', 0 FROM n";
    db.execute_batch(fill).expect("filled");
    drop(db);
    let store = file.open();
    let refused = ports::ToolStore::publish(&store, version("pay", "1.0.0", "ann")).await;
    assert_eq!(refused.map_err(|e| e.kind), Err(Kind::Exhausted));
    assert_eq!(ports::ToolStore::unpublish(&store, &Realm::Node, "t7", None).await.expect("unpublished"), 1);
    ports::ToolStore::publish(&store, version("pay", "1.0.0", "ann")).await.expect("there is room");
}
