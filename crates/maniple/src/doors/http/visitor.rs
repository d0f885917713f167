//! What a browser gives away about who uses it: the name it was sent to, and the page that sends it.
//!
//! A page of anybody's can have a browser on this machine ask this node, by a name that was moved to a loopback address or
//! by a request whose answer it cannot read. Where a token must be shown, such a page has none; where none is, these two
//! headers are all there is to tell. Programs send no `Origin`.

use super::{answer::Refusal, cors::CorsSettings};
use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, header, uri::Authority};
use maniple_api::Problem;
use maniple_core::{Error, Result};

/// Refuses a request whose `Host` names nothing: it can be compared with nothing.
pub(super) async fn named(request: Request, next: Next) -> Result<Response, Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_name = |host: &http::HeaderValue| {
        let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        authority.is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
    };
    match (hosts.next(), hosts.next()) {
        (None, _) => {}
        (Some(host), None) if is_name(host) => {}
        (Some(_), _) => return Err(Problem::malformed("Host must be one name or address, with a port or without").at("Host").into()),
    }
    Ok(next.run(request).await)
}

/// Refuses a request of HTTP/1.1 that names no host, as RFC 9112 (3.2) asks.
pub(super) async fn hosted(request: Request, next: Next) -> Result<Response, Refusal> {
    if request.version() == http::Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        return Err(Problem::malformed("HTTP/1.1 asks for a Host header").at("Host").into());
    }
    Ok(next.run(request).await)
}

/// Fails for a name of the node that is not this machine's own: a page could have had it moved to this address.
pub(super) fn asks_this_machine(headers: &HeaderMap) -> Result<()> {
    match host(headers) {
        Some(host) if !is_loopback(host.host()) => {
            let told = "without tokens this node serves this machine: ask it as 127.0.0.1 or localhost, or add auth.tokens";
            Err(Error::denied(told).at("Host"))
        }
        _ => Ok(()),
    }
}

/// Fails for a page that is neither this machine's nor the node's own, nor one that the settings let in.
pub(super) fn is_no_foreign_page(headers: &HeaderMap, cors: &CorsSettings) -> Result<()> {
    let Some(origin) = text(headers, header::ORIGIN) else { return Ok(()) };
    if cors.lets_in(origin) {
        return Ok(());
    }
    let from = origin.parse::<http::Uri>().ok().and_then(|origin| origin.into_parts().authority);
    match from {
        Some(from) if is_loopback(from.host()) || host(headers).as_ref() == Some(&from) => Ok(()),
        _ => Err(Error::denied(format!("pages of {} may not use this", origin.escape_debug())).at("Origin")),
    }
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    text(headers, header::HOST)?.parse().ok()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    // What is no text is nobody's name.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
