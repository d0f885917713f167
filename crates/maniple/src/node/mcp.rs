//! The MCP servers of the settings: connected, and their tools taken over whenever they change.

use super::{left_out, project};
use crate::config::Config;
use futures::future::join_all;
use maniple_aside::Aside;
use maniple_core::tool::{LeftOut, ToolWish};
use maniple_registry::{
    Incoming, Origin, Registry,
    mcp::{Listing, Server, ServerSettings, State},
};
use maniple_runtime::Agents;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long a start waits for all servers together; tools of slower ones come when they do, and tasks that need them wait.
const SETTLED_MAX: Duration = Duration::from_secs(1);

/// A server, and what was taken over of it.
#[derive(Clone)]
pub(super) struct Connected {
    server: Arc<Server>,
    taken: Arc<Listing>,
}

/// Connects to all servers and takes their tools over, as far as they answer soon.
pub(super) async fn connect(config: &Config, keeps: bool, registry: &Arc<Registry>, aside: &Aside) -> anyhow::Result<Vec<Connected>> {
    let mut servers = Vec::new();
    // By that name the program is found though another one was installed in its place.
    let keeper = if keeps { vec!["/proc/self/exe".to_owned(), "keep".to_owned(), std::process::id().to_string()] } else { Vec::new() };
    for (name, settings) in &config.mcp {
        let cwd = settings.cwd.as_ref().map_or_else(|| config.folder.clone(), |cwd| config.folder.join(cwd));
        let settings = ServerSettings { cwd: Some(cwd), keeper: keeper.clone(), ..settings.clone() };
        let server = Arc::new(Server::start_beside(aside.clone(), name, settings)?);
        registry.connect(server.clone());
        registry.set_connecting(name, true);
        servers.push(server);
    }
    let mut connected = Vec::new();
    for (server, listing) in servers.iter().zip(join_all(servers.iter().map(|server| server.settled(SETTLED_MAX))).await) {
        take(registry, server.name(), &listing).await?;
        connected.push(Connected { server: server.clone(), taken: listing });
    }
    Ok(connected)
}

/// Takes changes over until `stop`, and says what these agents list that the server turns out not to have.
pub(super) async fn follow(connected: Connected, registry: Arc<Registry>, agents: Agents, stop: CancellationToken) {
    let Connected { server, mut taken } = connected;
    let mut listings = server.listings();
    loop {
        tokio::select! {
            changed = listings.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return server.stopped().await,
        }
        let listing = listings.borrow_and_update().clone();
        if Arc::ptr_eq(&listing, &taken) {
            continue;
        }
        if let Err(error) = take(&registry, server.name(), &listing).await {
            tracing::warn!(mcp = server.name(), %error, "its tools stay as they were");
        }
        // Until now none of its tools was missing.
        if taken.state == State::Connecting && listing.state != State::Connecting {
            let is_its = |wish: &ToolWish| wish.name.strip_prefix(server.name()).is_some_and(|rest| rest.starts_with('_'));
            project::warn_of_missing_tools(&agents, &registry, is_its);
        }
        taken = listing;
    }
}

async fn take(registry: &Registry, name: &str, listing: &Listing) -> anyhow::Result<()> {
    let origin = Origin::Mcp { server: name.to_owned() };
    let taken = match &listing.state {
        State::Connected { protocol } => take_tools(registry, name, &origin, listing, protocol).await,
        State::Connecting | State::Lost { .. } => Ok(()),
    };
    match &listing.state {
        State::Connected { .. } => registry.set_reachable(&origin, None),
        State::Connecting => registry.set_reachable(&origin, Some("it is being connected to")),
        State::Lost { reason } => {
            tracing::warn!(mcp = name, reason, "not connected: its tools are not offered until it is");
            registry.set_reachable(&origin, Some(reason));
        }
    }
    registry.set_connecting(name, listing.state == State::Connecting);
    taken
}

async fn take_tools(registry: &Registry, name: &str, origin: &Origin, listing: &Listing, protocol: &str) -> anyhow::Result<()> {
    let incoming = listing.tools.iter().cloned();
    let incoming = incoming.map(|tool| Incoming { notes: tool.notes, proposed: tool.proposed_effect, ..Incoming::from(tool.definition) });
    let refused = registry.take(origin, incoming.collect()).await?;
    let from = origin.collection();
    let unusable = listing.refused.iter().map(|refused| (refused.original.clone(), None, refused.reason.clone()));
    let refused = refused.into_iter().map(|(tool, error)| (tool.clone(), Some(tool), error.message.into_owned()));
    let all = unusable.chain(refused).map(|(place, name, why)| LeftOut { from: from.clone(), place, name, why });
    left_out::say(registry, origin, all.collect());
    tracing::info!(mcp = name, protocol, tools = listing.tools.len(), "connected");
    Ok(())
}
