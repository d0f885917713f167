//! The tool registry: definitions, checks, and the call itself.
//!
//! A [`Catalog`] knows which tools there are; a [`Registry`] calls them, each over the transport that its
//! endpoint names. URLs that no operator wrote pass [`Egress`] first.

pub mod catalog;
pub mod egress;
mod transport;

pub use catalog::Catalog;
pub use egress::Egress;

use async_trait::async_trait;
use maniple_core::{
    AgentName, Result,
    ports::{Admission, Invocation, Invoked, Probed, Tools},
    tool::{Offer, ToolWish},
};
use std::sync::Arc;
use transport::{builtin, http};

/// The tools of this node, called in this process.
///
/// Every call is one attempt: nothing below it sends a request twice.
pub struct Registry {
    catalog: Arc<Catalog>,
    http: http::Transport,
    builtin: builtin::Transport,
}

impl Registry {
    /// A registry over a catalog.
    pub fn new(catalog: Arc<Catalog>, egress: Egress) -> Self {
        let client = Arc::new(transport::client::Client::new(egress));
        Self { catalog, http: http::Transport::new(client.clone()), builtin: builtin::Transport::new(client) }
    }
    /// Which tools there are.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }
}

#[async_trait]
impl Tools for Registry {
    async fn resolve(&self, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        let definitions = self.catalog.resolve(agent, wishes)?;
        Ok(definitions.into_iter().map(|definition| Offer { definition, trusted: true }).collect())
    }

    async fn admit(&self, _call: &Invocation) -> Admission {
        Admission::Now
    }

    async fn probe(&self, _call: &Invocation) -> Probed {
        Probed::Unknown
    }

    async fn invoke(&self, call: &Invocation) -> Invoked {
        match call.tool.endpoint.strip_prefix("builtin:") {
            Some(name) => self.builtin.call(name, call).await,
            None => self.http.call(call).await,
        }
    }
}
