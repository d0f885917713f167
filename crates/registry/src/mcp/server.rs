//! A supervised connection to one server.
//!
//! | state | leaves it when |
//! |---|---|
//! | connecting | the handshake and the list of tools are done: connected; or not: lost |
//! | connected | the connection ends, a call finds it of no use, two health checks in a row are missed: lost |
//! | lost | after a wait, of which the longest doubles each time and the length is drawn: connecting |
//!
//! The tools of the last listing stay known while the connection is lost.

use super::{
    connection::{Connection, Handshake, Health},
    import::{self, Imported, Refused},
    naming::{self, Names},
    settings::{ServerSettings, Times},
};
use maniple_aside::Aside;
use maniple_core::{
    Result,
    ports::{Audience, Invocation, Invoked, Refusal, RefusalKind},
    schema,
    tool::Effect,
};
use serde_json::Value;
use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// A connection that lasted this long has proved itself: the next loss is the first.
const STEADY: Duration = Duration::from_secs(60);
/// A server that changes its tools all the time is listed no more often.
const LISTED_AGAIN: Duration = Duration::from_secs(1);
/// How long the end of a connection is waited for when this stops.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// A listing of so many plain tools is read at once.
const FEW_TOOLS: usize = 20;

/// One MCP server: its tools, and calls of them.
///
/// The connection is made, watched and made again in the background, until this is dropped or stopped.
pub struct Server {
    name: Arc<str>,
    settings: Arc<ServerSettings>,
    listing: watch::Receiver<Arc<Listing>>,
    connection: watch::Receiver<Option<Arc<Connection>>>,
    stop: CancellationToken,
    /// All is over, a command and what it has started included.
    stopped: CancellationToken,
}

/// What is known of a server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Its tools by name; kept while the connection is lost.
    pub tools: Vec<Imported>,
    /// What was not taken.
    pub refused: Vec<Refused>,
    /// How the connection is.
    pub state: State,
}

/// How a connection is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// It is being made for the first time.
    #[default]
    Connecting,
    /// It stands.
    Connected {
        /// The protocol version agreed on, such as `2026-07-28`.
        protocol: String,
    },
    /// It is being made again.
    Lost {
        /// What happened to the last one.
        reason: String,
    },
}

impl Server {
    /// Begins to connect, in the background. `Invalid` where the settings break a rule.
    pub fn start(name: &str, settings: ServerSettings) -> Result<Self> {
        Self::start_beside(Aside::default(), name, settings)
    }

