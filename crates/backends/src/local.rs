//! The bus of a single process.

use async_trait::async_trait;
use futures::{Stream, StreamExt, stream::BoxStream};
use maniple_core::{
    TaskKey,
    ports::{self, Delta, Hint, Live},
};
use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// How far a reader of a task may be behind.
const BEHIND_MAX: usize = 1_024;
/// What a reader of a task may have unread, in bytes: an event that is larger it finds in the journal, as all readers of it do there together.
const BEHIND_BYTES: usize = 32 << 10;
/// How far a listener to hints may be behind; it misses hints then, and is told.
const HINTS_MAX: usize = 1_024;

/// Hints and live steps inside one process. Publishing what nobody reads costs one atomic load.
pub struct Bus {
    hints: broadcast::Sender<Hint>,
    readers: Arc<Readers>,
}

impl Bus {
    /// A bus nobody listens to yet.
    pub fn new() -> Self {
        Self { hints: broadcast::channel(HINTS_MAX).0, readers: Arc::default() }
    }
    /// Tells all readers that they lost something.
    pub(crate) fn lag_all(&self) {
        let boxes = self.readers.boxes.read().unwrap_or_else(PoisonError::into_inner);
        boxes.values().flatten().for_each(|mailbox| mailbox.put(Live::Lagged));
    }
    /// How many tasks have a reader.
    pub fn tasks_read(&self) -> usize {
        self.readers.tasks.load(Ordering::SeqCst)
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ports::Bus for Bus {
    fn hint(&self, hint: Hint) {
        // No listener is no error: hints may be lost.
        let _ = self.hints.send(hint);
    }

    fn hints(&self) -> BoxStream<'static, Hint> {
        BroadcastStream::new(self.hints.subscribe()).map(|hint| hint.unwrap_or(Hint::Missed)).boxed()
    }

    fn publish(&self, key: &TaskKey, live: Live) {
        if self.readers.tasks.load(Ordering::SeqCst) == 0 {
            return;
        }
        let boxes = self.readers.boxes.read().unwrap_or_else(PoisonError::into_inner);
        for mailbox in boxes.get(key).into_iter().flatten() {
            mailbox.put(live.clone());
        }
    }

    async fn subscribe(&self, key: &TaskKey) -> BoxStream<'static, Live> {
        let mailbox = Arc::new(Mailbox::default());
        self.readers.add(key, mailbox.clone());
        Subscription { key: key.clone(), mailbox, readers: self.readers.clone() }.boxed()
    }
}

/// Who reads what. A mailbox grows with what is in it: ten thousand idle readers cost little.
#[derive(Default)]
struct Readers {
    tasks: AtomicUsize,
    boxes: RwLock<HashMap<TaskKey, Vec<Arc<Mailbox>>>>,
}

impl Readers {
    fn add(&self, key: &TaskKey, mailbox: Arc<Mailbox>) {
        let mut boxes = self.boxes.write().unwrap_or_else(PoisonError::into_inner);
        boxes.entry(key.clone()).or_default().push(mailbox);
        self.tasks.store(boxes.len(), Ordering::SeqCst);
    }
    fn remove(&self, key: &TaskKey, mailbox: &Arc<Mailbox>) {
        let mut boxes = self.boxes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(readers) = boxes.get_mut(key) {
            readers.retain(|reader| !Arc::ptr_eq(reader, mailbox));
            if readers.is_empty() {
                boxes.remove(key);
            }
        }
        self.tasks.store(boxes.len(), Ordering::SeqCst);
    }
}

/// What it weighs while it is unread; nothing for a mark.
fn weight(live: &Live) -> usize {
    match live {
        Live::Event(event) => event.weight(),
        Live::Delta(delta) => size_of::<Delta>() + delta.text.len(),
        Live::Lagged => 0,
    }
}

/// What one reader has not read yet.
#[derive(Default)]
struct Mailbox(Mutex<Unread>);

