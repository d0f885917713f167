//! Where a store is, as its URL says.

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
/// | `memory:` | gone with the process |
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`
    Memory,
    /// `sqlite:PATH`
    Sqlite(PathBuf),
}

impl StoreUrl {
    /// The file of an embedded store.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Memory => None,
            Self::Sqlite(path) => Some(path),
        }
    }
    /// The same store, a relative path in it counted from this folder.
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::Memory => Self::Memory,
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
            _ => Err(Error::invalid(format!("store `{url}` is not known to this build: write sqlite:PATH or memory:")).at("store")),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::Kind;

    #[test]
    fn a_url_without_a_store_is_refused_with_what_there_is() {
        for url in ["postgres://db/maniple", "sqlite:", "sqlite://", "memory:x", "maniple.db", ""] {
            let error = url.parse::<StoreUrl>().expect_err(url);
            assert_eq!((error.kind, error.field.as_deref()), (Kind::Invalid, Some("store")), "{url}");
            assert!(error.message.contains("sqlite:PATH or memory:"), "{url}: {error}");
        }
    }

    #[test]
    fn a_path_is_counted_from_the_folder_of_whoever_wrote_it() {
        let within = |url: &str| url.parse::<StoreUrl>().expect("legal").within(Path::new("/srv/app")).to_string();
        assert_eq!(within("sqlite:maniple.db"), "sqlite:/srv/app/maniple.db");
        assert_eq!((within("sqlite:///data/x.db"), within("memory:")), ("sqlite:/data/x.db".into(), "memory:".into()));
    }
}
