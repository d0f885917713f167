//! Reads a public web page. The URL comes from a model, so it passes the egress rules.

use super::html;
use crate::egress::Refused;
use crate::transport::{
    answer,
    client::{Client, Lost, Request, STARVED_WAIT},
};
use maniple_aside::Aside;
use maniple_core::{
    ports::{Invocation, Invoked},
    tool::STORED_RESULT_BYTES,
};
use reqwest::{
    Method,
    header::{ACCEPT, HeaderMap, HeaderValue},
};
use serde_json::{Value, json};
use url::Url;

const URL_MAX: usize = 2_000;

pub(super) fn definition() -> Value {
    json!({
        "name": "http_fetch", "version": "1.0.0", "effect": "pure", "method": "GET", "endpoint": "builtin:http_fetch", "timeout_ms": 20_000,
        "description": "Fetches a public web page or JSON document by its URL (GET) and returns its text.",
        "parameters": {
            "type": "object", "additionalProperties": false, "required": ["url"],
            "properties": { "url": { "type": "string", "maxLength": URL_MAX, "description": "A full http or https URL." } }
        }
    })
}

/// A page of so many bytes is read at once.
const SMALL_PAGE: usize = 16 * 1024;

pub(super) async fn call(client: &Client, aside: &Aside, call: &Invocation) -> Invoked {
    let request = match request(call) {
        Ok(request) => request,
        Err(why) => return Invoked::Failed(json!({ "error": why })),
    };
    match tokio::time::timeout(call.timeout, client.exchange(request)).await {
        Ok(Ok(answer)) if answer.is_success() => {
            let large = answer.bytes() > SMALL_PAGE;
            let read = aside.run(large, call.tenant.as_str(), move || page(&answer)).await;
            read.map_or_else(|busy| Invoked::NotSent(busy.to_string()), Invoked::Ok)
        }
        Ok(Ok(answer)) => Invoked::Failed(answer.failure()),
        Ok(Err(Lost::Refused(why) | Lost::Astray(why))) => Invoked::Failed(json!({ "error": why })),
        // A model learns no names of the inside by what it is told of those there are.
        Ok(Err(Lost::Unresolved(name, _))) => Invoked::Failed(json!({ "error": Refused::not_public(&name).to_string() })),
        Ok(Err(Lost::Starved(why))) => Invoked::Wait(why, STARVED_WAIT),
        Ok(Err(Lost::NotSent(why))) => Invoked::NotSent(why),
        Ok(Err(Lost::Unknown(why))) => Invoked::Unknown(why),
        Err(_) => Invoked::Unknown(format!("no complete answer within {} ms", call.timeout.as_millis())),
    }
}

fn request(call: &Invocation) -> Result<Request, String> {
    let text = call.arguments.get("url").and_then(Value::as_str).ok_or("url is missing")?;
    if text.len() > URL_MAX {
        return Err(format!("the URL is longer than {URL_MAX} characters"));
    }
    let mut url = Url::parse(text).map_err(|e| format!("`{text}` is no URL: {e}"))?;
    url.set_fragment(None);
    let accept = HeaderValue::from_static("text/html, application/json, text/*;q=0.9, */*;q=0.1");
    let headers = HeaderMap::from_iter([(ACCEPT, accept)]);
    Ok(Request {
        method: Method::GET,
        url,
        headers,
        body: None,
        trusted: None,
        timeout: call.timeout,
        keeps: STORED_RESULT_BYTES,
        fresh: false,
    })
}

/// JSON as `json`, anything else as `text`, HTML reduced to what a reader sees.
fn page(answer: &answer::HttpAnswer) -> Value {
    let mut page = json!({ "url": answer.url.as_str(), "status": answer.status, "content_type": answer.media_type() });
    if matches!(answer.media_type(), "text/html" | "application/xhtml+xml") {
        let text = html::to_text(&answer.text());
        page["text"] = text.into();
    } else {
        match answer.result() {
            Value::String(text) => page["text"] = text.into(),
            Value::Object(mut cut) if answer.is_cut() => page["text"] = cut.remove("text").unwrap_or_default(),
            other => page["json"] = other,
        }
    }
    if answer.is_cut() {
        page["truncated"] = true.into();
    }
    if page.to_string().len() > STORED_RESULT_BYTES {
        let text = page["text"].as_str().map_or_else(|| page["json"].to_string(), str::to_owned);
        return answer::truncated(text);
    }
    page
}
