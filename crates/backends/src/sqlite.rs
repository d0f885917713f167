//! The durable store of one node: one SQLite file, one owning process, one writer.
//!
//! ```text
//! callers ─► queue ─► writer thread ─► one transaction for all that is queued ─► fsync ─► answers
//!        └─► queue ─► reader threads, each with its own connection
//! ```
//!
//! What is acknowledged is on the disk (`synchronous=FULL`). A full disk applies nothing and says so; an I/O
//! error while committing ends the process, because nobody knows what the disk holds and a retry could
//! report as durable what is not.

mod append;
mod approval;
mod claim;
mod create;
mod failure;
mod forget;
mod keys;
mod limiter;
mod lock;
mod look;
mod read;
mod readers;
mod row;
mod schema;
mod signal;
mod sweep;
#[cfg(test)]
mod tests;
mod tools;
mod writer;

pub use limiter::Limiter;
pub use lock::{Holder, holder};

use crate::{
    clock::{Clock, Monotone, SystemClock},
    rules,
};
use append::Facts;
use async_trait::async_trait;
use create::Submission;
use failure::{Refusal, failed};
use maniple_core::{
    AgentName, Error, Result, SessionKey, TaskId, TaskKey, Tenant, Time,
    agent::Definitions,
    event::StoredEvent,
    ports::{
        self, Append, Appended, Approval, Claim, Claimed, Conversation, Created, Decided, Decision, Idempotency, KeyWas, ListApprovals,
        ListSessions, ListTasks, NewTask, Renewal, Room, Sessions, Signalled, Swept, Turn, Waiting,
    },
    signal::Signal,
    task::AgentResult,
};
use readers::Readers;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};
use writer::{Counters, Leases, Queue, Tx, Writer};

/// What is done after an I/O error; the store writes no more once it returns.
pub type IoErrorPolicy = Arc<dyn Fn(&rusqlite::Error) + Send + Sync>;

#[cfg(test)]
pub(crate) type CommitFault = Arc<dyn Fn() -> Option<rusqlite::Error> + Send + Sync>;

/// Settings of a store.
#[derive(Clone)]
pub struct Options {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Whether each commit waits for the disk. Only a test may do without.
    pub fsync: bool,
    /// How many threads read.
    pub readers: usize,
    /// The largest file, in pages of 4 KiB; `None` means as large as the disk allows.
    pub max_pages: Option<u32>,
    /// What is done after an I/O error. The default aborts the process.
    pub on_io_error: IoErrorPolicy,
    #[cfg(test)]
    pub(crate) commit_fault: CommitFault,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            fsync: true,
            readers: 2,
            max_pages: None,
            on_io_error: Arc::new(abort),
            #[cfg(test)]
            commit_fault: Arc::new(|| None),
        }
    }
}

/// Loud, and never a success: what runs here is recovered from the file by the next process.
fn abort(error: &rusqlite::Error) {
    tracing::error!(%error, "the disk failed under the store: aborting, since nobody knows what was written");
    std::process::abort();
}

/// All tasks in one SQLite file, and what is remembered of tools.
pub struct TaskStore {
    queue: Option<Queue>,
    readers: Option<Readers>,
    threads: Vec<JoinHandle<()>>,
    clock: Arc<Monotone>,
    leases: Arc<Leases>,
    path: PathBuf,
    lock: lock::Lock,
}

impl TaskStore {
    /// Opens or creates the file and takes it over: claims of the process before are void.
    ///
    /// `Conflict` names the process that has it open; `Invalid` where it cannot be opened as it stands.
    /// Blocks for the disk: call it before the work begins.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let lock = lock::Lock::take(&path)?;
        keep_private(&path)?;
        let db = connect(&path, &options)?;
        schema::migrate(&db)?;
        sync_folder(&path);
        let counters = Counters::read(&db).map_err(failed)?;
        let unfinished_of = writer::unfinished_of(&db).map_err(failed)?;
        let clock = Arc::new(Monotone::new(options.clock.clone(), counters.clock));
        let leases = Arc::new(Leases::default());
        let connections = (0..options.readers.max(1)).map(|_| connect(&path, &options)).collect::<Result<_>>()?;

        let (mut writer, queue) = Writer::new(db, clock.clone(), (counters, unfinished_of), leases.clone(), &options);
        writer.now(sweep::void_claims)?;
        let (readers, mut threads) = Readers::start(connections)?;
        let writer = thread::Builder::new().name("maniple-write".into()).spawn(move || writer.work());
        threads.push(writer.map_err(|e| Error::unavailable("no thread for the store's writer").because(e))?);
        Ok(Self { queue: Some(queue), readers: Some(readers), threads, clock, leases, path, lock })
    }

    /// Says in the lock file where this process listens, so that commands find it.
    pub fn set_address(&self, address: &str) -> Result<()> {
        self.lock.write(Some(address))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn write<T: Send + 'static>(&self, work: impl Fn(&mut Tx) -> Result<T, Refusal> + Send + 'static) -> Result<T> {
        self.queue.as_ref().expect("taken only by drop").run(work).await
    }

    async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Connection) -> Result<T, Refusal> + Send + 'static) -> Result<T> {
        self.readers.as_ref().expect("taken only by drop").read(read).await
    }
}

