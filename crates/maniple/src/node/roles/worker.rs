//! Carries tasks out.

use super::{Job, Role};
use crate::{
    config::Config,
    http::Serves,
    node::{parts::Parts, readiness::Probe},
};
use maniple_backends::rules::LEASE;
use maniple_runtime::{Worker, WorkerSettings, jobs};

/// The worker, and what time brings. The worker is waited for first: it hands its claims over.
pub(super) fn build(config: &Config, parts: &Parts) -> Role {
    let (works, sweeps, forgets) = (parts.runtime.clone(), parts.runtime.clone(), parts.runtime.clone());
    let settings = WorkerSettings { renew_every: LEASE / 3, ..config.worker };
    let retention = config.retention;
    let jobs = vec![
        Job::new("worker", move |stop| Worker::new(works, settings).work(stop)),
        Job::new("sweep", move |stop| jobs::sweep(sweeps, stop)),
        Job::new("forget", move |stop| jobs::forget(forgets, retention, stop)),
    ];
    let probes = [Some(Probe::store(parts)), Probe::registry(config, parts), Some(Probe::models(config, parts))];
    Role { routes: Serves::Itself, jobs, probes: probes.into_iter().flatten().collect() }
}
