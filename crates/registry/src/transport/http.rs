//! Tools behind HTTP: what of a call is written where, and what of an answer is its result.

mod request;

use super::{
    answer::HttpAnswer,
    client::{Client, Lost, Request, STARVED_WAIT},
};
use crate::credentials::Authorization;
use maniple_aside::{Aside, SMALL_BYTES};
use maniple_core::{
    Error, Result,
    ports::{Invocation, Invoked, Refusal, RefusalKind},
    tool::{Effect, STORED_RESULT_BYTES, ToolDefinition},
};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use serde_json::json;
use std::sync::Arc;

/// Calls HTTP tools.
pub(crate) struct Transport {
    client: Arc<Client>,
    aside: Aside,
}

/// Whether calls of this definition could be sent at all.
pub(crate) fn check(tool: &ToolDefinition) -> Result<()> {
    request::check(tool).map_err(|message| Error::invalid(message).at("endpoint"))
}

impl Transport {
    pub(crate) fn new(client: Arc<Client>, aside: Aside) -> Self {
        Self { client, aside }
    }

    /// One attempt. A complete answer, whatever its status, is an outcome; arguments that cannot be sent are a
    /// failure the model can repair.
    pub(crate) async fn call(&self, call: &Invocation) -> Invoked {
        self.call_as(call, &Authorization::default()).await
    }

    /// The same as somebody.
    pub(crate) async fn call_as(&self, call: &Invocation, who: &Authorization) -> Invoked {
        let request::Prepared { url, body, headers: placed } = match request::prepare(&call.tool, &call.arguments) {
            Ok(prepared) => prepared,
            Err(why) => return Invoked::Failed(json!({ "error": why })),
        };
        let headers = match headers(call) {
            Ok(mut headers) => {
                headers.extend(placed);
                headers
            }
            Err(why) => return Invoked::NotSent(why),
        };
        let trusted = call.trusted.then(|| url.origin());
        let method = request::method(call.tool.method);
        // What is never sent twice does not risk a connection that its server is about to close.
        let fresh = call.tool.effect() == Effect::AtMostOnce;
        let request = Request { method, url, headers, body, trusted, timeout: call.timeout, keeps: STORED_RESULT_BYTES, fresh };
        match tokio::time::timeout(call.timeout, self.client.exchange_as(request, who)).await {
            Ok(Ok(answer)) => {
                let large = answer.bytes() > SMALL_BYTES;
                // What it answered is known; only that it cannot be read now.
                let read = self.aside.run(large, call.tenant.as_str(), move || invoked(&answer)).await;
                read.unwrap_or_else(|busy| {
                    Invoked::Failed(json!({ "error": format!("the call was carried out, but its answer could not be read: {busy}") }))
                })
            }
            Ok(Err(Lost::Refused(why))) => {
                Invoked::Refused(Refusal { kind: RefusalKind::Forbidden, message: format!("tool `{}`: {why}", call.tool.name) })
            }
            Ok(Err(Lost::Astray(why))) => Invoked::Failed(json!({ "error": why })),
            Ok(Err(Lost::Starved(why))) => Invoked::Wait(format!("tool `{}`: {why}", call.tool.name), STARVED_WAIT),
            Ok(Err(Lost::NotSent(why) | Lost::Unresolved(_, why))) => Invoked::NotSent(format!("tool `{}`: {why}", call.tool.name)),
            Ok(Err(Lost::Unknown(why))) => Invoked::Unknown(format!("tool `{}`: {why}", call.tool.name)),
            Err(_) => Invoked::Unknown(format!("tool `{}` gave no complete answer within {} ms", call.tool.name, call.timeout.as_millis())),
        }
    }
}

/// The headers that every question about a call carries.
pub(crate) fn headers_of(call: &Invocation) -> HeaderMap {
    headers(call).unwrap_or_default()
}

fn headers(call: &Invocation) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let key = HeaderValue::from_str(&call.key).map_err(|_| format!("the key `{}` is no header value", call.key.escape_debug()))?;
    headers.insert("idempotency-key", key);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/*;q=0.9, */*;q=0.1"));
    if let Some(trace) = &call.trace {
        for (name, value) in [("traceparent", Some(&trace.traceparent)), ("tracestate", trace.tracestate.as_ref())] {
            if let Some(value) = value.and_then(|v| HeaderValue::from_str(v).ok()) {
                headers.insert(name, value);
            }
        }
    }
    Ok(headers)
}

/// What a complete answer means.
fn invoked(answer: &HttpAnswer) -> Invoked {
    if answer.is_success() { Invoked::Ok(answer.result()) } else { Invoked::Failed(answer.failure()) }
}