impl Drop for TaskStore {
    /// What is queued is still done; then the threads end, and the lock goes last.
    fn drop(&mut self) {
        (self.queue, self.readers) = (None, None);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        }
    }
}

/// Conversations are in it: nobody but the node's own user reads the file, or what SQLite keeps beside it, which takes its mode over.
fn keep_private(path: &Path) -> Result<()> {
    let beside = |suffix: &str| PathBuf::from([path.as_os_str(), suffix.as_ref()].into_iter().collect::<OsString>());
    let private = |path: &Path, creates: bool| -> io::Result<()> {
        let file = match OpenOptions::new().write(true).create(creates).mode(0o600).open(path) {
            Err(error) if !creates && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let mut permissions = file.metadata()?.permissions();
        if permissions.mode() & 0o077 != 0 {
            permissions.set_mode(permissions.mode() & 0o700);
            file.set_permissions(permissions)?;
        }
        Ok(())
    };
    private(path, true).and_then(|()| ["-wal", "-shm"].into_iter().try_for_each(|suffix| private(&beside(suffix), false))).map_err(
        |error| {
            Error::unavailable(format!("cannot make {} this user's alone: {error}; may this user write there?", path.display()))
                .because(error)
        },
    )
}

fn connect(path: &Path, options: &Options) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let db = Connection::open_with_flags(path, flags)?;
        db.set_prepared_statement_cache_capacity(128);
        // Plans do not depend on what is bound: else each statement with a bound LIMIT is prepared anew each time.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", if options.fsync { "FULL" } else { "OFF" })?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.pragma_update(None, "cache_size", -16_384)?;
        db.pragma_update(None, "wal_autocheckpoint", 4_000)?;
        db.pragma_update(None, "journal_size_limit", 64 << 20)?;
        if let Some(pages) = options.max_pages {
            db.pragma_update(None, "max_page_count", pages)?;
        }
        Ok(db)
    };
    open().map_err(|error: rusqlite::Error| {
        let reason = failed(error);
        Error { message: format!("cannot open {}: {}", path.display(), reason.message).into(), ..reason }
    })
}

/// A new file's name must survive a power cut too. SQLite sees to its own -wal file.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = std::fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::warn!(%error, folder = %folder.display(), "the store's folder cannot be synced");
    }
}

#[async_trait]
impl ports::Tasks for TaskStore {
    async fn create(&self, new: NewTask) -> Result<Created> {
        let submission = Submission::of(new)?;
        self.write(move |tx| submission.create(tx)).await
    }

    async fn signal(&self, key: &TaskKey, signal: Signal, idempotency: Option<Idempotency>) -> Result<(Signalled, KeyWas)> {
        rules::check_signal_id(&signal.id)?;
        let data = serde_json::to_string(&signal.data).map_err(|e| Error::internal("a signal cannot be written").because(e))?;
        let key = key.clone();
        self.write(move |tx| signal::signal(tx, &key, &signal, &data, idempotency.as_ref())).await
    }

    async fn approvals(&self, query: &ListApprovals) -> Result<Vec<Approval>> {
        let (query, now) = (query.clone(), self.clock.now());
        self.read(move |db| approval::list(db, &query, now)).await
    }

    async fn approval(&self, tenant: &Tenant, id: &str) -> Result<Option<Approval>> {
        let (tenant, id, now) = (tenant.clone(), id.to_owned(), self.clock.now());
        self.read(move |db| approval::get(db, &tenant, &id, now)).await
    }

    async fn decide(&self, tenant: &Tenant, id: &str, decision: Decision, idempotency: Option<Idempotency>) -> Result<(Decided, KeyWas)> {
        let (tenant, id) = (tenant.clone(), id.to_owned());
        self.write(move |tx| approval::decide(tx, &tenant, &id, &decision, idempotency.as_ref())).await
    }

    async fn get(&self, key: &TaskKey) -> Result<Option<AgentResult>> {
        let (key, now) = (key.clone(), self.clock.now());
        self.read(move |db| read::get(db, &key, now)).await
    }

    async fn list(&self, query: &ListTasks) -> Result<Vec<AgentResult>> {
        let (query, now) = (query.clone(), self.clock.now());
        self.read(move |db| read::list(db, &query, now)).await
    }

    async fn prompts(&self, tenant: &Tenant, tasks: &[TaskId], max_chars: usize) -> Result<Vec<Option<String>>> {
        let (tenant, tasks) = (tenant.clone(), tasks.to_vec());
        self.read(move |db| look::prompts(db, &tenant, &tasks, max_chars)).await
    }

