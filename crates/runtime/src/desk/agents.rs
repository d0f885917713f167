//! The agents that a principal may use.

use super::{Act, Desk, Page};
use maniple_core::{AgentName, Principal, Result, agent::AgentDefinition};
use std::sync::Arc;

impl Desk {
    /// Agents by name, after `after`.
    pub fn agents(&self, who: &Principal, after: &str, limit: usize) -> Result<Page<Arc<AgentDefinition>, AgentName>> {
        Act::Look.by(who)?;
        let all = self.parts.agents.all();
        let usable = all.values().filter(|agent| who.uses(&agent.name) && agent.name.as_str() > after);
        Ok(Page::of(usable.take(limit + 1).cloned().collect(), limit, |agent| agent.name.clone()))
    }

    /// The agents that the principal may ask, by name; none without the scope to ask any.
    pub fn askable(&self, who: &Principal) -> Vec<Arc<AgentDefinition>> {
        if Act::Submit.by(who).is_err() {
            return Vec::new();
        }
        self.parts.agents.all().values().filter(|agent| who.uses(&agent.name)).cloned().collect()
    }
}
