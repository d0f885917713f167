//! How much a desk takes in: its part of the section `limits`.

use maniple_core::{
    settings::{Bound, Section},
    task::TaskLimits,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much a desk takes in. It shares its section of the file with others: who reads that refuses unknown keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Requests handled at once, 1 to 1,000,000; beyond, 503. Default 20,000.
    pub in_flight_requests: u64,
    /// What the bodies that are read at once may weigh, in bytes, 1 MiB to 1 TiB; beyond, 503. Default 256 MiB.
    pub bodies_bytes: u64,
    /// Open event streams, 1 to 1,000,000; beyond, 503. Default 10,000.
    pub event_streams: u64,
    /// Requests of one tenant a minute; beyond, 429. Default: no limit.
    pub requests_per_minute: Option<u64>,
    /// Tasks that may wait in one session, 1 to 10,000; beyond, 429. Default 100.
    pub session_waiting: u32,
    /// Unfinished tasks in the store, 1 to 100,000,000; beyond, 503. Of several tenants none has more than four fifths of them;
    /// beyond, 429. Default 1,000,000.
    pub unfinished_tasks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_requests: 20_000,
            bodies_bytes: 256 << 20,
            event_streams: 10_000,
            requests_per_minute: None,
            session_waiting: 100,
            unfinished_tasks: 1_000_000,
        }
    }
}

impl Section for Limits {
    fn bounds(&self) -> Vec<Bound> {
        vec![
            Bound::of("in_flight_requests", self.in_flight_requests, 1..=1_000_000),
            Bound::of("bodies_bytes", self.bodies_bytes, (1 << 20)..=(1 << 40)),
            Bound::of("event_streams", self.event_streams, 1..=1_000_000),
            Bound::of("session_waiting", self.session_waiting, 1..=10_000),
            Bound::of("unfinished_tasks", self.unfinished_tasks, 1..=100_000_000),
        ]
    }
}

/// What a desk holds tasks and their callers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How much is taken in.
    pub limits: Limits,
    /// Ceilings and defaults of tasks.
    pub tasks: TaskLimits,
    /// How long those wait who ask an agent that does not say. Default 50 s.
    pub sync_run: Duration,
    /// Whether several tenants are known to come: then none may have more than four fifths of anything.
    pub several_tenants: bool,
    /// Whether there is a broker to publish to.
    pub publishes: bool,
}

impl Terms {
    /// How many unfinished tasks one tenant may have.
    pub(super) fn unfinished_each(&self) -> u64 {
        let all = self.limits.unfinished_tasks;
        if self.several_tenants { (all / 5 * 4 + all % 5 * 4 / 5).max(1) } else { all }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tasks: TaskLimits::default(),
            sync_run: Duration::from_secs(50),
            several_tenants: false,
            publishes: false,
        }
    }
}
