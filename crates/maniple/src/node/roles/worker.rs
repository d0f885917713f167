//! Carries tasks out.

use super::{Job, Role};
use crate::{
    config::Config,
    doors::http::Serves,
    node::{kafka, parts::Parts, readiness::Probe},
};
use maniple_backends::rules::LEASE;
use maniple_runtime::{Worker, WorkerSettings, jobs};

/// The worker, and what time brings. The worker is waited for first: it hands its claims over.
pub(super) fn build(config: &Config, parts: &Parts) -> Role {
    let settings = WorkerSettings { renew_every: LEASE / 3, several_tenants: config.has_several_tenants(), ..config.worker };
    let worker = Worker::new(parts.runtime.clone(), settings, parts.stop_work.clone());
    let held = worker.holds();
    let starter = Some(worker.starter(parts.store.tasks.clone()));
    let (sweeps, forgets, bus, retention) =
        (parts.store.upkeep.clone(), parts.store.upkeep.clone(), parts.store.bus.clone(), config.retention);
    let mut jobs = vec![
        Job::new("worker", move |_| worker.work()),
        Job::new("sweep", move |stop| jobs::sweep(sweeps, bus, held, stop)),
        Job::new("forget", move |stop| jobs::forget(forgets, retention, stop)),
    ];
    let contact = kafka::contact(config);
    let broker = contact.clone().map(|contact| Probe::Broker(contact, config.readiness.broker));
    jobs.extend(contact.map(|contact| Job::new("kafka contact", move |stop| contact.work(stop))));
    let probes =
        [Some(Probe::store(parts)), Probe::registry(config, parts), Probe::bus(config, parts), broker, Some(Probe::models(config, parts))];
    Role { routes: Serves::Itself, jobs, probes: probes.into_iter().flatten().collect(), starter }
}
