//! How long a provider asks to wait, as it is said in the wild.
//!
//! | where | how |
//! |---|---|
//! | `retry-after-ms`, `retry-after` | as [`waits`] reads them |
//! | the body | `retryDelay: "2s"`, `retry in 2.9s`, `try again in 1m30s`, `retry after 45 seconds` |
//! | `x-ratelimit-reset-*`, `anthropic-ratelimit-*-reset` | of the limit that is used up: `6m0s`, seconds, a moment; they come on most answers, and mean something on a 429, 503 or 529 |

use jiff::Timestamp;
use maniple_core::waits;
use std::time::Duration;

/// What headers and body of an answer with this status say; `now` is when it was written. `names` are those of all headers.
pub fn in_headers(
    status: u16,
    header: impl Fn(&str) -> Option<String>,
    names: &[String],
    body: Option<Duration>,
    now: Timestamp,
) -> Option<Duration> {
    waits::in_headers(&header, now).or(body).or_else(|| resets(status, &header, names, now))
}

/// The longest wait among the limits that are used up; where none says so though one must be, the shortest of all.
fn resets(status: u16, header: &impl Fn(&str) -> Option<String>, names: &[String], now: Timestamp) -> Option<Duration> {
    let mut used_up = Vec::new();
    let mut others = Vec::new();
    for name in names.iter().filter(|name| name.contains("ratelimit") && name.contains("reset")) {
        let Some(wait) = header(name).and_then(|text| waits::until(&text, now)) else { continue };
        let remaining = header(&name.replace("reset", "remaining"));
        let is_used_up = remaining.and_then(|left| left.trim().parse::<f64>().ok()).is_some_and(|left| left <= 0.0);
        if is_used_up { used_up.push(wait) } else { others.push(wait) }
    }
    match status {
        429 => used_up.into_iter().max().or_else(|| others.into_iter().min()),
        503 | 529 => used_up.into_iter().max(),
        _ => None,
    }
}

/// What a message says, in lower case.
pub fn in_words(lower: &str) -> Option<Duration> {
    const BEFORE: [&str; 7] =
        ["try again in ", "retry in ", "retry after ", "try again after ", "retry-after: ", "retrydelay\": \"", "wait "];
    BEFORE.iter().find_map(|phrase| {
        let rest = &lower[lower.find(phrase)? + phrase.len()..];
        waits::span(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T10:00:00Z";

    fn wait(headers: &[(&str, &str)]) -> Option<Duration> {
        let names: Vec<String> = headers.iter().map(|(name, _)| (*name).to_owned()).collect();
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        in_headers(429, header, &names, None, NOW.parse().expect("a time"))
    }
    fn s(seconds: f64) -> Option<Duration> {
        Some(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn of_several_limits_the_one_that_is_used_up_says_when() {
        let requests = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")];
        let tokens = [("x-ratelimit-remaining-tokens", "1000"), ("x-ratelimit-reset-tokens", "250ms")];
        assert_eq!(wait(&[requests, tokens].concat()), s(360.0));
        assert_eq!(wait(&tokens), s(0.25), "the shortest where none says that it is used up");
        assert_eq!(
            wait(&[("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", "2026-11-22T10:00:05Z")]),
            s(5.0)
        );
        assert_eq!(wait(&[("x-ratelimit-reset", "1795341610")]), s(10.0));
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn words_say_it_too() {
        for (words, expected) in [
            ("please retry in 2.922534355s.", s(2.922534355)),
            ("please try again in 1m30.5s.", s(90.5)),
            ("please try again in 20ms. visit", s(0.02)),
            ("please retry after 45 seconds.", s(45.0)),
            ("try again in 2 hours 5 minutes", s(7_500.0)),
            ("rate limit reached: wait 3 sec", s(3.0)),
            ("wait for 3 people", None),
            ("try again in a minute", None),
            ("", None),
        ] {
            assert_eq!(in_words(words), expected, "{words}");
        }
    }
}
