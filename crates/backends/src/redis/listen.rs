//! Listens to what other processes tell: to all that happened, and to the tasks that have a reader here.
//!
//! After a connection was lost it subscribes anew, and then tells every reader that it lagged: what was told in between nobody knows,
//! and the journal has it.

use super::{
    bus::Shared,
    link::hello,
    message::{Hints, Told},
};
use ::redis::{PushInfo, PushKind, aio::MultiplexedConnection};
use maniple_core::{
    Result, TaskKey,
    ports::{Bus as _, Hint, Live},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{sleep, timeout},
};

/// How long a reader waits until it is listened for it; after that it is told that it lagged once it is.
const LISTENED_WITHIN: Duration = Duration::from_secs(1);
/// How long to wait before Redis is listened to again, doubling up to the last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often it is seen whether the connection still lives, and leads to the master.
const ALIVE_EACH: Duration = Duration::from_secs(5);
/// The most channels in one command.
const CHANNELS_AT_ONCE: usize = 512;

/// Which tasks have readers here, and are listened to.
#[derive(Default)]
pub(super) struct Readers {
    tasks: Mutex<HashMap<TaskKey, Tuned>>,
    pub(super) changed: Notify,
    is_listening: AtomicBool,
}

/// What is listened to for the readers of a task.
#[derive(Default)]
struct Tuned {
    readers: usize,
    is_listened: bool,
    /// Who waits for it.
    waiting: Vec<oneshot::Sender<()>>,
    /// Some did not wait to the end.
    is_late: bool,
}

impl Readers {
    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskKey, Tuned>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(super) fn is_listened(&self, key: &TaskKey) -> bool {
        self.tasks().get(key).is_some_and(|tuned| tuned.is_listened)
    }
    /// Whether Redis is listened to.
    pub(super) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }
    /// The connection is lost.
    fn lost(&self) {
        self.is_listening.store(false, Ordering::Relaxed);
        self.tasks().retain(|_, tuned| {
            tuned.is_listened = false;
            tuned.readers > 0
        });
    }
    /// What is to be listened to, and what no longer.
    fn turn(&self) -> (Vec<TaskKey>, Vec<TaskKey>) {
        let mut tasks = self.tasks();
        let left: Vec<TaskKey> = tasks.iter().filter(|(_, tuned)| tuned.readers == 0).map(|(key, _)| key.clone()).collect();
        // Out before it is said: a reader that comes meanwhile has it subscribed anew, after that.
        let left = left.into_iter().filter(|key| tasks.remove(key).is_some_and(|tuned| tuned.is_listened)).collect();
        let come = tasks.iter().filter(|(_, tuned)| !tuned.is_listened).map(|(key, _)| key.clone()).collect();
        (come, left)
    }
    /// These are listened to now. Returns those that have a reader who did not wait for it.
    fn listened(&self, keys: &[TaskKey]) -> Vec<TaskKey> {
        let mut tasks = self.tasks();
        let mut late = Vec::new();
        for key in keys {
            let Some(tuned) = tasks.get_mut(key) else { continue };
            tuned.is_listened = true;
            tuned.waiting.drain(..).for_each(|waiting| _ = waiting.send(()));
            if std::mem::take(&mut tuned.is_late) {
                late.push(key.clone());
            }
        }
        late
    }
}

