//! The section `telemetry`.

use maniple_core::settings::{Bound, Section};
use serde::{Deserialize, Serialize};

/// Logs, metrics, traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// `human` or `json`, on standard error. Default human.
    pub log: LogFormat,
    /// A level, or a filter such as `info,maniple_runtime=debug`. `RUST_LOG` overrides it. Default info.
    pub level: String,
    /// Where traces go, OTLP over HTTP, such as `http://127.0.0.1:4318`. Default: nowhere.
    pub otlp_endpoint: Option<String>,
    /// The share of traces that begin here and are exported, 0 to 1. Default 1.
    pub sample_ratio: f64,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { log: LogFormat::Human, level: "info".into(), otlp_endpoint: None, sample_ratio: 1.0 }
    }
}

impl Section for TelemetrySettings {
    fn bounds(&self) -> Vec<Bound> {
        vec![Bound::of("sample_ratio", self.sample_ratio, 0.0..=1.0)]
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One object a line.
    Json,
}
