//! Hints between processes by LISTEN and NOTIFY.
//!
//! What happened is told at most once in ten milliseconds, after it was committed: which agents have work, which tasks were signalled,
//! of which there is more to read. What there is is read in the journal; pieces of a model's text do not travel this way. Readers of
//! this process are served at once, as by the local bus.

use super::{
    args::args,
    link::{self, Link},
};
use crate::local;
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use maniple_core::{
    AgentName, Result, TaskId, TaskKey, Tenant,
    ports::{self, Hint, Live},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};
use tokio_postgres::{AsyncMessage, Config, NoTls, config::SslMode};

/// How long what happened is gathered before it is told.
const GATHERED_FOR: Duration = Duration::from_millis(10);
/// The most tasks that are told of by name; of more it is told that there are many.
const NAMED_MAX: usize = 2_048;
/// The longest message, below Postgres's 8,000 bytes.
const MESSAGE_MAX: usize = 7_500;
/// How long to wait before the database is listened to again, doubling up to the last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often it is seen whether the connection still lives, and how long that may take.
const ALIVE_EACH: Duration = Duration::from_secs(10);
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// A bus over a database.
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    local: local::Bus,
    /// Names this process, which need not be told what it said.
    origin: u64,
    gathered: Mutex<Gathered>,
    more: Notify,
    /// Whether what this process told has come back to it since it last began to listen.
    hears: AtomicBool,
}

/// What happened since it was last told.
#[derive(Default, PartialEq)]
struct Gathered {
    ready: BTreeSet<AgentName>,
    signalled: BTreeSet<TaskKey>,
    moved: BTreeSet<TaskKey>,
    /// More than are named.
    many: bool,
    /// This process wants to hear itself.
    echo: bool,
}

/// What is told, as short as can be.
#[derive(Serialize, Deserialize, Default)]
struct Message {
    #[serde(rename = "o")]
    origin: u64,
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    ready: Vec<AgentName>,
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    signalled: Vec<(Tenant, TaskId)>,
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    moved: Vec<(Tenant, TaskId)>,
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    many: bool,
}

impl Bus {
    /// A bus that tells over the store's connections and listens on one of its own, at `direct` where the store's URL leads through a
    /// pooler. It goes on by itself until it is dropped; without the database it is a local bus.
    pub fn over(store: Arc<super::TaskStore>, direct: &str) -> Result<Self> {
        let config = link::config(direct)?;
        let shared = Arc::new(Shared {
            local: local::Bus::new(),
            origin: fastrand::u64(..),
            gathered: Mutex::default(),
            more: Notify::new(),
            hears: AtomicBool::new(false),
        });
        tokio::spawn(tell(Arc::downgrade(&shared), store));
        tokio::spawn(listen(Arc::downgrade(&shared), config));
        Ok(Self { shared })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.shared.more.notify_one();
    }
}

impl Shared {
    fn gather(&self, add: impl FnOnce(&mut Gathered)) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut gathered);
        if gathered.signalled.len() + gathered.moved.len() > NAMED_MAX {
            *gathered = Gathered { many: true, ready: std::mem::take(&mut gathered.ready), ..Gathered::default() };
        }
        drop(gathered);
        self.more.notify_one();
    }

    /// What another process told.
    fn heard(&self, text: &str) {
        let Ok(message) = serde_json::from_str::<Message>(text) else { return };
        if message.origin == self.origin {
            self.hears.store(true, Ordering::Relaxed);
            return;
        }
        use ports::Bus as _;
        let key = |(tenant, id)| TaskKey { tenant, id };
        message.ready.into_iter().for_each(|agent| self.local.hint(Hint::Ready(agent)));
        message.signalled.into_iter().for_each(|task| self.local.hint(Hint::Signalled(key(task))));
        // There is more in the journal than was seen live.
        message.moved.into_iter().for_each(|task| self.local.publish(&key(task), Live::Lagged));
        if message.many {
            self.missed();
        }
    }
    /// Nobody knows what was missed: all look for themselves.
    fn missed(&self) {
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
        if matches!(live, Live::Event(_)) {
            self.shared.gather(|gathered| {
                gathered.moved.insert(key.clone());
            });
        }
        self.shared.local.publish(key, live);
    }

    async fn subscribe(&self, key: &TaskKey) -> BoxStream<'static, Live> {
        self.shared.local.subscribe(key).await
    }
}

/// Messages of what was gathered, each short enough.
fn messages(origin: u64, gathered: Gathered) -> Vec<String> {
    let mut messages = Vec::new();
    let mut message = Message { origin, many: gathered.many, ..Message::default() };
    let mut length = 64;
    let mut pack = |cost: usize, add: &mut dyn FnMut(&mut Message)| {
        if length + cost > MESSAGE_MAX {
            messages.extend(serde_json::to_string(&std::mem::replace(&mut message, Message { origin, ..Message::default() })));
            length = 64;
        }
        length += cost;
        add(&mut message);
    };
    for agent in gathered.ready {
        pack(agent.as_str().len() + 8, &mut |message| message.ready.push(agent.clone()));
    }
    let cost = |key: &TaskKey| key.tenant.as_str().len() + key.id.as_str().len() + 12;
    for key in gathered.signalled {
        pack(cost(&key), &mut |message| message.signalled.push((key.tenant.clone(), key.id.clone())));
    }
    for key in gathered.moved {
        pack(cost(&key), &mut |message| message.moved.push((key.tenant.clone(), key.id.clone())));
    }
    messages.extend(serde_json::to_string(&message));
    messages
}

