//! Where a provider is: a base URL as people paste it.

use super::RemoteApi;
use maniple_core::{Error, Result};
use url::Url;

/// Where calls go, of `base` as it stands in a file or an environment. Its query is kept; `/chat/completions` or `/messages` behind
/// it is understood. The error says what is wrong with it.
pub fn of(base: &str, api: RemoteApi) -> Result<Url> {
    let wrong = |why: &str| Error::invalid(format!("`{base}` {why}"));
    let mut url = Url::parse(base.trim())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| wrong("must be http://HOST… or https://HOST…"))?;
    if url.fragment().is_some() {
        return Err(wrong("has a fragment, which no request carries: write it without `#`"));
    }
    let root = url.path().trim_end_matches('/');
    let ends = match api {
        RemoteApi::OpenAi => "/chat/completions",
        RemoteApi::Anthropic => "/messages",
    };
    let root = root.strip_suffix(ends).unwrap_or(root);
    let path = match api {
        RemoteApi::OpenAi => format!("{root}/chat/completions"),
        // Anthropic's own clients leave `/v1` out of the base.
        RemoteApi::Anthropic if root.ends_with("/v1") => format!("{root}/messages"),
        RemoteApi::Anthropic => format!("{root}/v1/messages"),
    };
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_used_as_it_was_meant_or_refused_by_what_is_wrong_with_it() {
        for (base, url) in [
            ("http://h/v1", "http://h/v1/chat/completions"),
            (" http://h/v1/ ", "http://h/v1/chat/completions"),
            ("http://h", "http://h/chat/completions"),
            ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
            ("http://h/v1/chat/completions/", "http://h/v1/chat/completions"),
            (
                "http://h/openai/deployments/d?api-version=2024-10-21",
                "http://h/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ),
            ("http://h/d/chat/completions?a=1&b=2", "http://h/d/chat/completions?a=1&b=2"),
        ] {
            assert_eq!(of(base, RemoteApi::OpenAi).expect(base).as_str(), url);
        }
        for base in ["https://h", "https://h/v1", "https://h/v1/messages", "https://h/v1/messages/"] {
            assert_eq!(of(base, RemoteApi::Anthropic).expect(base).as_str(), "https://h/v1/messages");
        }
        for base in ["localhost:11434/v1", "ftp://a/b", "", "http://"] {
            assert!(of(base, RemoteApi::OpenAi).expect_err(base).message.contains("http://HOST"), "{base}");
        }
        assert!(of("http://h/v1/#x", RemoteApi::OpenAi).expect_err("a fragment").message.contains("fragment"));
    }
}
