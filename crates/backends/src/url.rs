//! Where a store is, as its URL says.

use crate::postgres;
use maniple_core::{Error, Result};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The URL of a store, read once.
///
/// | url | is |
/// |---|---|
/// | `sqlite:PATH` | one file, one owning process, durable |
/// | `postgres://USER:PASSWORD@HOST/DATABASE` | one database, many processes, durable |
/// | `memory:` | gone with the process |
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`
    Memory,
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://…`, as libpq reads it.
    Postgres(String),
}

/// Whether a URL is one of Postgres.
fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// `Invalid` for a URL of Postgres that cannot be read, or that a password with an `@` in it cuts at the wrong place.
fn readable(url: &str) -> Result<()> {
    let before_query = url.split('?').next().unwrap_or_default();
    let cut = before_query.matches('@').count() > 1;
    let read = if cut { Err(Error::invalid("the store's URL has more than one `@`")) } else { postgres::check_url(url) };
    let told = |error: Error| format!("{}: in a user or a password `@ : / ? # %` are written %40 %3A %2F %3F %23 %25", error.message);
    read.map_err(|error| Error::invalid(told(error)).at("store"))
}

/// A URL as people may see it: without the password.
pub(crate) fn without_password(url: &str) -> String {
    let Ok(mut url) = url::Url::parse(url) else { return "postgres://…".into() };
    if url.password().is_some() {
        // Refused only for a URL that cannot have one.
        let _ = url.set_password(Some("***"));
    }
    let kept: Vec<(String, String)> = url.query_pairs().filter(|(name, _)| name != "password").map(|(k, v)| (k.into(), v.into())).collect();
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
    url.into()
}

impl StoreUrl {
    /// The file of an embedded store.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Memory | Self::Postgres(_) => None,
            Self::Sqlite(path) => Some(path),
        }
    }
    /// Whether several processes may have it open.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
    /// The same store, a relative path in it counted from this folder.
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::Memory | Self::Postgres(_) => self,
            Self::Sqlite(path) => Self::Sqlite(folder.join(path)),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = Error;
    /// `Invalid`, field `store`, for a scheme there is no store for.
    fn from_str(url: &str) -> Result<Self> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.trim_start_matches("//").is_empty() => {
                Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
            }
            Some(_) if is_postgres(url) => readable(url).map(|()| Self::Postgres(url.to_owned())),
            _ => {
                let told = format!(
                    "store `{url}` is not known to this build: write sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or memory:"
                );
                Err(Error::invalid(told).at("store"))
            }
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::Kind;

    #[test]
    fn a_url_without_a_store_is_refused_with_what_there_is() {
        for url in ["mysql://db/maniple", "sqlite:", "sqlite://", "memory:x", "maniple.db", ""] {
            let error = url.parse::<StoreUrl>().expect_err(url);
            assert_eq!((error.kind, error.field.as_deref()), (Kind::Invalid, Some("store")), "{url}");
            assert!(error.message.contains("sqlite:PATH, postgres://"), "{url}: {error}");
        }
    }

    #[test]
    fn nobody_sees_the_password_of_a_database() {
        for url in ["postgres://ann:s3cret@db/maniple?sslmode=require", "postgresql://ann@db/maniple?password=s3cret&sslmode=require"] {
            let store: StoreUrl = url.parse().expect("legal");
            let shown = format!("{store} {store:?}");
            assert!(!shown.contains("s3cret") && shown.contains("ann") && shown.contains("sslmode=require"), "{shown}");
        }
        let error = "postgres://ann:s3cret@db:port/maniple".parse::<StoreUrl>().expect_err("no port");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn a_password_that_cuts_a_url_in_two_is_told_how_it_is_written() {
        for url in ["postgres://ann:p@s3c@db/maniple", "postgres://ann:p@s3c:ret/1@db:5432/maniple", "postgres://ann:p@s3c/x@db/maniple"] {
            let error = url.parse::<StoreUrl>().expect_err(url);
            assert_eq!((error.kind, error.field.as_deref()), (Kind::Invalid, Some("store")), "{url}");
            assert!(error.message.contains("%40 %3A %2F") && !format!("{error:?}").contains("s3c"), "{url}: {error:?}");
        }
        for url in ["postgres://ann:p%40ss@db/maniple", "postgres://db/maniple?password=p@ss", "postgres://ann@one:5432,two:5433/maniple"] {
            assert!(url.parse::<StoreUrl>().is_ok(), "{url}");
        }
    }

    #[test]
    fn a_path_is_counted_from_the_folder_of_whoever_wrote_it() {
        let within = |url: &str| url.parse::<StoreUrl>().expect("legal").within(Path::new("/srv/app")).to_string();
        assert_eq!(within("sqlite:maniple.db"), "sqlite:/srv/app/maniple.db");
        assert_eq!((within("sqlite:///data/x.db"), within("memory:")), ("sqlite:/data/x.db".into(), "memory:".into()));
    }
}
