//! Hints, live steps and deltas between processes.
//!
//! Readers of this process are served at once, as by the local bus. What others may want is gathered and told together
//! ([`tell`](super::tell)); what others tell is heard on a connection of its own ([`listen`](super::listen)).

use super::{
    Link,
    listen::{self, Readers, Seat},
    message::{Channels, Item},
    tell,
};
use crate::local;
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use maniple_core::{
    AgentName, Error, Result, TaskKey,
    ports::{self, Hint, Live},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{sync::Notify, task::JoinHandle};

/// The most tasks that are told of by name; of more it is told that there are many.
const NAMED_MAX: usize = 2_048;
/// The most of one task that is told in one go, in bytes; of more it is told that there is more in the journal.
const OF_TASK_MAX: usize = 64 << 10;
/// The most that waits to be told, in bytes.
const WAITING_MAX: usize = 4 << 20;

/// A bus over Redis.
pub struct Bus {
    shared: Arc<Shared>,
    /// Ends with it.
    working: [JoinHandle<()>; 2],
}

pub(super) struct Shared {
    pub(super) local: local::Bus,
    /// Names this process, which need not be told what it said.
    pub(super) origin: u64,
    pub(super) link: Arc<Link>,
    pub(super) channels: Channels,
    pub(super) readers: Readers,
    gathered: Mutex<Gathered>,
    pub(super) more: Notify,
}

/// What happened since it was last told.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) ready: BTreeSet<AgentName>,
    pub(super) signalled: BTreeSet<TaskKey>,
    pub(super) live: HashMap<TaskKey, OfTask>,
    /// What is in `live`, in bytes.
    bytes: usize,
    /// More than are named.
    pub(super) many: bool,
}

/// What became of one task, in order.
#[derive(Default)]
pub(super) struct OfTask {
    pub(super) items: Vec<Item>,
    bytes: usize,
}

impl Bus {
    /// A bus over that Redis. It goes on by itself until it is dropped; while Redis is away it is a local bus.
    pub fn over(link: Arc<Link>) -> Self {
        let shared = Arc::new(Shared {
            local: local::Bus::new(),
            origin: fastrand::u64(..),
            channels: Channels::of(&link.place),
            link,
            readers: Readers::default(),
            gathered: Mutex::default(),
            more: Notify::new(),
        });
        let working = [tokio::spawn(tell::tell(shared.clone())), tokio::spawn(listen::listen(shared.clone()))];
        Self { shared, working }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.working.iter().for_each(JoinHandle::abort);
    }
}

impl Gathered {
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.signalled.is_empty() && self.live.is_empty() && !self.many
    }
    fn add(&mut self, key: &TaskKey, item: Item) {
        if self.many {
            // All readers look for themselves.
            return;
        }
        let of_task = self.live.entry(key.clone()).or_default();
        let bytes = item.bytes();
        if of_task.bytes + bytes > OF_TASK_MAX {
            self.bytes -= of_task.bytes;
            *of_task = OfTask { items: vec![Item::Lagged], bytes: 0 };
        } else {
            of_task.items.push(item);
            of_task.bytes += bytes;
            self.bytes += bytes;
        }
    }
    fn hold_to_bounds(&mut self) {
        if self.signalled.len() + self.live.len() > NAMED_MAX || self.bytes > WAITING_MAX {
            *self = Self { many: true, ready: std::mem::take(&mut self.ready), ..Self::default() };
        }
    }
}

impl Shared {
    fn gather(&self, add: impl FnOnce(&mut Gathered)) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut gathered);
        gathered.hold_to_bounds();
        drop(gathered);
        self.more.notify_one();
    }
    pub(super) fn take_gathered(&self) -> Gathered {
        std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner))
    }
    /// Nobody knows what was missed: all look for themselves.
    pub(super) fn missed(&self) {
        use ports::Bus as _;
        self.local.hint(Hint::Missed);
        self.local.lag_all();
    }
}

#[async_trait]
impl ports::Bus for Bus {
    fn hint(&self, hint: Hint) {
        self.shared.gather(|gathered| match &hint {
            Hint::Ready(agent) => {
                gathered.ready.insert(agent.clone());
            }
            Hint::Signalled(key) => {
                gathered.signalled.insert(key.clone());
            }
            Hint::Missed => gathered.many = true,
        });
        self.shared.local.hint(hint);
    }

    fn hints(&self) -> BoxStream<'static, Hint> {
        self.shared.local.hints()
    }

    fn publish(&self, key: &TaskKey, live: Live) {
        self.shared.gather(|gathered| gathered.add(key, Item::of(&live)));
        self.shared.local.publish(key, live);
    }

    async fn subscribe(&self, key: &TaskKey) -> BoxStream<'static, Live> {
        let live = self.shared.local.subscribe(key).await;
        let seat = Seat::take(self.shared.clone(), key.clone());
        seat.listened().await;
        // Dropped with the stream.
        live.map(move |live| {
            let _ = &seat;
            live
        })
        .boxed()
    }

    async fn ping(&self) -> Result<()> {
        match self.shared.link.talk() {
            Ok(_) if self.shared.readers.is_listening() => Ok(()),
            Ok(_) => Err(Error::unavailable(format!("{} is not listened to yet", self.shared.link.place))),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::{TaskId, Tenant, ports::Delta};

    fn key(number: usize) -> TaskKey {
        TaskKey { tenant: Tenant::default(), id: TaskId::parse(&format!("t{number}")).expect("legal") }
    }
    fn delta(bytes: usize) -> Item {
        Item::Delta(Delta { step: 1, attempt: 1, index: 0, text: "x".repeat(bytes) })
    }

    #[test]
    fn what_waits_to_be_told_is_bounded_by_task_by_number_and_by_weight() {
        let mut gathered = Gathered::default();
        for _ in 0..10 {
            gathered.add(&key(0), delta(OF_TASK_MAX / 4));
            gathered.hold_to_bounds();
        }
        assert!(matches!(gathered.live[&key(0)].items.first(), Some(Item::Lagged)), "it lost something");
        assert!(gathered.bytes <= OF_TASK_MAX && !gathered.many);

        for number in 0..WAITING_MAX / (30 << 10) {
            gathered.add(&key(number), delta(30 << 10));
            gathered.hold_to_bounds();
        }
        assert!(gathered.many && gathered.live.is_empty(), "{} bytes wait", gathered.bytes);

        let mut gathered = Gathered::default();
        for number in 0..=NAMED_MAX {
            gathered.add(&key(number), Item::Lagged);
            gathered.hold_to_bounds();
        }
        assert!(gathered.many && gathered.live.is_empty());
    }
}
