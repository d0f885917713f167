//! The MCP servers of the settings: connected, and their tools taken over whenever they change.

use crate::config::Config;
use maniple_aside::Aside;
use maniple_registry::{
    Incoming, Origin, Registry,
    mcp::{Listing, Server, ServerSettings, State},
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long a start waits for servers that are slow to answer; their tools come when they do.
const SETTLED_MAX: Duration = Duration::from_secs(5);

/// Connects to all servers and takes their tools over, as far as they answer soon.
pub(super) async fn connect(config: &Config, keeps: bool, registry: &Arc<Registry>, aside: &Aside) -> anyhow::Result<Vec<Arc<Server>>> {
    let mut servers = Vec::new();
    // By that name the program is found though another one was installed in its place.
    let keeper = if keeps { vec!["/proc/self/exe".to_owned(), "keep".to_owned(), std::process::id().to_string()] } else { Vec::new() };
    for (name, settings) in &config.mcp {
        let cwd = settings.cwd.as_ref().map_or_else(|| config.folder.clone(), |cwd| config.folder.join(cwd));
        let settings = ServerSettings { cwd: Some(cwd), keeper: keeper.clone(), ..settings.clone() };
        let server = Arc::new(Server::start_beside(aside.clone(), name, settings)?);
        registry.connect(server.clone());
        servers.push(server);
    }
    for server in &servers {
        take(registry, server.name(), &*server.settled(SETTLED_MAX).await).await?;
    }
    Ok(servers)
}

/// Takes changes over until `stop`.
pub(super) async fn follow(server: Arc<Server>, registry: Arc<Registry>, stop: CancellationToken) {
    let mut listings = server.listings();
    loop {
        tokio::select! {
            changed = listings.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return server.stopped().await,
        }
        let listing = listings.borrow_and_update().clone();
        if let Err(error) = take(&registry, server.name(), &listing).await {
            tracing::warn!(mcp = server.name(), %error, "its tools stay as they were");
        }
    }
}

async fn take(registry: &Registry, name: &str, listing: &Listing) -> anyhow::Result<()> {
    let origin = Origin::Mcp { server: name.to_owned() };
    if let State::Connected { protocol } = &listing.state {
        for refused in &listing.refused {
            tracing::warn!(mcp = name, tool = refused.original, why = refused.reason, "left out");
        }
        let incoming = listing.tools.iter().cloned();
        let incoming =
            incoming.map(|tool| Incoming { notes: tool.notes, proposed: tool.proposed_effect, ..Incoming::from(tool.definition) });
        for (tool, error) in registry.take(&origin, incoming.collect()).await? {
            tracing::warn!(mcp = name, tool, %error, "left out");
        }
        tracing::info!(mcp = name, protocol, tools = listing.tools.len(), "connected");
    }
    match &listing.state {
        State::Connected { .. } => registry.set_reachable(&origin, None),
        State::Connecting => registry.set_reachable(&origin, Some("it is being connected to")),
        State::Lost { reason } => {
            tracing::warn!(mcp = name, reason, "not connected: its tools are not offered until it is");
            registry.set_reachable(&origin, Some(reason));
        }
    }
    Ok(())
}
