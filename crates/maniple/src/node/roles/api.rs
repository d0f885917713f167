//! Takes tasks and answers.

use super::Role;
use crate::{
    config::Config,
    doors::http::Serves,
    node::{parts::Parts, readiness::Probe},
};

/// It does nothing of its own: its door is open.
pub(super) fn build(config: &Config, parts: &Parts) -> Role {
    let probes = [Some(Probe::store(parts)), Probe::registry(config, parts), Probe::bus(config, parts)];
    Role { routes: Serves::All, probes: probes.into_iter().flatten().collect(), ..Role::default() }
}
