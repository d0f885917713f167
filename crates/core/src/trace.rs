//! W3C trace context, carried with a task so that its spans join the caller's.

use serde::{Deserialize, Serialize};

/// What `traceparent` and `tracestate` said when the task was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TraceContext {
    /// `00-{32 hex}-{16 hex}-{2 hex}`
    pub traceparent: String,
    /// Vendor state, passed on untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// Whether nobody outside has it: the span that it names exists nowhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun_here: bool,
}

impl TraceContext {
    /// Accepts a well-formed header and nothing else (W3C Trace Context, §3.2).
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let parts: Vec<&str> = traceparent.split('-').collect();
        let hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let zero = |s: &str| s.bytes().all(|b| b == b'0');
        let [version, trace, span, flags] = parts.as_slice() else { return None };
        let well_formed = hex(version, 2) && *version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        (well_formed && !zero(trace) && !zero(span)).then(|| Self {
            traceparent: traceparent.to_owned(),
            tracestate: tracestate.filter(|s| s.len() <= 512).map(str::to_owned),
            begun_here: false,
        })
    }
    /// The context of a trace that begins here; the two numbers are the caller's dice.
    pub fn begin(trace: u128, span: u64) -> Self {
        let traceparent = format!("00-{:032x}-{:016x}-01", trace.max(1), span.max(1));
        Self { traceparent, tracestate: None, begun_here: true }
    }
    /// The trace's id: 32 hex digits.
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }
}
