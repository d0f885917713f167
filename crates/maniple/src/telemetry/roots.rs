//! The ids of spans, and of traces that were named before their first span began.
//!
//! A task is told its trace's id when it is accepted. What is exported of it later has to be that trace, and may have no parent.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use std::cell::Cell;

thread_local! {
    /// The id that the next trace gets.
    static NAMED: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Lets a trace that begins in `begin`, on this thread, have that id: 32 hex digits.
pub(super) fn named(trace_id: &str, begin: impl FnOnce()) {
    NAMED.set(TraceId::from_hex(trace_id).ok());
    begin();
    NAMED.set(None);
}

/// Ids that are named, else by chance.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NAMED.get().unwrap_or_else(|| self.0.new_trace_id())
    }
    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}
