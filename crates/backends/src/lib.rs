//! Stores, the bus and the rate limiter: in memory, SQLite, Postgres and Redis.
//!
//! [`open`] turns a [`StoreUrl`] into everything that lies behind it. Each store is one truth seen by whoever uses it:
//! tasks for the desk, work for workers, upkeep for jobs, tools for the registry.

mod bus_url;
pub mod clock;
pub mod examine;
mod life;
pub mod limiter;
pub mod local;
pub mod memory;
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
pub mod rules;
pub mod sqlite;
mod url;

pub use bus_url::BusUrl;
pub use clock::{Clock, SystemClock, TokioClock};
pub use limiter::RateLimiter;
pub use url::StoreUrl;

use maniple_core::{Result, ports};
use std::sync::Arc;

/// All that lies behind a store's URL, and what goes with a store of its kind.
#[derive(Clone)]
pub struct Backend {
    /// For the desk.
    pub tasks: Arc<dyn ports::Tasks>,
    /// For workers.
    pub work: Arc<dyn ports::Work>,
    /// For jobs and probes.
    pub upkeep: Arc<dyn ports::Upkeep>,
    /// For the registry: in the same place, with the same promises.
    pub tools: Arc<dyn ports::ToolStore>,
    /// What a broker brings and what goes out to it, where the store keeps that: Postgres does.
    pub events: Option<Events>,
    /// Hints between all of them.
    pub bus: Arc<dyn ports::Bus>,
    /// What counts calls.
    pub limiter: Arc<dyn ports::RateLimiter>,
    /// The file, for what only a file has.
    file: Option<Arc<sqlite::TaskStore>>,
}

/// A store as the doors of a broker know it.
#[derive(Clone)]
pub struct Events {
    /// Takes in what is delivered.
    pub ingest: Arc<dyn ports::Ingest>,
    /// Keeps what is to be sent.
    pub outbox: Arc<dyn ports::Outbox>,
}

impl Backend {
    fn over<S>(store: Arc<S>, bus: Arc<dyn ports::Bus>, limiter: Arc<dyn ports::RateLimiter>, file: Option<Arc<sqlite::TaskStore>>) -> Self
    where
        S: ports::TaskStore + ports::ToolStore + 'static,
    {
        Self { tasks: store.clone(), work: store.clone(), upkeep: store.clone(), tools: store, events: None, bus, limiter, file }
    }

    /// Says where this node listens, where somebody may want to know: in the lock file of an embedded store.
    pub fn set_address(&self, address: &str) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.set_address(address))
    }
}

/// What a store is opened with beside its URL.
#[derive(Clone)]
pub struct Options {
    /// What time it is; of no account to a store whose server says it.
    pub clock: Arc<dyn Clock>,
    /// The most connections to a server.
    pub connections: usize,
    /// How long a server may take.
    pub times: postgres::Times,
    /// Where hints between processes go.
    pub bus: BusUrl,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            connections: postgres::Options::default().connections,
            times: postgres::Times::default(),
            bus: BusUrl::Local,
        }
    }
}

/// Opens the store of that URL, and brings it to this version. For what can go wrong see the store.
pub async fn open(url: &StoreUrl, options: Options) -> Result<Backend> {
    let local = || Arc::new(local::Bus::default());
    match url {
        StoreUrl::Memory => {
            let store = Arc::new(memory::TaskStore::with_clock(options.clock));
            Ok(Backend::over(store, local(), Arc::new(RateLimiter::new()), None))
        }
        StoreUrl::Sqlite(path) => {
            let store = Arc::new(sqlite::TaskStore::open(path, sqlite::Options { clock: options.clock, ..sqlite::Options::default() })?);
            Ok(Backend::over(store.clone(), local(), Arc::new(sqlite::Limiter::new(store.clone())), Some(store)))
        }
        StoreUrl::Postgres(url) => {
            let settings = postgres::Options { connections: options.connections, times: options.times, ..postgres::Options::default() };
            let store = Arc::new(postgres::TaskStore::new(url, &settings)?);
            store.migrate().await?;
            tokio::spawn(store.clone().learn_the_way(url.clone()));
            let events = Some(Events { ingest: store.clone(), outbox: store.clone() });
            let listening = |url: &str| postgres::Bus::over(store.clone(), url);
            let bus = match &options.bus {
                BusUrl::Local | BusUrl::Postgres => listening(url)?,
                BusUrl::PostgresAt(direct) => listening(direct)?,
                #[cfg(feature = "redis")]
                BusUrl::Redis(place) => {
                    let link = redis::Link::open(place.clone()).await?;
                    let limiter = Arc::new(redis::Limiter::over(link.clone(), store.clone()));
                    return Ok(Backend { events, ..Backend::over(store, Arc::new(redis::Bus::over(link)), limiter, None) });
                }
            };
            Ok(Backend { events, ..Backend::over(store.clone(), Arc::new(bus), Arc::new(postgres::Limiter::new(store)), None) })
        }
    }
}

/// Who has the store of that URL open; `None` if nobody does, or if it is no store that one process owns.
pub fn holder(url: &StoreUrl) -> Option<sqlite::Holder> {
    match url {
        StoreUrl::Memory | StoreUrl::Postgres(_) => None,
        StoreUrl::Sqlite(path) => sqlite::holder(path),
    }
}
