//! How large a request may be and how long it may take: its part of the section `limits`.

use maniple_core::settings::{Bound, Period, Section};
use serde::{Deserialize, Serialize};

/// Bounds of one request by HTTP. It shares its section of the file with others: who reads that refuses unknown keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The largest request body, in bytes, 1 KiB to 64 MiB; beyond, 413. Default 1 MiB.
    pub body_bytes: u64,
    /// How deep a body may nest, 4 to 128; beyond, 400. Default 64.
    pub json_depth: u64,
    /// How many members and items a body may hold, 16 to 1,000,000; beyond, 400. Default 10,000.
    pub json_members: u64,
    /// How long a request's head may take, 100 ms to 10 min; an idle connection is closed after it too. Default 10 s.
    pub header_read: Period,
    /// Open connections, 1 to 1,000,000, and never so many that the node itself runs out of file descriptors: five eighths of what the
    /// system leaves it. Beyond, 503, and `/health`. Default 40,000.
    pub connections: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 1 << 20, json_depth: 64, json_members: 10_000, header_read: Period::seconds(10), connections: 40_000 }
    }
}

impl Section for Limits {
    fn bounds(&self) -> Vec<Bound> {
        vec![
            Bound::of("body_bytes", self.body_bytes, 1_024..=64 << 20),
            Bound::of("json_depth", self.json_depth, 4..=128),
            Bound::of("json_members", self.json_members, 16..=1_000_000),
            Bound::of("connections", self.connections, 1..=1_000_000),
            Bound::of("header_read", self.header_read, Period::ms(100)..=Period::minutes(10)),
        ]
    }
}