#[derive(Default)]
struct Unread {
    queue: VecDeque<Live>,
    bytes: usize,
    reader: Option<Waker>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn put(&self, live: Live) {
        let mut unread = self.lock();
        let weight = weight(&live);
        if unread.queue.len() >= BEHIND_MAX || unread.bytes + weight > BEHIND_BYTES {
            // The reader goes to the journal anyway, so what it has not read is worth nothing any more.
            unread.queue.clear();
            unread.queue.push_back(Live::Lagged);
            unread.bytes = 0;
        }
        if weight <= BEHIND_BYTES {
            unread.queue.push_back(live);
            unread.bytes += weight;
        }
        let reader = unread.reader.take();
        drop(unread);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// A reader's end; dropping it is how a reader leaves.
struct Subscription {
    key: TaskKey,
    mailbox: Arc<Mailbox>,
    readers: Arc<Readers>,
}

impl Stream for Subscription {
    type Item = Live;
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Live>> {
        let mut unread = self.mailbox.lock();
        match unread.queue.pop_front() {
            Some(live) => {
                unread.bytes = unread.bytes.saturating_sub(weight(&live));
                Poll::Ready(Some(live))
            }
            None => {
                unread.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.readers.remove(&self.key, &self.mailbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use maniple_core::{AgentName, TaskId, Tenant, ports::Bus as _};

    fn key(id: &str) -> TaskKey {
        TaskKey { tenant: Tenant::default(), id: TaskId::parse(id).expect("legal") }
    }
    fn delta(index: u32) -> Live {
        Live::Delta(Delta { step: 1, attempt: 1, index, text: "x".into() })
    }
    fn index(live: Option<Live>) -> Option<u32> {
        match live? {
            Live::Delta(delta) => Some(delta.index),
            Live::Event(_) | Live::Lagged => None,
        }
    }

    #[tokio::test]
    async fn every_reader_of_a_task_sees_what_is_published_after_it_came_and_nothing_of_other_tasks() {
        let bus = Bus::new();
        bus.publish(&key("a"), delta(0));
        let mut first = bus.subscribe(&key("a")).await;
        bus.publish(&key("a"), delta(1));
        let mut second = bus.subscribe(&key("a")).await;
        bus.publish(&key("b"), delta(9));
        bus.publish(&key("a"), delta(2));
        assert_eq!((index(first.next().await), index(first.next().await)), (Some(1), Some(2)));
        assert_eq!(index(second.next().await), Some(2));
        assert!(first.next().now_or_never().is_none() && second.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let bus = Arc::new(Bus::new());
        let mut reader = bus.subscribe(&key("a")).await;
        let waiting = tokio::spawn(async move { index(reader.next().await) });
        tokio::task::yield_now().await;
        bus.publish(&key("a"), delta(7));
        assert_eq!(waiting.await.expect("no panic"), Some(7));
    }

    #[tokio::test]
    async fn a_reader_too_far_behind_is_told_where_it_lost_something() {
        let bus = Bus::new();
        let mut reader = bus.subscribe(&key("a")).await;
        let fit = (BEHIND_BYTES / weight(&delta(0))).min(BEHIND_MAX) as u32;
        for n in 0..=fit {
            bus.publish(&key("a"), delta(n));
        }
        assert!(matches!(reader.next().await, Some(Live::Lagged)));
        assert_eq!(index(reader.next().await), Some(fit));
        assert!(reader.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_a_reader_has_not_read_weighs_no_more_than_its_bound() {
        let bus = Bus::new();
        let mut reader = bus.subscribe(&key("a")).await;
        let large = |index| Live::Delta(Delta { step: 1, attempt: 1, index, text: "x".repeat(BEHIND_BYTES / 3) });
        let too_large = || Live::Delta(Delta { step: 1, attempt: 1, index: 9, text: "x".repeat(BEHIND_BYTES) });
        bus.publish(&key("a"), too_large());
        assert!(matches!(reader.next().await, Some(Live::Lagged)), "the journal has it");
        assert!(reader.next().now_or_never().is_none());
        for n in 0..5 {
            bus.publish(&key("a"), large(n));
        }
        let unread: Vec<Live> = std::iter::from_fn(|| reader.next().now_or_never().flatten()).collect();
        assert!(unread.iter().map(weight).sum::<usize>() <= BEHIND_BYTES, "{} are unread", unread.len());
        assert!(matches!(unread.first(), Some(Live::Lagged)));
        assert_eq!(index(unread.last().cloned()), Some(4));
    }

    #[tokio::test]
    async fn what_nobody_reads_any_more_is_not_kept() {
        let bus = Bus::new();
        let readers = (bus.subscribe(&key("a")).await, bus.subscribe(&key("a")).await, bus.subscribe(&key("b")).await);
        assert_eq!(bus.tasks_read(), 2);
        drop(readers.0);
        assert_eq!(bus.tasks_read(), 2);
        drop((readers.1, readers.2));
        assert_eq!(bus.tasks_read(), 0);
    }

    #[tokio::test]
    async fn hints_reach_all_who_listen() {
        let bus = Bus::new();
        bus.hint(Hint::Signalled(key("lost")));
        let (mut first, mut second) = (bus.hints(), bus.hints());
        let ready = Hint::Ready(AgentName::parse("search").expect("legal"));
        bus.hint(ready.clone());
        assert_eq!((first.next().await, second.next().await), (Some(ready.clone()), Some(ready)));
    }
}
