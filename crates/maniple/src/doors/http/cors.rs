//! Which pages of other origins may use this node: the section `cors`.
//!
//! A browser asks before it lets a page of another origin send what is not plain, and shows the page an answer only where the node
//! says so. Without origins nothing is said, and nothing of that kind happens.

use http::{HeaderName, HeaderValue, Method, header};
use maniple_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// The most origins.
const ORIGINS_MAX: usize = 100;
/// How long a browser may remember what it was told.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Pages of other origins that may use this node. Cookies are never asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsSettings {
    /// Origins such as `https://app.example`, at most 100; `*` for all, where `auth` asks for a token. Default none.
    pub origins: Vec<String>,
}

impl CorsSettings {
    /// `Invalid` at `cors.origins` for one that is none, and for `*` where nobody is asked for a token: then every page that somebody
    /// on this machine looks at could do everything.
    pub fn check(&self, has_tokens: bool) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(message).at("cors.origins"));
        if self.origins.len() > ORIGINS_MAX {
            return wrong(format!("cors.origins may list {ORIGINS_MAX}, and these are {}", self.origins.len()));
        }
        for origin in &self.origins {
            let parsed = reqwest::Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let is_origin = parsed.is_some_and(|url| url.origin().ascii_serialization() == *origin && !origin.contains('*'));
            if origin == "*" && !has_tokens {
                return wrong("cors.origins `*` lets every page do everything: list the origins, or add auth.tokens".into());
            }
            if origin != "*" && !is_origin {
                return wrong(format!("cors.origins has `{origin}`: write an origin as browsers send it, such as https://app.example"));
            }
        }
        Ok(())
    }

    /// Whether pages of this origin may use the node.
    pub(super) fn lets_in(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == "*" || known == origin)
    }

    /// What answers browsers; none where there is nothing to allow.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        if self.origins.is_empty() {
            return None;
        }
        let cors = self.clone();
        let is_known = move |origin: &HeaderValue, _: &http::request::Parts| origin.to_str().is_ok_and(|origin| cors.lets_in(origin));
        let told = [header::LOCATION, header::RETRY_AFTER, header::WWW_AUTHENTICATE].into_iter();
        let told = told.chain(["idempotency-replayed", "mcp-session-id"].map(HeaderName::from_static));
        // Any header: a page of these origins may say what a program may, and /mcp asks for headers named after arguments.
        Some(
            CorsLayer::new()
                .allow_origin(AllowOrigin::predicate(is_known))
                .allow_methods([Method::GET, Method::POST, Method::DELETE])
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers(told.collect::<Vec<_>>())
                .max_age(REMEMBERED),
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_as_browsers_send_it_and_all_are_let_in_with_tokens_only() {
        let of = |origin: &str, has_tokens| CorsSettings { origins: vec![origin.into()] }.check(has_tokens);
        for origin in ["https://app.example", "http://localhost:3000", "http://[::1]:80".trim_end_matches(":80")] {
            of(origin, false).unwrap();
        }
        for wrong in [
            "app.example",
            "https://app.example/",
            "https://app.example:443",
            "https://App.example",
            "ftp://x",
            "null",
            "https://*.example",
            "",
        ] {
            let told = of(wrong, true).unwrap_err();
            assert_eq!(told.field.as_deref(), Some("cors.origins"), "{wrong}");
        }
        of("*", true).unwrap();
        assert!(of("*", false).unwrap_err().message.contains("auth.tokens"));
    }
}
