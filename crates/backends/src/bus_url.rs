//! Where hints go between processes, as `bus` says.

#[cfg(feature = "redis")]
use crate::redis::Place;
use crate::{StoreUrl, url::without_password};
use maniple_core::{Error, Result};
use std::{fmt, str::FromStr};

/// What `bus` says, read once.
///
/// | bus | is |
/// |---|---|
/// | `local`, `postgres` | this process, or with a Postgres store all that share it |
/// | `postgres://…` | the same, listened to there: the database itself, where the store's URL leads through a pooler |
/// | `redis://…` and its kin | all that share that Redis, which then counts limits too |
#[derive(Clone, PartialEq, Eq, Default)]
pub enum BusUrl {
    /// `local`
    #[default]
    Local,
    /// `postgres`
    Postgres,
    /// `postgres://…`, as libpq reads it.
    PostgresAt(String),
    /// `redis://…`, `rediss://…`, `redis+sentinel://…`, `rediss+sentinel://…`
    #[cfg(feature = "redis")]
    Redis(Place),
}

impl BusUrl {
    /// `Invalid`, field `bus`, for a bus between processes over a store that belongs to one.
    pub fn goes_with(&self, store: &StoreUrl) -> Result<()> {
        if *self == Self::Local || store.is_shared() {
            return Ok(());
        }
        let message = "a bus between processes needs a Postgres store: an embedded one belongs to one process, and `bus: local` serves it";
        Err(Error::invalid(message).at("bus"))
    }
}

impl FromStr for BusUrl {
    type Err = Error;
    /// `Invalid`, field `bus`, for what is no bus.
    fn from_str(url: &str) -> Result<Self> {
        match url {
            "local" => return Ok(Self::Local),
            "postgres" => return Ok(Self::Postgres),
            #[cfg(feature = "redis")]
            url if Place::is_meant_by(url) => return url.parse().map(Self::Redis),
            #[cfg(not(feature = "redis"))]
            url if url.starts_with("redis") => {
                return Err(Error::invalid("this build is one without Redis: build it with the feature `redis`").at("bus"));
            }
            _ => {}
        }
        match url.parse::<StoreUrl>() {
            Ok(StoreUrl::Postgres(url)) => Ok(Self::PostgresAt(url)),
            Err(error) if url.starts_with("postgres") => Err(error.at("bus")),
            Ok(_) | Err(_) => {
                let told = "the bus is not known to this build: write `local`, `postgres`, redis://HOST:PORT/DATABASE, or the postgres://… that is listened to";
                Err(Error::invalid(told).at("bus"))
            }
        }
    }
}

impl fmt::Display for BusUrl {
    /// As people may see it: without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Postgres => f.write_str("postgres"),
            Self::PostgresAt(url) => f.write_str(&without_password(url)),
            #[cfg(feature = "redis")]
            Self::Redis(place) => fmt::Display::fmt(place, f),
        }
    }
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_between_processes_needs_a_store_that_they_share() {
        let (file, shared): (StoreUrl, StoreUrl) = ("sqlite:x.db".parse().expect("legal"), "postgres://db/x".parse().expect("legal"));
        for bus in ["local", "postgres", "postgres://direct/x", "redis://cache/1"] {
            let read: BusUrl = bus.parse().expect(bus);
            assert!(read.goes_with(&shared).is_ok(), "{bus}");
            let error = read.goes_with(&file).err();
            assert_eq!(error.and_then(|error| error.field).as_deref(), Some("bus").filter(|_| bus != "local"), "{bus}");
        }
    }

    #[test]
    fn what_is_no_bus_is_refused_with_what_there_is_and_nobody_sees_a_password() {
        for (bus, told) in [
            ("kafka://b", "redis://HOST"),
            ("sqlite:x.db", "redis://HOST"),
            ("", "redis://HOST"),
            ("redis-cluster://:s3cret@a", "Redis Cluster is not supported"),
            ("postgres://ann:s3cret@db:port/x", "cannot be read"),
        ] {
            let error = bus.parse::<BusUrl>().expect_err(bus);
            assert_eq!(error.field.as_deref(), Some("bus"), "{bus}");
            assert!(error.message.contains(told) && !format!("{error:?}").contains("s3cret"), "{bus}: {error:?}");
        }
        for bus in ["redis://:s3cret@cache", "postgres://ann:s3cret@db/x"] {
            let read: BusUrl = bus.parse().expect(bus);
            assert!(!format!("{read} {read:?}").contains("s3cret"), "{read}");
        }
    }
}
