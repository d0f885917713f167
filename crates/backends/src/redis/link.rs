//! The way to Redis: one connection that everything is said over, kept up in the background, and others of their own for who listens.
//!
//! Nobody who has something to say waits for a connection: there is one, or Redis is away and they are told at once.

use super::{Place, place::no_cluster, replicas::Replicas};
use ::redis::{
    AsyncConnectionConfig, Client, ErrorKind, ProtocolVersion, PushInfo, RedisError, ServerErrorKind, TlsMode, Value,
    aio::MultiplexedConnection,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use maniple_core::{Error, Kind, Result};
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// How long a connection may take to come about, finding out who the master is included.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How long to wait before Redis is tried again, doubling up to the last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often it is seen whether Redis still answers, and told that this process lives.
const BEAT_EACH: Duration = Duration::from_secs(3);
/// The most questions that wait for their answers on one connection; more wait to be asked.
const UNANSWERED_MAX: usize = 1_024;

/// The way to one Redis.
pub struct Link {
    pub(super) place: Place,
    state: watch::Sender<State>,
    /// Told when somebody met an error that ends the connection.
    broken: Notify,
    /// Counts connections, so that an error of an old one does not end a new one.
    connections: AtomicU64,
    /// Who else lives.
    pub(super) replicas: Replicas,
}

#[derive(Clone)]
enum State {
    /// The connection, and which it is.
    Up(MultiplexedConnection, u64),
    Away(Error),
}

/// The connection as somebody has it who has something to say.
pub(super) struct Talk<'a> {
    pub(super) connection: MultiplexedConnection,
    number: u64,
    link: &'a Link,
}

impl Link {
    /// The way to that Redis. Where it does not answer now, it is kept on trying: it costs time only. `Invalid`, field `bus`, where trying would not
    /// help: a cluster, a Sentinel that is taken for a Redis, a wrong password.
    pub async fn open(place: Place) -> Result<Arc<Self>> {
        let away = State::Away(Error::unavailable(format!("{place} was not asked yet")));
        let replicas = Replicas::new(place.name("replicas"));
        let link =
            Arc::new(Self { place, state: watch::Sender::new(away), broken: Notify::new(), connections: AtomicU64::new(0), replicas });
        match link.reconnect().await {
            Err(error) if error.kind == Kind::Invalid => return Err(error),
            Ok(()) | Err(_) => {}
        }
        tokio::spawn(keep(Arc::downgrade(&link)));
        Ok(link)
    }

