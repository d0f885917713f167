//! Keeps the catalogue of tools.

use super::{Job, Role};
use crate::{
    config::Config,
    doors::http::Serves,
    node::{mcp, parts::Parts, readiness::Probe},
};
use maniple_runtime::Agents;

/// Asks after the health of tools, and takes over what changes where they were imported from.
pub(super) fn build(_: &Config, parts: &Parts) -> Role {
    let registry = parts.tools.registry.clone();
    let mut jobs = vec![Job::new("registry", move |stop| async move { registry.work(stop).await })];
    for document in parts.tools.documents_elsewhere() {
        let (registry, aside) = (parts.tools.registry.clone(), parts.aside.clone());
        jobs.push(Job::new("openapi", move |stop| document.follow(registry, aside, stop)));
    }
    for server in parts.servers.clone() {
        // What agents get from a registry elsewhere is not missing here.
        let agents = if parts.remote.is_none() { parts.runtime.agents.clone() } else { Agents::default() };
        let registry = parts.tools.registry.clone();
        jobs.push(Job::new("mcp", move |stop| mcp::follow(server, registry, agents, stop)));
    }
    Role { routes: Serves::Registry, jobs, probes: vec![Probe::store(parts)], starter: None }
}