/// A reader's place; it is listened for it as long as there is one.
pub(super) struct Seat {
    bus: Arc<Shared>,
    key: TaskKey,
    waits: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Seat {
    pub(super) fn take(bus: Arc<Shared>, key: TaskKey) -> Self {
        let mut tasks = bus.readers.tasks();
        let tuned = tasks.entry(key.clone()).or_default();
        tuned.readers += 1;
        let waits = (!tuned.is_listened).then(|| {
            let (listened, waits) = oneshot::channel();
            tuned.waiting.push(listened);
            waits
        });
        drop(tasks);
        if waits.is_some() {
            bus.readers.changed.notify_one();
        }
        Self { bus, key, waits: Mutex::new(waits) }
    }
    /// Until it is listened for this reader, or Redis is away.
    pub(super) async fn listened(&self) {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(waits) = waits else { return };
        if self.bus.readers.is_listening() && timeout(LISTENED_WITHIN, waits).await.is_ok_and(|listened| listened.is_ok()) {
            return;
        }
        // All are told once Redis is listened to again; if it is just slow, these are.
        if let Some(tuned) = self.bus.readers.tasks().get_mut(&self.key)
            && !tuned.is_listened
        {
            tuned.is_late = true;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut tasks = self.bus.readers.tasks();
        if let Some(tuned) = tasks.get_mut(&self.key) {
            tuned.readers -= 1;
            if tuned.readers == 0 {
                self.bus.readers.changed.notify_one();
            }
        }
    }
}

impl Shared {
    /// What another process told.
    fn heard(&self, channel: &str, text: &[u8]) {
        if channel == self.channels.hints {
            return self.heard_hints(text);
        }
        let Some(key) = self.channels.key(channel) else { return };
        match serde_json::from_slice::<Told>(text) {
            Ok(told) if told.origin == self.origin => {}
            Ok(told) => told.live.into_iter().for_each(|item| self.local.publish(&key, item.live())),
            Err(_) => self.local.publish(&key, Live::Lagged),
        }
    }
    fn heard_hints(&self, text: &[u8]) {
        let Ok(hints) = serde_json::from_slice::<Hints>(text) else { return self.local.hint(Hint::Missed) };
        if hints.origin == self.origin {
            return;
        }
        hints.ready.into_iter().for_each(|agent| self.local.hint(Hint::Ready(agent)));
        hints.signalled.into_iter().for_each(|(tenant, id)| self.local.hint(Hint::Signalled(TaskKey { tenant, id })));
        if hints.many {
            self.missed();
        }
    }
}

/// For ever, over one connection after another; the bus ends it.
pub(super) async fn listen(bus: Arc<Shared>) {
    let mut pause = AGAIN.0;
    loop {
        let listened = listen_once(&bus).await;
        bus.readers.lost();
        match listened {
            Ok(()) => pause = AGAIN.0,
            Err(error) => {
                // The link has said that Redis is away.
                tracing::debug!(%error, "cannot listen to Redis");
                sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(AGAIN.1);
            }
        }
    }
}

/// Over one connection until it ends; an error where it never came to listening.
async fn listen_once(bus: &Arc<Shared>) -> Result<()> {
    let ended = Arc::new(Notify::new());
    let (listener, end) = (bus.clone(), ended.clone());
    let heard = move |info| match info {
        PushInfo { kind: PushKind::Message, data } => {
            if let [channel, text] = data.as_slice()
                && let (Ok(channel), Ok(text)) =
                    (redis::from_redis_value_ref::<String>(channel), redis::from_redis_value_ref::<Vec<u8>>(text))
            {
                listener.heard(&channel, &text);
            }
        }
        PushInfo { kind: PushKind::Disconnection, .. } => end.notify_one(),
        _ => {}
    };
    let mut connection = bus.link.listen(heard).await?;
    let failed = |error| bus.link.failed(error);
    connection.subscribe(&bus.channels.hints).await.map_err(failed)?;
    turn(bus, &mut connection).await.map_err(failed)?;
    bus.readers.is_listening.store(true, Ordering::Relaxed);
    // What was told before is not known.
    bus.missed();
    loop {
        let is_alive = tokio::select! {
            () = ended.notified() => false,
            () = bus.readers.changed.notified() => turn(bus, &mut connection).await.is_ok(),
            () = sleep(ALIVE_EACH) => hello(&mut connection).await.is_ok_and(|says| bus.link.is_to_work_with(&says)),
        };
        if !is_alive {
            return Ok(());
        }
    }
}

/// Listens to what it is to be listened to now.
async fn turn(bus: &Shared, connection: &mut MultiplexedConnection) -> redis::RedisResult<()> {
    let (come, left) = bus.readers.turn();
    let channels = |keys: &[TaskKey]| keys.iter().map(|key| bus.channels.task(key)).collect::<Vec<_>>();
    for some in left.chunks(CHANNELS_AT_ONCE) {
        connection.unsubscribe(channels(some)).await?;
    }
    for some in come.chunks(CHANNELS_AT_ONCE) {
        connection.subscribe(channels(some)).await?;
        for key in bus.readers.listened(some) {
            bus.local.publish(&key, Live::Lagged);
        }
    }
    Ok(())
}
