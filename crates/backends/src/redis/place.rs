//! Where a Redis is, as its URL says.

use ::redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use maniple_core::{Error, Result};
use std::{fmt, str::FromStr, time::Duration};

/// What names and keys begin with, where the URL does not say.
const PREFIX: &str = "maniple";
/// How long a prefix may be.
const PREFIX_MAX: usize = 64;
/// The port of a Sentinel whose address names none.
const SENTINEL_PORT: u16 = 26_379;
/// When a connection that is silent is asked whether it lives, and how long what was sent may stay unanswered.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The URL of a Redis, read once.
///
/// | url | is |
/// |---|---|
/// | `redis://USER:PASSWORD@HOST:PORT/DATABASE` | one server |
/// | `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/MASTER/DATABASE` | whichever server the Sentinels call the master of that name |
/// | `rediss://…`, `rediss+sentinel://…` | the same over TLS; certificates are always verified |
///
/// `?prefix=NAME` apart from other fleets in the same database, `?sentinel_password=…` where Sentinels ask for one.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) hosts: Vec<(String, u16)>,
    /// The name of the master, where the hosts are Sentinels.
    pub(super) master: Option<String>,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) sentinel_password: Option<String>,
    /// The database number.
    pub(super) database: u16,
    prefix: String,
}

fn wrong(message: impl Into<String>) -> Error {
    Error::invalid(message.into()).at("bus")
}

impl Place {
    /// Whether a URL is one of Redis, legal or not.
    pub fn is_meant_by(url: &str) -> bool {
        url.split_once("://").is_some_and(|(scheme, _)| scheme.starts_with("redis"))
    }

    /// A name for something of this fleet. Channels know no database numbers, so the number is part of it.
    pub(super) fn name(&self, of: &str) -> String {
        format!("{}:{}:{of}", self.prefix, self.database)
    }

    /// What the driver connects with, to one of the hosts.
    pub(super) fn server(&self, host: &(String, u16)) -> ConnectionInfo {
        let mut settings = ::redis::RedisConnectionInfo::default().set_db(i64::from(self.database)).set_protocol(ProtocolVersion::RESP3);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        self.address(host).into_connection_info().map_or_else(
            |_| unreachable!("an address is one already"),
            |info| info.set_redis_settings(settings).set_tcp_settings(Self::tcp()),
        )
    }
    pub(super) fn address(&self, (host, port): &(String, u16)) -> ConnectionAddr {
        match self.tls {
            true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host.clone(), *port),
        }
    }
    pub(super) fn tcp() -> TcpSettings {
        TcpSettings::default().set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3)).set_nodelay(true)
    }
}

impl FromStr for Place {
    type Err = Error;
    /// `Invalid`, field `bus`, for what is none; a cluster is refused by name.
    fn from_str(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("a Redis is written redis://HOST:PORT/DATABASE"))?;
        let (tls, sentinel) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+sentinel" => (false, true),
            "rediss+sentinel" => (true, true),
            _ if scheme.contains("cluster") => return Err(no_cluster()),
            _ => {
                return Err(wrong(format!(
                    "`{scheme}://` is no Redis: write redis://, rediss://, redis+sentinel:// or rediss+sentinel://"
                )));
            }
        };
        if rest.contains('#') {
            return Err(wrong("the URL of a Redis has no `#`: certificates are always verified, and in a password it is written %23"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        if hosts.contains(',') && !sentinel {
            return Err(wrong(
                "one Redis has one host: of several Sentinels write redis+sentinel://HOST,HOST/MASTER; Redis Cluster is not supported",
            ));
        }
        let (master, database) = match (sentinel, path.trim_end_matches('/')) {
            (false, database) => (None, database),
            (true, path) => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(wrong("which master? Write redis+sentinel://HOST:26379/MASTER, as `sentinel monitor MASTER …` calls it"));
                }
                (Some(master.to_owned()), database)
            }
        };
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| wrong(format!("the database of a Redis is a number, not `{number}`")))?,
        };
        let read = hosts.split(',').map(|host| read(user, host)).collect::<Result<Vec<_>>>()?;
        let default_port = if sentinel { SENTINEL_PORT } else { 6_379 };
        let mut place = Self {
            hosts: read.iter().map(|read| (read.host.clone(), read.port.unwrap_or(default_port))).collect(),
            master,
            tls,
            user: read[0].user.clone(),
            password: read[0].password.clone(),
            sentinel_password: None,
            database,
            prefix: PREFIX.into(),
        };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "prefix" => place.prefix = legal_prefix(&value)?,
                "sentinel_password" if sentinel => place.sentinel_password = Some(value.into_owned()),
                _ => {
                    return Err(wrong(format!(
                        "`{name}` is nothing that the URL of a Redis can say: prefix is, and of Sentinels sentinel_password"
                    )));
                }
            }
        }
        Ok(place)
    }
}

/// A cluster is refused by name.
pub(super) fn no_cluster() -> Error {
    wrong("Redis Cluster is not supported: the keys and channels of a fleet belong to one server. Use one Redis, or several with Sentinel")
}

