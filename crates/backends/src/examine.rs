//! Whether a store is as it should be, asked without changing anything.

use crate::{Options, StoreUrl, postgres, sqlite};
use maniple_core::finding::Finding;

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
