//! Tells other processes what was gathered: at once where nothing was told just before, else what came within ten milliseconds together.
//!
//! Pieces of text are told only while another process has a reader of the task, as Redis counts them; events always, to nobody where
//! nobody listens. What could not be told while Redis was away is told as lost once it is back.

use super::{
    bus::{Gathered, Shared},
    link::Talk,
    message::{Hints, Item, Told},
};
use maniple_core::{Result, TaskKey};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long what happened is gathered after something was told.
const GATHERED_FOR: Duration = Duration::from_millis(10);
/// How long it is believed that nobody else reads a task.
const UNHEARD_FOR: Duration = Duration::from_millis(250);
/// The most tasks of which it is known whether somebody else reads them.
const KNOWN_MAX: usize = 10_000;
/// The most messages that are sent in one go.
const AT_ONCE: usize = 256;
/// The most tasks named in one message.
const NAMED_AT_ONCE: usize = 512;
/// How often Redis is looked for while it is away.
const AWAY_EACH: Duration = Duration::from_millis(100);

/// Whether another process reads a task.
struct Heard {
    by_others: bool,
    at: Instant,
}

/// Which tasks other processes read.
#[derive(Default)]
struct Audience(HashMap<TaskKey, Heard>);

/// For ever; the bus ends it.
pub(super) async fn tell(bus: Arc<Shared>) {
    let mut audience = Audience::default();
    // Something was not told to others.
    let mut is_lost = false;
    loop {
        if !is_lost {
            bus.more.notified().await;
        }
        let began = Instant::now();
        let mut gathered = bus.take_gathered();
        gathered.many |= is_lost;
        if gathered.is_empty() {
            continue;
        }
        let told = send(&bus, gathered, &mut audience).await;
        if let Err(error) = &told {
            tracing::debug!(%error, "other processes were not told");
        }
        is_lost = told.is_err();
        sleep_until(began + if is_lost { AWAY_EACH } else { GATHERED_FOR }).await;
    }
}

async fn send(bus: &Shared, gathered: Gathered, audience: &mut Audience) -> Result<()> {
    let mut talk = bus.link.talk()?;
    audience.ask(bus, &gathered, &mut talk).await?;
    let mut messages: Vec<(Option<TaskKey>, String, String)> = Vec::new();
    let hints = hints(bus.origin, &gathered);
    messages.extend(hints.into_iter().map(|text| (None, bus.channels.hints.clone(), text)));
    for (key, of_task) in gathered.live {
        let is_heard = audience.is_heard(&key);
        let live: Vec<Item> = of_task.items.into_iter().filter(|item| is_heard || !item.is_delta()).collect();
        if live.is_empty() {
            continue;
        }
        if let Ok(text) = serde_json::to_string(&Told { origin: bus.origin, live }) {
            messages.push((Some(key.clone()), bus.channels.task(&key), text));
        }
    }
    for some in messages.chunks(AT_ONCE) {
        let mut publish = redis::pipe();
        for (_, channel, text) in some {
            publish.publish(channel, text);
        }
        let heard: redis::RedisResult<Vec<u64>> = publish.query_async(&mut talk.connection).await;
        for ((key, ..), heard) in some.iter().zip(talk.answered(heard)?) {
            if let Some(key) = key {
                audience.counted(bus, key, heard);
            }
        }
    }
    Ok(())
}

/// Messages of what happened, each of a bounded number of tasks.
fn hints(origin: u64, gathered: &Gathered) -> Vec<String> {
    if gathered.ready.is_empty() && gathered.signalled.is_empty() && !gathered.many {
        return Vec::new();
    }
    let ready = gathered.ready.iter().cloned().collect();
    let first = Hints { origin, ready, many: gathered.many, ..Hints::default() };
    let signalled: Vec<_> = gathered.signalled.iter().map(|key| (key.tenant.clone(), key.id.clone())).collect();
    let mut messages: Vec<Hints> =
        signalled.chunks(NAMED_AT_ONCE).map(|some| Hints { origin, signalled: some.to_vec(), ..Hints::default() }).collect();
    match messages.first_mut() {
        Some(message) => *message = Hints { signalled: std::mem::take(&mut message.signalled), ..first },
        None => messages.push(first),
    }
    messages.iter().filter_map(|message| serde_json::to_string(message).ok()).collect()
}

impl Audience {
    fn is_heard(&self, key: &TaskKey) -> bool {
        self.0.get(key).is_some_and(|heard| heard.by_others)
    }

    /// So many processes have a reader of it, this one included.
    fn counted(&mut self, bus: &Shared, key: &TaskKey, processes: u64) {
        let by_others = processes > u64::from(bus.readers.is_listened(key));
        if self.0.len() >= KNOWN_MAX && !self.0.contains_key(key) {
            self.0.retain(|_, heard| heard.at.elapsed() < UNHEARD_FOR);
        }
        if self.0.len() < KNOWN_MAX {
            self.0.insert(key.clone(), Heard { by_others, at: Instant::now() });
        }
    }

    /// Finds out who reads the tasks that there are pieces of text of. Where somebody does, each message tells whether they still do.
    async fn ask(&mut self, bus: &Shared, gathered: &Gathered, talk: &mut Talk<'_>) -> Result<()> {
        let is_known = |key: &TaskKey| self.0.get(key).is_some_and(|heard| heard.by_others || heard.at.elapsed() < UNHEARD_FOR);
        let with_text = gathered.live.iter().filter(|(_, of_task)| of_task.items.iter().any(Item::is_delta));
        let unknown: Vec<TaskKey> = with_text.map(|(key, _)| key.clone()).filter(|key| !is_known(key)).collect();
        for some in unknown.chunks(AT_ONCE) {
            let channels: Vec<String> = some.iter().map(|key| bus.channels.task(key)).collect();
            let counted = redis::cmd("PUBSUB").arg("NUMSUB").arg(&channels).query_async::<HashMap<String, u64>>(&mut talk.connection).await;
            let counted = talk.answered(counted)?;
            for (key, channel) in some.iter().zip(&channels) {
                self.counted(bus, key, counted.get(channel).copied().unwrap_or(0));
            }
        }
        Ok(())
    }
}
