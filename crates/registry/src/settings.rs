//! The section `gateway`: how tools are called.

use maniple_core::settings::{Bound, Period, Section};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How tools are called, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// How often the `health_url` of an instance is asked, give or take a fifth; 100 ms to 1 h. Default 10 s.
    pub health_every: Period,
    /// How long its answer may take, 10 ms to 1 min. Default 2 s.
    pub health_timeout: Period,
    /// So many failures in a row make an instance unhealthy, 1 to 100; one success makes it well again. Default 2.
    pub health_failures: u32,
    /// What the cached results of pure tools may weigh, in bytes. Default 64 MiB.
    pub cache_bytes: u64,
    /// How many calls of tools may be under way at once, 1 to 1,000,000, and never more than three sixteenths of the file
    /// descriptors that are left when the node starts; what comes then waits. Shared among tenants. Default 10,000.
    pub calls_at_once: u32,
    /// How many versions of tools one principal may bring, 1 to 100,000. Default 200.
    pub versions_per_principal: u32,
    /// What they may weigh in all, 64 KiB to 1 GiB: each as JSON with what is recorded of it, and again with 1 KiB for each place
    /// that serves it. Default 4 MiB.
    pub bytes_per_principal: u64,
    /// The same of all principals of a tenant together, and of all operators. Default 1,000.
    pub versions_per_tenant: u32,
    /// What those may weigh. Default 20 MiB.
    pub bytes_per_tenant: u64,
    /// What the schemas of tools may hold in memory once they are ready to check with, in bytes, estimated: beyond it, those of
    /// whoever has the most are made anew when they are needed; 1 MiB or more. Default 64 MiB.
    pub schemas_bytes: u64,
    /// How long the outcome of a call over HTTP is remembered under its Idempotency-Key, 1 s to 30 d. Default 1 d.
    pub keys_kept: Period,
    /// How long a registration holds without renewal. No key of the file: 30 s.
    #[serde(skip)]
    pub lease: Duration,
    /// How many versions there may be. No key of the file: 100,000.
    #[serde(skip)]
    pub versions_max: usize,
    /// How many instances there may be. No key of the file: 100,000.
    #[serde(skip)]
    pub instances_max: usize,
    /// How long a direct call under way is its process's without renewal, which comes at a third of it: so long others wait for one
    /// that was killed. No key of the file: 6 s.
    #[serde(skip)]
    pub call_lease: Duration,
    /// Whether several tenants are known to call. No key of the file: the tenants of its tokens say it.
    #[serde(skip)]
    pub several_tenants: bool,
    /// Whether who calls is told why a tool cannot be called: addresses and what a server said at its end may be in it. No key of the
    /// file: where nobody shows a token, whoever calls runs the node.
    #[serde(skip)]
    pub tells_reasons: bool,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            health_every: Period::seconds(10),
            health_timeout: Period::seconds(2),
            health_failures: 2,
            cache_bytes: 64 << 20,
            calls_at_once: 10_000,
            versions_per_principal: 200,
            bytes_per_principal: 4 << 20,
            versions_per_tenant: 1_000,
            bytes_per_tenant: 20 << 20,
            schemas_bytes: 64 << 20,
            keys_kept: Period::days(1),
            lease: Duration::from_secs(30),
            versions_max: 100_000,
            instances_max: 100_000,
            call_lease: Duration::from_secs(6),
            several_tenants: false,
            tells_reasons: true,
        }
    }
}

impl Section for GatewaySettings {
    fn bounds(&self) -> Vec<Bound> {
        vec![
            Bound::of("health_every", self.health_every, Period::ms(100)..=Period::hours(1)),
            Bound::of("health_timeout", self.health_timeout, Period::ms(10)..=Period::minutes(1)),
            Bound::of("health_failures", self.health_failures, 1..=100),
            Bound::of("calls_at_once", self.calls_at_once, 1..=1_000_000),
            Bound::of("versions_per_principal", self.versions_per_principal, 1..=100_000),
            Bound::of("bytes_per_principal", self.bytes_per_principal, (64 << 10)..=(1 << 30)),
            Bound::of("versions_per_tenant", self.versions_per_tenant, 1..=100_000),
            Bound::of("bytes_per_tenant", self.bytes_per_tenant, (64 << 10)..=(1 << 30)),
            Bound::of("schemas_bytes", self.schemas_bytes, 1 << 20..=1 << 40),
            Bound::of("keys_kept", self.keys_kept, Period::seconds(1)..=Period::days(30)),
        ]
    }
}
