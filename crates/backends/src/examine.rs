//! Whether a store is as it should be, asked without changing anything.

use crate::{Options, StoreUrl, postgres, sqlite};
use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub said: String,
    /// What to do about it.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and something will come of it.
    Warning,
    /// A promise does not hold, or nothing works.
    Failed,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, said: impl Into<String>) -> Self {
        Self { check, state: State::Ok, said: said.into(), next: None }
    }
    pub(crate) fn warning(check: &'static str, said: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, state: State::Warning, said: said.into(), next: Some(next.into()) }
    }
    pub(crate) fn failed(check: &'static str, said: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, state: State::Failed, said: said.into(), next: Some(next.into()) }
    }
}

/// Looks at the store of that URL, and at the way to it.
pub async fn examine(url: &StoreUrl, options: &Options) -> Vec<Finding> {
    match url {
        StoreUrl::Memory => {
            vec![Finding::warning(
                "store",
                "everything is forgotten when the process ends",
                "set `store: sqlite:maniple.db`, or postgres://…",
            )]
        }
        StoreUrl::Sqlite(path) => vec![match (sqlite::holder(path), path.exists()) {
            (Some(holder), _) => {
                let at = holder.address.map_or_else(|| "listens nowhere yet".to_owned(), |address| format!("answers at {address}"));
                Finding::ok("store", format!("{} is open in process {}, which {at}", path.display(), holder.pid))
            }
            (None, true) => Finding::ok("store", format!("{} is there, and no process has it open", path.display())),
            (None, false) => Finding::ok("store", format!("{} is made when a node starts", path.display())),
        }],
        StoreUrl::Postgres(url) => postgres::examine(url, options).await,
    }
}