fn legal_prefix(prefix: &str) -> Result<String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if prefix.is_empty() || prefix.len() > PREFIX_MAX || !prefix.bytes().all(legal) {
        return Err(wrong(format!("the prefix of a Redis must be 1 to {PREFIX_MAX} characters of A-Z a-z 0-9 . _ -")));
    }
    Ok(prefix.to_owned())
}

/// One host with what is said before it.
struct Read {
    host: String,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
}

fn read(user: &str, host: &str) -> Result<Read> {
    // The driver's error may show what it read.
    let wrong = || wrong(format!("`{host}` is no HOST:PORT of a Redis; in a user or password @ : / are written %40 %3A %2F"));
    let url = url::Url::parse(&format!("redis://{user}{}{host}", if user.is_empty() { "" } else { "@" })).map_err(|_| wrong())?;
    let info = url.as_str().into_connection_info().map_err(|_| wrong())?;
    let ConnectionAddr::Tcp(host, _) = info.addr() else { return Err(wrong()) };
    if host.is_empty() {
        return Err(wrong());
    }
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let settings = info.redis_settings();
    Ok(Read { host: host.clone(), port: url.port(), user: owned(settings.username()), password: owned(settings.password()) })
}

impl fmt::Display for Place {
    /// As people may see it: without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis{}{}://", if self.tls { "s" } else { "" }, if self.master.is_some() { "+sentinel" } else { "" })?;
        if self.user.is_some() || self.password.is_some() {
            write!(f, "{}{}@", self.user.as_deref().unwrap_or_default(), if self.password.is_some() { ":***" } else { "" })?;
        }
        for (number, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            match host.contains(':') {
                true => write!(f, "{comma}[{host}]:{port}")?,
                false => write!(f, "{comma}{host}:{port}")?,
            }
        }
        if let Some(master) = &self.master {
            write!(f, "/{master}")?;
        }
        write!(f, "/{}", self.database)?;
        if self.prefix != PREFIX {
            write!(f, "?prefix={}", self.prefix)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Place {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_url_says_where_by_whom_and_which_database() {
        let place = read("rediss://ann:s%40cret@cache:6380/3?prefix=blue");
        assert_eq!((place.hosts.as_slice(), place.tls, place.database), ([("cache".to_owned(), 6_380)].as_slice(), true, 3));
        assert_eq!((place.user.as_deref(), place.password.as_deref()), (Some("ann"), Some("s@cret")));
        assert_eq!(place.name("hints"), "blue:3:hints");
        assert_eq!(read("redis://:s3cret@cache").password.as_deref(), Some("s3cret"));
        assert_eq!(read("redis://[::1]:6390").hosts, [("::1".to_owned(), 6_390)]);
    }

    #[test]
    fn sentinels_are_several_hosts_and_the_name_of_their_master() {
        let place = read("redis+sentinel://:s3cret@a,b:26380/main/2?sentinel_password=other");
        assert_eq!(place.hosts, [("a".to_owned(), 26_379), ("b".to_owned(), 26_380)]);
        assert_eq!((place.master.as_deref(), place.database), (Some("main"), 2));
        assert_eq!((place.password.as_deref(), place.sentinel_password.as_deref()), (Some("s3cret"), Some("other")));
    }

    #[test]
    fn nobody_sees_its_passwords() {
        for (url, shown) in [
            ("redis://ann:s3cret@cache/1", "redis://ann:***@cache:6379/1"),
            ("rediss+sentinel://:s3cret@a,b/main?sentinel_password=s3cret", "rediss+sentinel://:***@a:26379,b:26379/main/0"),
        ] {
            assert_eq!(format!("{} {:?}", read(url), read(url)), format!("{shown} {shown}"));
        }
        for url in ["redis://ann:s3cret@cache:port", "redis://ann:s3cret@/1", "redis://ann:s3cret@cache/x", "rediss://:s3cret@a#insecure"] {
            let error = url.parse::<Place>().expect_err(url);
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn a_cluster_is_refused_by_name_and_what_is_none_with_what_there_is() {
        for url in ["redis-cluster://a:7000", "rediss+cluster://a:7000", "redis://a:7000,b:7000"] {
            let error = url.parse::<Place>().expect_err(url);
            assert!(error.message.contains("Redis Cluster is not supported"), "{url}: {error}");
            assert_eq!(error.field.as_deref(), Some("bus"), "{url}");
        }
        for (url, told) in [
            ("redis+unix:///tmp/redis.sock", "write redis://"),
            ("redis+sentinel://a:26379", "which master?"),
            ("redis://cache/db", "is a number"),
            ("redis://cache?password=x", "`password` is nothing"),
            ("redis://cache?prefix=a:b", "must be 1 to 64"),
        ] {
            let error = url.parse::<Place>().expect_err(url);
            assert!(error.message.contains(told), "{url}: {error}");
        }
    }
}
