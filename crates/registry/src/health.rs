//! Who is well: `health_url` of every instance, asked again and again, each at its own moment.

use crate::{
    GatewaySettings,
    catalog::{Catalog, Instance},
    transports::Transports,
};
use futures::{StreamExt, stream};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often it is looked who is due.
const TICK: Duration = Duration::from_millis(500);
/// How many are asked at once.
const AT_ONCE: usize = 32;

/// Asks until `stop`, and takes out those whose lease ran out, which waits for nobody's answer.
pub(crate) async fn watch(catalog: Arc<Catalog>, transports: Transports, settings: GatewaySettings, stop: CancellationToken) {
    let tick = async || stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some();
    let asking = async {
        while tick().await {
            round(&catalog, &transports, settings).await;
        }
    };
    let expiring = async {
        while tick().await {
            let expired = catalog.expire();
            if expired > 0 {
                tracing::info!(instances = expired, "left the catalogue: their leases ran out");
            }
        }
    };
    tokio::join!(asking, expiring);
}

/// Asks everyone who is due, once.
async fn round(catalog: &Catalog, transports: &Transports, settings: GatewaySettings) {
    let instances = catalog.instances();
    let jittered = || settings.health_every.duration().mul_f64(0.8 + 0.4 * fastrand::f64());
    let due: Vec<_> = instances.iter().filter(|instance| instance.poll_due(jittered())).cloned().collect();
    stream::iter(due).for_each_concurrent(AT_ONCE, |instance| async move { ask(&instance, transports, settings).await }).await;
    let healthy = instances.iter().filter(|instance| instance.is_healthy()).count();
    metrics::gauge!("maniple_tool_instances", "state" => "healthy").set(healthy as f64);
    metrics::gauge!("maniple_tool_instances", "state" => "unhealthy").set((instances.len() - healthy) as f64);
}

async fn ask(instance: &Instance, transports: &Transports, settings: GatewaySettings) {
    let Some(url) = &instance.definition.health_url else { return };
    let outcome = transports.healthy(url, instance.trusted, settings.health_timeout.duration()).await;
    let why = outcome.as_ref().err().cloned();
    if instance.polled(outcome, settings.health_failures) {
        let (tool, version, endpoint) = (&instance.definition.name, &instance.definition.version, &instance.definition.endpoint);
        match why {
            Some(why) => tracing::warn!(%tool, %version, endpoint, why, "unhealthy: no calls go there"),
            None => tracing::info!(%tool, %version, endpoint, "healthy again"),
        }
    }
}
