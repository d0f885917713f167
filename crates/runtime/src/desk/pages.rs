//! Pages of journals that several readers want at once: read from the store once, held once.
//!
//! A page that its bounds cut off never changes, so it is kept for a while; a shorter one, the end of a journal as it is
//! now, is passed to those who asked while it was read only where they cannot have missed anything by it: not at all.

use maniple_core::{Error, Result, TaskKey, event::StoredEvent, ports::Tasks, task::AgentResult};
use moka::future::Cache;
use std::{sync::Arc, time::Duration};

/// How many events one look into the journal brings.
const PAGE: usize = 64;
/// How much they weigh, in bytes; a single one may be heavier.
const PAGE_BYTES: usize = 64 << 10;
/// What all pages weigh that are kept for their next readers, in bytes.
const KEPT_BYTES: u64 = 64 << 20;
/// How long a page is kept that nobody reads.
const KEPT: Duration = Duration::from_secs(20);
/// What a page weighs besides its events, nearly.
const EMPTY_PAGE_BYTES: usize = 512;

/// Events in the order of the journal, each once in memory however many read it.
pub(super) type Page = Arc<[Arc<StoredEvent>]>;

/// What is read of journals, for all readers of a desk.
#[derive(Clone)]
pub(super) struct Pages {
    tasks: Arc<dyn Tasks>,
    kept: Cache<(TaskKey, u64), Page>,
}

/// What a look brought.
#[derive(Clone)]
pub(super) struct Looked {
    pub(super) events: Page,
    /// Whether its bounds cut it off: there may be more.
    pub(super) is_cut: bool,
}

/// Why a page is not kept.
enum NotKept {
    Short(Page),
    Gone,
    Failed(Error),
}

impl Pages {
    pub(super) fn new(tasks: Arc<dyn Tasks>) -> Self {
        let weight = |_: &(TaskKey, u64), page: &Page| {
            let bytes = EMPTY_PAGE_BYTES + page.iter().map(|event| event.weight()).sum::<usize>();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().weigher(weight).max_capacity(KEPT_BYTES).time_to_idle(KEPT).build();
        Self { tasks, kept }
    }

    /// The events after `after`, as they are at some moment of this call. `None` for a task that is gone.
    pub(super) async fn after(&self, key: &TaskKey, after: u64) -> Result<Option<Looked>> {
        let mut is_mine = false;
        let reading = async {
            is_mine = true;
            match self.read(key, after).await {
                Ok(Some(looked)) if looked.is_cut => Ok(looked.events),
                Ok(Some(looked)) => Err(NotKept::Short(looked.events)),
                Ok(None) => Err(NotKept::Gone),
                Err(error) => Err(NotKept::Failed(error)),
            }
        };
        let found = self.kept.try_get_with((key.clone(), after), reading).await;
        match found {
            Ok(events) => Ok(Some(Looked { events, is_cut: true })),
            // What another one's look ended with may have been read before this one's began: look again.
            Err(_) if !is_mine => self.read(key, after).await,
            Err(why) => match &*why {
                NotKept::Short(events) => Ok(Some(Looked { events: events.clone(), is_cut: false })),
                NotKept::Gone => Ok(None),
                NotKept::Failed(error) => Err(error.clone()),
            },
        }
    }

    /// A task as it is now.
    pub(super) async fn task(&self, key: &TaskKey) -> Result<Option<AgentResult>> {
        self.tasks.get(key).await
    }

    async fn read(&self, key: &TaskKey, after: u64) -> Result<Option<Looked>> {
        let Some(events) = self.tasks.events(key, after, PAGE, PAGE_BYTES).await? else { return Ok(None) };
        let is_cut = events.len() >= PAGE || events.iter().map(StoredEvent::weight).sum::<usize>() >= PAGE_BYTES;
        Ok(Some(Looked { events: events.into_iter().map(Arc::new).collect(), is_cut }))
    }
}