/// Tells what was gathered, until the bus is dropped.
async fn tell(shared: Weak<Shared>, store: Arc<super::TaskStore>) {
    loop {
        let Some(bus) = shared.upgrade() else { return };
        let waiting = async { bus.more.notified().await };
        // Now and then it is seen whether the bus is still there.
        if timeout(Duration::from_secs(1), waiting).await.is_err() {
            continue;
        }
        drop(bus);
        tokio::time::sleep(GATHERED_FOR).await;
        let Some(bus) = shared.upgrade() else { return };
        let gathered = std::mem::take(&mut *bus.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        if gathered == Gathered::default() {
            continue;
        }
        let told = notify(&store.link, messages(bus.origin, gathered)).await;
        if let Err(error) = told {
            // A hint that is lost costs the time until the next look.
            tracing::debug!(%error, "other processes were not told");
        }
    }
}

async fn notify(link: &Link, messages: Vec<String>) -> Result<()> {
    link.ask("SELECT pg_notify('maniple', message) FROM unnest($1::text[]) message", args![messages]).await.map(drop)
}

/// Listens until the bus is dropped, over one connection after another.
async fn listen(shared: Weak<Shared>, config: Config) {
    let mut pause = AGAIN.0;
    let mut is_told = false;
    while shared.strong_count() > 0 {
        match listen_once(&shared, &config).await {
            Ok(()) => {
                pause = AGAIN.0;
                is_told = false;
            }
            Err(error) => {
                if !is_told {
                    tracing::warn!(%error, "cannot listen to the database: what other processes do is seen a moment later, by looking");
                    is_told = true;
                }
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(AGAIN.1);
            }
        }
    }
}

/// Listens over one connection until it ends; an error where it never came to listening.
async fn listen_once(shared: &Weak<Shared>, config: &Config) -> Result<()> {
    use super::failure::failed;
    macro_rules! listen_over {
        ($tls:expr) => {{
            let (client, mut connection) = config.connect($tls).await.map_err(failed)?;
            let messages = futures::stream::poll_fn(move |context| connection.poll_message(context));
            heard(shared, client, messages).await
        }};
    }
    match config.get_ssl_mode() {
        SslMode::Disable => listen_over!(NoTls),
        _ => listen_over!(link::tls()?),
    }
}

async fn heard<E>(
    shared: &Weak<Shared>,
    client: tokio_postgres::Client,
    messages: impl futures::Stream<Item = Result<AsyncMessage, E>> + Send + Unpin,
) -> Result<()> {
    let mut messages = messages.fuse();
    let mut listening = Box::pin(client.batch_execute("LISTEN maniple"));
    // The connection moves only as its messages are read.
    loop {
        tokio::select! {
            biased;
            begun = &mut listening => {
                begun.map_err(super::failure::failed)?;
                break;
            }
            message = messages.next() => if !matches!(message, Some(Ok(_))) {
                return Err(maniple_core::Error::unavailable("the database closed the connection before it listened"));
            }
        }
    }
    // What was told before is not known.
    let Some(bus) = shared.upgrade() else { return Ok(()) };
    bus.missed();
    bus.hears.store(false, Ordering::Relaxed);
    bus.gather(|gathered| gathered.echo = true);
    drop(bus);
    let mut is_deaf = false;
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(told))) => {
                    let Some(bus) = shared.upgrade() else { return Ok(()) };
                    bus.heard(told.payload());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(()),
            },
            () = tokio::time::sleep(ALIVE_EACH) => {
                let Some(bus) = shared.upgrade() else { return Ok(()) };
                if !bus.hears.load(Ordering::Relaxed) && !is_deaf {
                    is_deaf = true;
                    tracing::warn!("what is told by NOTIFY does not come back, as through a pooler: set `bus` to the database's own URL");
                }
                drop(bus);
                let mut alive = Box::pin(timeout(ALIVE_WITHIN, client.batch_execute("")));
                loop {
                    tokio::select! {
                        biased;
                        answer = &mut alive => match answer {
                            Ok(Ok(())) => break,
                            Ok(Err(_)) | Err(_) => return Ok(()),
                        },
                        message = messages.next() => match message {
                            Some(Ok(AsyncMessage::Notification(told))) => {
                                let Some(bus) = shared.upgrade() else { return Ok(()) };
                                bus.heard(told.payload());
                            }
                            Some(Ok(_)) => {}
                            Some(Err(_)) | None => return Ok(()),
                        }
                    }
                }
            }
        }
    }
}
