//! Stores, the bus and the rate limiter: in memory and SQLite.
//!
//! | url | store |
//! |---|---|
//! | `sqlite:PATH` | [`sqlite::TaskStore`]: one file, one owning process, durable |
//! | `memory:` | [`memory::TaskStore`]: gone with the process |

pub mod clock;
pub mod limiter;
pub mod local;
pub mod memory;
pub mod rules;
pub mod sqlite;

pub use clock::{Clock, SystemClock, TokioClock};
pub use limiter::RateLimiter;

use maniple_core::{Error, Result, ports};
use std::{path::PathBuf, sync::Arc};

/// A store that was opened by its URL.
#[derive(Clone)]
pub enum Store {
    /// `memory:`
    Memory(Arc<memory::TaskStore>),
    /// `sqlite:PATH`
    Sqlite(Arc<sqlite::TaskStore>),
}

impl Store {
    /// As everybody else sees it.
    pub fn tasks(&self) -> Arc<dyn ports::TaskStore> {
        match self {
            Self::Memory(store) => store.clone(),
            Self::Sqlite(store) => store.clone(),
        }
    }
    /// What it remembers of tools: in the same place, with the same promises.
    pub fn tools(&self) -> Arc<dyn ports::ToolStore> {
        match self {
            Self::Memory(store) => store.clone(),
            Self::Sqlite(store) => store.clone(),
        }
    }
    /// Says where this node listens, where somebody may want to know: in the lock file of an embedded store.
    pub fn set_address(&self, address: &str) -> Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Sqlite(store) => store.set_address(address),
        }
    }
}

/// Opens the store of that URL. `Invalid` for a scheme there is no store for; for the rest see the store.
pub fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Store> {
    match scheme(url)? {
        Scheme::Memory => Ok(Store::Memory(Arc::new(memory::TaskStore::with_clock(clock)))),
        Scheme::Sqlite(path) => {
            let options = sqlite::Options { clock, ..sqlite::Options::default() };
            Ok(Store::Sqlite(Arc::new(sqlite::TaskStore::open(path, options)?)))
        }
    }
}

/// Who has the store of that URL open; `None` if nobody does, or if it is no store that one process owns.
pub fn holder(url: &str) -> Result<Option<sqlite::Holder>> {
    match scheme(url)? {
        Scheme::Memory => Ok(None),
        Scheme::Sqlite(path) => Ok(sqlite::holder(&path)),
    }
}

enum Scheme {
    Memory,
    Sqlite(PathBuf),
}

fn scheme(url: &str) -> Result<Scheme> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Scheme::Memory),
        Some(("sqlite", path)) if !path.trim_start_matches("//").is_empty() => {
            Ok(Scheme::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
        }
        _ => Err(Error::invalid(format!("store `{url}` is not known to this build: write sqlite:PATH or memory:")).at("store")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::Kind;

    #[test]
    fn a_url_without_a_store_is_refused_with_what_there_is() {
        for url in ["postgres://db/maniple", "sqlite:", "sqlite://", "memory:x", "maniple.db", ""] {
            let error = open(url, Arc::new(SystemClock)).err().expect(url);
            assert_eq!((error.kind, error.field.as_deref()), (Kind::Invalid, Some("store")), "{url}");
            assert!(error.message.contains("sqlite:PATH or memory:"), "{url}: {error}");
        }
        assert!(matches!(open("memory:", Arc::new(SystemClock)), Ok(Store::Memory(_))));
    }
}
