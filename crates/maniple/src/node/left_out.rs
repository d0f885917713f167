//! What an import leaves out: one line of the log with its count, and one by one where tools are listed.

use maniple_core::tool::LeftOut;
use maniple_registry::{Origin, Registry};

/// How many one line of the log names.
const NAMED_MAX: usize = 3;

/// Keeps what is left out for whoever lists tools, and says what of it is new.
pub(super) fn say(registry: &Registry, origin: &Origin, left_out: Vec<LeftOut>) {
    let new = registry.set_left_out(origin, left_out);
    if new.is_empty() {
        return;
    }
    for LeftOut { place, why, .. } in &new {
        tracing::debug!(import = origin.collection(), place, why, "left out");
    }
    let named: Vec<String> = new.iter().take(NAMED_MAX).map(|one| format!("{} ({})", one.place, one.why)).collect();
    let (count, named) = (new.len(), named.join("; "));
    tracing::warn!(import = origin.collection(), count, "left out: {named}; `maniple tool ls` names each");
}
