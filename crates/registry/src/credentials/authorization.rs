//! What is added to one request.

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use url::Url;

/// What to add to a request so that a tool knows who calls; the default adds nothing.
///
/// It belongs to the origin it was made for: who follows a redirect takes it no further.
#[derive(Clone, Default)]
pub struct Authorization {
    header: Option<(HeaderName, HeaderValue)>,
    query: Option<(String, SecretString)>,
    /// Which token it is, 1, 2, 3 … by credential.
    pub(super) token: u64,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.header.is_none() && self.query.is_none() { "Authorization(nothing)" } else { "Authorization(***)" })
    }
}

impl Authorization {
    pub(super) fn header(name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..Self::default() }
    }
    pub(super) fn query(name: String, value: SecretString) -> Self {
        Self { query: Some((name, value)), ..Self::default() }
    }
    pub(super) fn bearer(token: &SecretString, number: u64) -> Option<Self> {
        Some(Self { token: number, ..Self::header(AUTHORIZATION, secret_header("Bearer ", token)?) })
    }

    /// Puts it into a request's headers, in the place of what is there under its name; beside the cookies that are there.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        let Some((name, value)) = &self.header else { return };
        let beside = headers.get(name).filter(|_| *name == COOKIE).and_then(|others| {
            let mut both = HeaderValue::from_bytes(&[value.as_bytes(), b"; ", others.as_bytes()].concat()).ok()?;
            both.set_sensitive(true);
            Some(both)
        });
        headers.insert(name, beside.unwrap_or_else(|| value.clone()));
    }

    /// The URL with its parameter, in the place of what is there under its name.
    pub(crate) fn signed(&self, url: &Url) -> Url {
        let Some((name, value)) = &self.query else { return url.clone() };
        let mut url = without(url, |known, _| known == name);
        url.query_pairs_mut().append_pair(name, value.expose_secret());
        url
    }

    /// The URL without the secret, which a server may have put into a redirect.
    pub(crate) fn stripped(&self, url: &Url) -> Url {
        match &self.query {
            Some((_, secret)) => without(url, |_, value| value == secret.expose_secret()),
            None => url.clone(),
        }
    }

    /// Whether a URL's text holds the secret, as it is or as a query writes it.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        let Some((_, secret)) = &self.query else { return false };
        let encoded: String = url::form_urlencoded::byte_serialize(secret.expose_secret().as_bytes()).collect();
        [secret.expose_secret(), &encoded].into_iter().any(|secret| text.windows(secret.len()).any(|window| window == secret.as_bytes()))
    }
}

/// Leaves the query as it is written where nothing is taken out.
fn without(url: &Url, goes: impl Fn(&str, &str) -> bool) -> Url {
    let mut url = url.clone();
    if url.query_pairs().any(|(name, value)| goes(&name, &value)) {
        let pairs = url.query_pairs().into_owned();
        let kept: Vec<(String, String)> = pairs.filter(|(name, value)| !goes(name, value)).collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
    }
    url
}

/// A header's value that says of itself that it is not to be shown.
pub(super) fn secret_header(prefix: &str, secret: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{prefix}{}", secret.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn a_key_in_the_query_takes_the_place_of_what_the_arguments_say_and_leaves_the_rest_as_it_is_written() {
        let key = Authorization::query("key".into(), "s3cr&t".to_owned().into());
        for (given, signed) in [
            ("http://x.test/", "http://x.test/?key=s3cr%26t"),
            ("http://x.test/?a=%20b", "http://x.test/?a=%20b&key=s3cr%26t"),
            ("http://x.test/?key=mine&a=1&key=2#f", "http://x.test/?a=1&key=s3cr%26t#f"),
        ] {
            assert_eq!(key.signed(&url(given)).as_str(), signed, "{given}");
        }
        assert_eq!(key.stripped(&url("http://y.test/?a=%20b")).as_str(), "http://y.test/?a=%20b");
        assert_eq!(key.stripped(&url("http://y.test/?other=s3cr%26t&a=1")).as_str(), "http://y.test/?a=1");
        assert_eq!(key.stripped(&url("http://y.test/?key=s3cr%26t")).as_str(), "http://y.test/");
    }

    #[test]
    fn it_prints_as_stars() {
        let key = Authorization::query("key".into(), "s3cret".to_owned().into());
        let header = Authorization::bearer(&"s3cret".to_owned().into(), 1).expect("a header");
        let mut headers = HeaderMap::new();
        header.sign(&mut headers);
        let printed = format!("{key:?} {header:?} {headers:?} {:#?}", Authorization::default());
        assert!(!printed.contains("s3cret") && printed.contains("Authorization(***)"), "{printed}");
    }
}