    /// The same; what it lists is read aside with all else that takes long.
    pub fn start_beside(aside: Aside, name: &str, settings: ServerSettings) -> Result<Self> {
        settings.check(name)?;
        let (name, settings): (Arc<str>, _) = (name.into(), Arc::new(settings));
        let (listing, listed) = watch::channel(Arc::new(Listing::default()));
        let (connection, connected) = watch::channel(None);
        let stop = CancellationToken::new();
        let names = Mutex::new(Names::default());
        let names = Arc::new(names);
        let supervisor =
            Supervisor { name: name.clone(), settings: settings.clone(), names, aside, listing, connection, stop: stop.clone() };
        let stopped = CancellationToken::new();
        let end = stopped.clone().drop_guard();
        tokio::spawn(async move {
            let _end = end;
            supervisor.run().await;
        });
        Ok(Self { name, settings, listing: listed, connection: connected, stop, stopped })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its tools as they were last listed.
    pub fn tools(&self) -> Vec<Imported> {
        self.listing.borrow().tools.clone()
    }

    /// What is known of it now and from now on; only real changes are announced.
    pub fn listings(&self) -> watch::Receiver<Arc<Listing>> {
        self.listing.clone()
    }

    /// Waits until the first attempt to connect has succeeded or failed, at most so long; what is then known.
    pub async fn settled(&self, within: Duration) -> Arc<Listing> {
        let mut listing = self.listing.clone();
        let _ = tokio::time::timeout(within, listing.wait_for(|listing| listing.state != State::Connecting)).await;
        listing.borrow_and_update().clone()
    }

    /// One attempt of a call. While the connection is being made it waits for a while, and then was not sent.
    pub async fn call(&self, call: &Invocation) -> Invoked {
        self.call_before(call, None).await
    }

    /// The same before an audience, which hears how far it is and the pieces of its answer. What was refused unread as the session is
    /// forgotten is sent once more.
    pub async fn call_before(&self, call: &Invocation, audience: Option<Arc<dyn Audience>>) -> Invoked {
        let began = Instant::now();
        let attempt = self.attempt(call, audience.clone()).await;
        if !attempt.again {
            return attempt.outcome;
        }
        let call = Invocation { timeout: call.timeout.saturating_sub(began.elapsed()), ..call.clone() };
        self.attempt(&call, audience).await.outcome
    }

    /// Sends once, at most.
    pub(crate) async fn attempt(&self, call: &Invocation, audience: Option<Arc<dyn Audience>>) -> Attempt {
        let done = |outcome| Attempt { outcome, again: false };
        let Some(original) = naming::original(&self.name, &call.tool.endpoint) else {
            let message = format!("`{}` is no tool of the mcp server `{}`", call.tool.endpoint, self.name);
            return done(Invoked::Refused(Refusal { kind: RefusalKind::NotFound, message }));
        };
        let began = Instant::now();
        let left = || call.timeout.saturating_sub(began.elapsed());
        let waits = self.settings.times.call_waits;
        let Some(connection) = self.connected(waits.min(call.timeout), |_| true).await else {
            return done(Invoked::NotSent(format!("tool `{}`: the mcp server `{}` {}", call.tool.name, self.name, self.absence())));
        };
        let outcome = connection.call(&original, call, left(), audience.as_ref()).await;
        // A session that the server has forgotten is made anew.
        let forgot = connection.forgot(&outcome, self.settings.times.ping.min(left())).await;
        let is_unread = was_refused_unread(&outcome);
        if !forgot || !(is_unread || call.tool.effect() != Effect::AtMostOnce) {
            return done(outcome);
        }
        let again = self.connected(waits.min(left()), |other| !Arc::ptr_eq(other, &connection)).await.is_some();
        if !again && is_unread {
            let why = "has forgotten the session, and there is no new one yet";
            return done(Invoked::NotSent(format!("tool `{}`: the mcp server `{}` {why}", call.tool.name, self.name)));
        }
        Attempt { outcome, again }
    }

    /// Ends the connection, and the server where it is a command. Calls in flight are told so.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The same, and waits until that is done: a few seconds at most.
    pub async fn stopped(&self) {
        self.stop();
        self.stopped.cancelled().await;
    }

    async fn connected(&self, within: Duration, is_meant: impl Fn(&Arc<Connection>) -> bool) -> Option<Arc<Connection>> {
        let mut connection = self.connection.clone();
        let fits = |connection: &Option<Arc<Connection>>| connection.as_ref().is_some_and(&is_meant);
        let connected = tokio::time::timeout(within, connection.wait_for(fits)).await;
        connected.ok()?.ok()?.clone()
    }

    fn absence(&self) -> String {
        match &self.listing.borrow().state {
            State::Lost { reason } => format!("is not connected: {reason}"),
            State::Connecting | State::Connected { .. } => "is not connected yet".into(),
        }
    }
}

/// How one attempt went.
pub(crate) struct Attempt {
    pub(crate) outcome: Invoked,
    /// It was refused as the server had forgotten the session; there is a new one by now, and the call may be sent again.
    pub(crate) again: bool,
}

/// Whether an error answer proves that the call was not carried out: by the status that a session has which is unknown or not accepted
/// (Streamable HTTP), or in a 200 by a code that says so. Any other error may come after the work.
fn was_refused_unread(outcome: &Invoked) -> bool {
    const UNREAD: [u64; 4] = [400, 401, 404, 410];
    /// An invalid request; what the reference servers say of a session that they do not know.
    const INVALID: [i64; 2] = [-32_600, -32_001];
    let Invoked::Failed(failure) = outcome else { return false };
    match failure.get("status").and_then(Value::as_u64) {
        Some(status) => UNREAD.contains(&status),
        None => failure.get("code").and_then(Value::as_i64).is_some_and(|code| INVALID.contains(&code)),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Supervisor {
    name: Arc<str>,
    settings: Arc<ServerSettings>,
    names: Arc<Mutex<Names>>,
    aside: Aside,
    listing: watch::Sender<Arc<Listing>>,
    connection: watch::Sender<Option<Arc<Connection>>>,
    stop: CancellationToken,
}

impl Supervisor {
    async fn run(self) {
        let stop = self.stop.clone();
        tokio::select! {
            _ = stop.cancelled() => {}
            _ = self.supervise() => {}
        }
        if let Some(connection) = self.connection.send_replace(None) {
            connection.close();
            let _ = tokio::time::timeout(ENDS_WITHIN, connection.ended()).await;
        }
        self.lost("it was stopped".into());
    }

    async fn supervise(&self) {
        let times = &self.settings.times;
        let mut losses = 0u32;
        loop {
            let began = Instant::now();
            let reason = match self.open().await {
                Ok(connection) => {
                    let reason = self.watch(&connection).await;
                    self.connection.send_replace(None);
                    // Over HTTP calls in flight may still be answered; a command is about to be started anew.
                    if self.settings.is_command() {
                        connection.close();
                    }
                    reason
                }
                Err(reason) => reason,
            };
            losses = if began.elapsed() >= STEADY { 1 } else { losses.saturating_add(1) };
            tracing::debug!(server = &*self.name, losses, reason, "mcp server lost: it is connected again");
            self.lost(reason);
            let longest = times.backoff.saturating_mul(1 << (losses - 1).min(16)).min(times.backoff_max);
            tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
        }
    }

    /// Connects, lists, and lets calls in.
    async fn open(&self) -> Result<Arc<Connection>, String> {
        let connection = Arc::new(self.connect().await?);
        self.list(&connection).await?;
        tracing::debug!(server = &*self.name, protocol = connection.protocol(), "mcp server connected");
        self.connection.send_replace(Some(connection.clone()));
        Ok(connection)
    }

    /// By the newest handshake, and where that breaks the connection by the older one on another: servers from before
    /// 2026-07-28 need not survive being asked anything before `initialize`.
    async fn connect(&self) -> Result<Connection, String> {
        let began = Instant::now();
        let newest = match Connection::open(&self.name, &self.settings, Handshake::Newest, self.settings.starts_within()).await {
            Ok(connection) => return Ok(connection),
            Err(reason) => reason,
        };
        let left = self.settings.starts_within().saturating_sub(began.elapsed());
        if left < Duration::from_millis(10) {
            return Err(newest);
        }
        Connection::open(&self.name, &self.settings, Handshake::Initialize, left).await.map_err(|older| match older == newest {
            true => newest,
            false => format!("{newest}; and by the older handshake: {older}"),
        })
    }

    /// Follows a connection until it is of no use; why.
    async fn watch(&self, connection: &Connection) -> String {
        tokio::select! {
            reason = self.attend(connection) => reason,
            () = connection.listen() => "the stream of its changes ended".into(),
        }
    }

    async fn attend(&self, connection: &Connection) -> String {
        let (mut missed, mut listed_at, mut changed) = (0, Instant::now(), false);
        let check_after = |times: &Times| times.ping_every.mul_f64(0.75 + fastrand::f64() / 2.0);
        let mut check_at = Instant::now() + check_after(&self.settings.times);
        loop {
            let turn = tokio::select! {
                () = connection.ended() => ControlFlow::Break("the connection ended".to_owned()),
                _ = connection.changed.notified() => {
                    changed = true;
                    ControlFlow::Continue(())
                }
                _ = tokio::time::sleep_until(listed_at + LISTED_AGAIN), if changed => {
                    (changed, listed_at) = (false, Instant::now());
                    self.list_again(connection).await
                }
                _ = connection.suspect.notified() => self.check(connection, &mut missed).await,
                _ = tokio::time::sleep_until(check_at) => {
                    check_at = Instant::now() + check_after(&self.settings.times);
                    // One that is at work may have no time for questions; its calls have time-outs of their own.
                    match connection.is_idle() {
                        true => self.check(connection, &mut missed).await,
                        false => ControlFlow::Continue(()),
                    }
                }
            };
            if let ControlFlow::Break(reason) = turn {
                return reason;
            }
        }
    }

    async fn check(&self, connection: &Connection, missed: &mut u32) -> ControlFlow<String> {
        match connection.check(self.settings.times.ping).await {
            Health::Well => *missed = 0,
            Health::Dead(reason) => return ControlFlow::Break(reason),
            Health::Silent => {
                *missed += 1;
                if *missed >= 2 {
                    return ControlFlow::Break(format!("two health checks in a row had no answer within {:?}", self.settings.times.ping));
                }
                return ControlFlow::Continue(());
            }
        }
        match connection.tells_changes() {
            true => ControlFlow::Continue(()),
            false => self.list_again(connection).await,
        }
    }

    /// A listing that failed leaves the last one in place; the health checks decide on the connection.
    async fn list_again(&self, connection: &Connection) -> ControlFlow<String> {
        if let Err(reason) = self.list(connection).await {
            tracing::warn!(server = &*self.name, reason, "mcp server: the last list of tools stays");
        }
        ControlFlow::Continue(())
    }

    async fn list(&self, connection: &Connection) -> Result<(), String> {
        let listed = connection.list(self.settings.times.list).await?;
        let large = listed.iter().any(schema::is_heavy) || listed.len() > FEW_TOOLS;
        let (name, settings, names, version) = (self.name.clone(), self.settings.clone(), self.names.clone(), connection.server_version());
        let read = move || {
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            import::import(&name, &settings, &mut names, version.as_deref(), listed)
        };
        let batch = self.aside.run(large, &format!("mcp:{}", self.name), read).await.map_err(|error| error.to_string())?;
        let state = State::Connected { protocol: connection.protocol() };
        let news = Listing { tools: batch.tools, refused: batch.refused, state };
        self.listing.send_if_modified(|listing| {
            let changed = **listing != news;
            *listing = Arc::new(news);
            changed
        });
        Ok(())
    }

    fn lost(&self, reason: String) {
        self.listing.send_modify(|listing| {
            let known = Listing::clone(listing);
            *listing = Arc::new(Listing { state: State::Lost { reason }, ..known });
        });
    }
}
