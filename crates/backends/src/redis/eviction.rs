//! Whether Redis may throw away what is counted there.

use super::{Link, Place};
use maniple_core::{Result, finding::Finding};

/// What a Redis does when its memory is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// Its `maxmemory-policy`.
    pub policy: String,
    /// How much memory it may use, in bytes; 0 for no limit.
    pub max_bytes: u64,
}

impl Eviction {
    /// What is wrong with it, and what to do about it; `None` where nothing is.
    pub fn complaint(&self) -> Option<String> {
        if self.policy == "noeviction" || self.max_bytes == 0 {
            return None;
        }
        Some(format!(
            "Redis throws keys away when its {} bytes are used up (maxmemory-policy {}): a limit forgets what it counted and lets through too many calls. \
             Set `maxmemory-policy noeviction`, or give the fleet a Redis of its own",
            self.max_bytes, self.policy
        ))
    }
}

/// What the Redis of that link does when its memory is used up: read from INFO, which managed servers answer where they refuse CONFIG.
pub async fn eviction(link: &Link) -> Result<Eviction> {
    let mut talk = link.talk()?;
    let info = redis::cmd("INFO").arg("memory").query_async::<String>(&mut talk.connection).await;
    let info = talk.answered(info)?;
    let said = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim();
    Ok(Eviction { policy: said("maxmemory_policy").to_owned(), max_bytes: said("maxmemory").parse().unwrap_or(0) })
}

/// Looks at the Redis of a bus.
pub(crate) async fn examine(place: &Place) -> Finding {
    let found = async { eviction(&*Link::open(place.clone()).await?).await };
    match found.await {
        Ok(found) => match found.complaint() {
            Some(complaint) => Finding::warning("bus", complaint, "set `maxmemory-policy noeviction`"),
            None => Finding::ok("bus", format!("Redis answers, and throws nothing away (maxmemory-policy {})", found.policy)),
        },
        Err(error) => Finding::warning(
            "bus",
            format!("{place}: {error}"),
            "start it, or correct `bus`: without it processes see what others do a moment later, and each counts its share of a limit",
        ),
    }
}