    /// `Unavailable` while Redis is away.
    pub(super) fn talk(&self) -> Result<Talk<'_>> {
        match &*self.state.borrow() {
            State::Up(connection, number) => Ok(Talk { connection: connection.clone(), number: *number, link: self }),
            State::Away(error) => Err(error.clone()),
        }
    }
    /// Whether it answered last.
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(..))
    }

    /// A connection of its own, on which `heard` is told what was published.
    pub(super) async fn listen<F>(&self, heard: F) -> Result<MultiplexedConnection>
    where
        F: Fn(PushInfo) + Send + Sync + 'static,
    {
        let heard = move |info| -> Result<(), ::redis::aio::SendError> {
            heard(info);
            Ok(())
        };
        self.connect(settings().set_push_sender(heard)).await
    }

    async fn connect(&self, settings: AsyncConnectionConfig) -> Result<MultiplexedConnection> {
        let connecting = async {
            let mut connection = self.client().await?.get_multiplexed_async_connection_with_config(&settings).await?;
            let says: Value = hello(&mut connection).await?;
            Ok::<_, RedisError>((connection, says))
        };
        // Boxed: the driver's futures lie deep in each other, and whoever opens a store would have all of them in its own.
        let connected = timeout(CONNECT_MAX, Box::pin(connecting)).await;
        let (connection, says) = connected.map_err(|_| self.does_not_answer())?.map_err(|error| self.failed(error))?;
        self.check(&says)?;
        Ok(connection)
    }

    async fn client(&self) -> ::redis::RedisResult<Client> {
        let place = &self.place;
        let Some(master) = &place.master else { return Client::open(place.server(&place.hosts[0])) };
        let sentinels = place.hosts.iter().map(|host| place.address(host));
        let mut sentinels = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
            .set_client_to_redis_db(i64::from(place.database))
            .set_client_to_redis_protocol(ProtocolVersion::RESP3)
            .set_client_to_redis_tcp_settings(Place::tcp())
            .set_client_to_sentinel_tcp_settings(Place::tcp());
        if place.tls {
            sentinels = sentinels.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(user) = &place.user {
            sentinels = sentinels.set_client_to_redis_username(user);
        }
        if let Some(password) = &place.password {
            sentinels = sentinels.set_client_to_redis_password(password);
        }
        if let Some(password) = &place.sentinel_password {
            sentinels = sentinels.set_client_to_sentinel_password(password);
        }
        sentinels.build()?.async_get_client().await
    }

    /// Whether that is a Redis to work with, by what it says of itself.
    fn check(&self, hello: &Value) -> Result<()> {
        let place = &self.place;
        match said(hello, "mode").as_deref() {
            Some("cluster") => return Err(no_cluster()),
            Some("sentinel") => {
                return Err(Error::invalid(format!("{place} is a Sentinel: write redis+sentinel://HOST:PORT/MASTER")).at("bus"));
            }
            Some(_) | None => {}
        }
        match said(hello, "role").as_deref() {
            Some("replica" | "slave") => Err(Error::unavailable(format!(
                "{place} is a replica now, which takes nothing in: `bus` must name the primary, or the Sentinels that know it"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// The same of a connection that lasts.
    pub(super) fn is_to_work_with(&self, hello: &Value) -> bool {
        self.check(hello).is_ok()
    }

    async fn reconnect(&self) -> Result<()> {
        let connected = self.connect(settings()).await;
        metrics::gauge!("maniple_redis_up").set(if connected.is_ok() { 1.0 } else { 0.0 });
        let (state, outcome) = match connected {
            Ok(connection) => (State::Up(connection, self.connections.fetch_add(1, Ordering::Relaxed)), Ok(())),
            Err(error) => (State::Away(error.clone()), Err(error)),
        };
        self.state.send_replace(state);
        outcome
    }

    fn does_not_answer(&self) -> Error {
        Error::unavailable(format!("{} does not answer: is Redis up, and can this node reach it?", self.place))
    }

    /// The driver's words as ours.
    pub(super) fn failed(&self, error: RedisError) -> Error {
        let place = &self.place;
        match error.kind() {
            ErrorKind::AuthenticationFailed => wrong_password(place, error),
            _ if error.code() == Some("WRONGPASS") => wrong_password(place, error),
            ErrorKind::RESP3NotSupported => Error::invalid(format!("{place} is older than Redis 6")).at("bus").because(error),
            ErrorKind::MasterNameNotFoundBySentinel => {
                Error::unavailable(format!("the Sentinels of {place} know no such master, or none that answers")).because(error)
            }
            _ if error.code() == Some("NOAUTH") => {
                Error::invalid(format!("{place} asks for a password: write redis://:PASSWORD@HOST")).at("bus")
            }
            ErrorKind::Server(_) | ErrorKind::Extension => {
                let told = error.detail().unwrap_or_default().to_owned();
                let code = error.code().unwrap_or("ERR").to_owned();
                Error::unavailable(format!("{place} refused: {code} {told}")).because(error)
            }
            _ => Error::unavailable(format!("{place} cannot be reached: {error}")).because(error),
        }
    }
}

fn wrong_password(place: &Place, error: RedisError) -> Error {
    Error::invalid(format!("{place} refuses the user or the password of the URL")).at("bus").because(error)
}

impl Talk<'_> {
    /// An answer, or what became of it; an error that ends the connection has it made anew.
    pub(super) fn answered<T>(&self, answer: ::redis::RedisResult<T>) -> Result<T> {
        answer.map_err(|error| {
            if ends_connection(&error) {
                self.link.give_up(self.number);
            }
            self.link.failed(error)
        })
    }
}

impl Link {
    fn give_up(&self, number: u64) {
        let away = self.does_not_answer();
        let given_up = self.state.send_if_modified(|state| match state {
            State::Up(_, now) if *now == number => {
                *state = State::Away(away);
                true
            }
            State::Up(..) | State::Away(_) => false,
        });
        if given_up {
            metrics::gauge!("maniple_redis_up").set(0.0);
            self.broken.notify_one();
        }
    }
}

fn settings() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(ANSWER_MAX))
        .set_pipeline_buffer_size(UNANSWERED_MAX)
}

/// What a server says of itself; no right is needed to ask.
pub(super) async fn hello(connection: &mut MultiplexedConnection) -> ::redis::RedisResult<Value> {
    ::redis::cmd("HELLO").arg(3).query_async(connection).await
}

fn said(hello: &Value, name: &str) -> Option<String> {
    let Value::Map(pairs) = hello else { return None };
    let text = |value: &Value| ::redis::from_redis_value_ref::<String>(value).ok();
    pairs.iter().find(|(key, _)| text(key).as_deref() == Some(name)).and_then(|(_, value)| text(value))
}

/// Whether the connection is of no use after that: it is lost, or leads to a server that takes nothing in.
fn ends_connection(error: &RedisError) -> bool {
    let of_server =
        matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading));
    of_server || error.is_unrecoverable_error() || error.is_io_error()
}

/// Keeps a connection up until the link is dropped.
async fn keep(link: Weak<Link>) {
    let mut pause = AGAIN.0;
    let mut was_up = None;
    loop {
        let Some(link) = link.upgrade() else { return };
        let is_up = link.is_up();
        if was_up != Some(is_up) {
            told(&link, was_up.is_none());
            was_up = Some(is_up);
        }
        if is_up {
            pause = AGAIN.0;
            link.beat().await;
            // Whoever meets an error first ends the wait.
            tokio::select! {
                () = sleep(BEAT_EACH) => {}
                () = link.broken.notified() => {}
            }
        } else {
            sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(AGAIN.1);
            // Why it failed is in the state.
            let _ = link.reconnect().await;
        }
    }
}

/// Said when it changes, not each time it is noticed.
fn told(link: &Link, is_first: bool) {
    match &*link.state.borrow() {
        State::Up(..) if is_first => {}
        State::Up(..) => tracing::info!(redis = %link.place, "Redis answers again"),
        State::Away(error) => tracing::warn!(
            redis = %link.place, %error,
            "Redis is away: what other processes do is seen a moment later, by looking, and limits are counted here, divided by the processes there are"
        ),
    }
}

impl Link {
    /// Says that this process lives, hears how many do, and finds out whether the server still is one that takes something in.
    async fn beat(&self) {
        let Ok(mut talk) = self.talk() else { return };
        let beaten = self.replicas.beat(&mut talk.connection).await;
        if let Err(error) = talk.answered(beaten) {
            tracing::debug!(%error, "Redis did not count this process");
        }
    }
}
