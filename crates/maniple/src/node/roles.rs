//! What a process plays in the house: each role is a file that says what it offers, what it does and what it needs.
//!
//! | role | offers | does until the node stops | needs |
//! |---|---|---|---|
//! | api | tasks and tools | | its store |
//! | worker | | carries tasks out, makes due ones ready, forgets old ones | its store, a model for each agent; it tells of its brokers too |
//! | registry | tools | asks after the health of tools, follows what is imported | its store |
//!
//! Whatever it plays, a node says how it is: `/health`, `/ready`, `/metrics`. An api and a worker also tell of a registry elsewhere.

mod api;
mod registry;
mod worker;

use super::{parts::Parts, readiness::Probe};
use crate::{config::Config, doors::http::Serves};
use futures::future::BoxFuture;
use maniple_core::{Error, Result};
use maniple_runtime::Starter;
use std::{collections::BTreeSet, fmt};
use tokio_util::sync::CancellationToken;

/// What a process can play, in the order in which roles are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleName {
    /// Takes tasks and answers.
    Api,
    /// Carries tasks out.
    Worker,
    /// Keeps the catalogue of tools.
    Registry,
}

impl RoleName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Registry => "registry",
        }
    }
    fn build(self, config: &Config, parts: &Parts) -> Role {
        match self {
            Self::Api => api::build(config, parts),
            Self::Worker => worker::build(config, parts),
            Self::Registry => registry::build(config, parts),
        }
    }
}

/// The roles that a process plays, as `api,worker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<RoleName>);

impl Default for Roles {
    /// All of them.
    fn default() -> Self {
        Self::of([RoleName::Api, RoleName::Worker, RoleName::Registry])
    }
}

impl Roles {
    /// These.
    pub fn of(names: impl IntoIterator<Item = RoleName>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether it plays that one.
    pub(super) fn has(&self, name: RoleName) -> bool {
        self.0.contains(&name)
    }

    /// Whether this process is the registry that the settings of the others name, and nothing beside it.
    pub(super) fn is_the_registry(&self) -> bool {
        self.0.iter().eq([&RoleName::Registry])
    }

    /// `Invalid` where the roles need a process beside them that shares their store, and their store is embedded: that
    /// belongs to one process alone.
    pub fn over_embedded_store(&self) -> Result<()> {
        if self.0.contains(&RoleName::Api) == self.0.contains(&RoleName::Worker) {
            return Ok(());
        }
        Err(Error::invalid("one process owns an embedded store: `api` and `worker` can be apart only over a Postgres store"))
    }

    /// All of them as one.
    pub(super) fn build(&self, config: &Config, parts: &Parts) -> Role {
        let role = self.0.iter().map(|name| name.build(config, parts)).fold(Role::default(), Role::and);
        if self.0.contains(&RoleName::Registry) {
            return role;
        }
        // Whoever shows tools or calls them keeps a registry in its process, though its door does not offer it.
        role.and(Role { jobs: registry::build(config, parts).jobs, ..Role::default() })
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|name| name.as_str()).collect();
        f.write_str(&names.join(","))
    }
}

/// What is to be played.
#[derive(Default)]
pub(super) struct Role {
    /// What its door offers.
    pub(super) routes: Serves,
    /// What it does, in the order in which it is waited for when the node stops.
    pub(super) jobs: Vec<Job>,
    /// What it needs, as `/ready` tells.
    pub(super) probes: Vec<Probe>,
    /// Where tasks that can start at once do, for a desk in the same process.
    pub(super) starter: Option<Starter>,
}

impl Role {
    /// Both of them, played by one process.
    fn and(mut self, other: Self) -> Self {
        self.routes = self.routes.max(other.routes);
        self.jobs.extend(other.jobs);
        self.starter = self.starter.or(other.starter);
        let unknown = other.probes.into_iter().filter(|probe| self.probes.iter().all(|known| known.name() != probe.name()));
        let unknown: Vec<Probe> = unknown.collect();
        self.probes.extend(unknown);
        self
    }
}

/// Something that runs until it is told to stop.
pub(super) struct Job {
    /// What logs call it.
    pub(super) name: &'static str,
    /// The work: it ends soon after the token is cancelled.
    pub(super) work: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

impl Job {
    /// A job of that name.
    pub(super) fn new<F>(name: &'static str, work: impl FnOnce(CancellationToken) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { name, work: Box::new(move |stop| Box::pin(work(stop))) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