    async fn sessions(&self, query: &ListSessions) -> Result<Sessions> {
        let (query, now) = (query.clone(), self.clock.now());
        self.read(move |db| look::sessions(db, &query, now)).await
    }

    async fn events(&self, key: &TaskKey, after: u64, limit: usize, max_bytes: usize) -> Result<Option<Vec<StoredEvent>>> {
        let key = key.clone();
        self.read(move |db| read::events(db, &key, after, limit, max_bytes)).await
    }

    async fn conversation(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Conversation> {
        let (session, before) = (session.clone(), before.cloned());
        self.read(move |db| read::conversation(db, &session, before.as_ref(), limit, max_bytes)).await
    }

    async fn erase(&self, session: &SessionKey) -> Result<u64> {
        let session = session.clone();
        let (mut tasks, mut below) = (0, None);
        loop {
            let session = session.clone();
            let erased = self.write(move |tx| forget::erase(tx, &session, below)).await?;
            tasks += erased.tasks;
            below = erased.below;
            if below.is_none() {
                return Ok(tasks);
            }
        }
    }

    async fn drop_dead_letter(&self, key: &TaskKey, idempotency: Option<Idempotency>) -> Result<KeyWas> {
        let key = key.clone();
        self.write(move |tx| forget::drop_dead_letter(tx, &key, idempotency.as_ref())).await
    }

    async fn remember(&self, tenant: &Tenant, idempotency: &Idempotency, made: &str) -> Result<KeyWas> {
        let (tenant, idempotency, made) = (tenant.clone(), idempotency.clone(), made.to_owned());
        self.write(move |tx| keys::remember(tx, &tenant, &idempotency, &made)).await
    }

    async fn recall(&self, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<String>> {
        let (tenant, idempotency, now) = (tenant.clone(), idempotency.clone(), self.clock.now());
        self.read(move |db| keys::recall(db, &tenant, &idempotency, now)).await
    }
}

#[async_trait]
impl ports::Work for TaskStore {
    async fn claim(&self, agents: &[AgentName], room: &Room) -> Result<Vec<Claimed>> {
        let (agents, room) = (rules::agents_of(agents), room.clone());
        let handed_out = self.write(move |tx| claim::claim(tx, &agents, &room)).await?;
        if handed_out.iter().all(|out| !out.journal_missing) {
            return Ok(handed_out.into_iter().map(|out| out.claimed).collect());
        }
        // Only the holder appends, so what a reader finds now is what there was when it was claimed.
        let read = move |db: &Connection| {
            let fill = |mut out: claim::HandedOut| {
                if out.journal_missing {
                    let events = row::events(db, out.number, 0, rules::EVENTS_MAX as usize, usize::MAX)?;
                    out.claimed.journal = events.into_iter().map(|(_, event)| event).collect();
                }
                Ok(out.claimed)
            };
            handed_out.into_iter().map(fill).collect()
        };
        self.read(read).await
    }

    async fn renew(&self, claims: &[Claim]) -> Result<Vec<Renewal>> {
        let claims = claims.to_vec();
        self.write(move |tx| claims.iter().map(|claim| claim::renew(tx, claim)).collect()).await
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let facts = Facts::of(append)?;
        self.write(move |tx| facts.record(tx)).await
    }

    async fn release(&self, claim: &Claim) -> Result<()> {
        let claim = claim.clone();
        self.write(move |tx| claim::release(tx, &claim)).await
    }

    async fn signals(&self, key: &TaskKey) -> Result<Vec<Signal>> {
        let key = key.clone();
        self.read(move |db| read::signals(db, &key)).await
    }

    async fn turns(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Vec<Turn>> {
        let (session, before) = (session.clone(), before.cloned());
        self.read(move |db| read::turns(db, &session, before.as_ref(), limit, max_bytes)).await
    }

    async fn definitions(&self, hash: &str) -> Result<Option<Definitions>> {
        let hash = hash.to_owned();
        self.read(move |db| read::definitions(db, &hash)).await
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}

#[async_trait]
impl ports::Upkeep for TaskStore {
    async fn sweep_leases_by(&self, moment: Time) -> Result<Swept> {
        self.write(move |tx| sweep::sweep(tx, moment)).await
    }

    async fn forget(&self, keep: Duration, limit: usize) -> Result<u64> {
        self.write(move |tx| forget::forget(tx, keep, limit)).await
    }

    async fn forget_beyond(&self, max_bytes: u64, limit: usize) -> Result<u64> {
        self.write(move |tx| forget::forget_beyond(tx, max_bytes, limit)).await
    }

    async fn waiting(&self) -> Result<Vec<Waiting>> {
        let (leases, now) = (self.leases.clone(), self.clock.now());
        self.read(move |db| read::waiting(db, &leases, now)).await
    }

    async fn ping(&self) -> Result<()> {
        self.read(read::ping).await?;
        self.write(|tx| tx.touch()).await
    }
}
