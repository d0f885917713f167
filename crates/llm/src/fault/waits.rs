//! How long a provider asks to wait, as it is said in the wild.
//!
//! | where | how |
//! |---|---|
//! | `retry-after-ms` | milliseconds |
//! | `retry-after` | seconds, a date, or a moment in seconds since 1970 |
//! | the body | `retryDelay: "2s"`, `retry in 2.9s`, `try again in 1m30s`, `retry after 45 seconds` |
//! | `x-ratelimit-reset-*`, `anthropic-ratelimit-*-reset` | of the limit that is used up: `6m0s`, seconds, a moment; they come on most answers, and mean something on a 429, 503 or 529 |

use jiff::Timestamp;
use std::time::Duration;

/// No wait a provider asks for is believed beyond this.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);
/// A number of seconds above this is a moment, not a while.
const MOMENTS_FROM: f64 = 1e9;

/// What the headers say, but for the limits' own. `now` is the answer's own date where it has one.
fn plain(header: &impl Fn(&str) -> Option<String>, now: Timestamp) -> Option<Duration> {
    let ms = header("retry-after-ms").and_then(|ms| ms.trim().parse::<f64>().ok()).and_then(|ms| seconds(ms / 1e3));
    ms.or_else(|| retry_after(&header("retry-after")?, now))
}

/// What headers and body of an answer with this status say. `names` are those of all headers.
pub fn in_headers(
    status: u16,
    header: impl Fn(&str) -> Option<String>,
    names: &[String],
    body: Option<Duration>,
    now: Timestamp,
) -> Option<Duration> {
    plain(&header, now).or(body).or_else(|| resets(status, &header, names, now))
}

/// `Retry-After` in seconds, as a date, or as a moment.
fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    match header.parse::<f64>() {
        Ok(number) if number > MOMENTS_FROM => moment(number, now),
        Ok(number) => seconds(number),
        Err(_) => date(header, now).or_else(|| span(header)),
    }
}

/// The longest wait among the limits that are used up; where none says so though one must be, the shortest of all.
fn resets(status: u16, header: &impl Fn(&str) -> Option<String>, names: &[String], now: Timestamp) -> Option<Duration> {
    let mut used_up = Vec::new();
    let mut others = Vec::new();
    for name in names.iter().filter(|name| name.contains("ratelimit") && name.contains("reset")) {
        let Some(wait) = header(name).and_then(|text| retry_after(&text, now)) else { continue };
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
        span(rest)
    })
}

/// A span at the start of a text: `2s`, `1m30.5s`, `250ms`, `6m0s`, `45 seconds`, `2`.
pub fn span(text: &str) -> Option<Duration> {
    let mut rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == '`' || c == '"' || c == '\'');
    let mut total = None;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let Ok(number) = rest[..digits].trim_end_matches('.').parse::<f64>() else { return total.and_then(seconds) };
        let behind = rest[digits..].trim_start();
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let unit = match &behind[..letters] {
            "ms" | "milliseconds" | "millisecond" => 1e-3,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            // A number alone is seconds; one before another word is none of a span.
            "" if total.is_none() => return seconds(number),
            _ => return total.and_then(seconds),
        };
        *total.get_or_insert(0.0) += number * unit;
        rest = behind[letters..].trim_start_matches([' ', ',']);
    }
}

fn seconds(number: f64) -> Option<Duration> {
    (number >= 0.0).then(|| Duration::try_from_secs_f64(number).unwrap_or(MAX_WAIT).min(MAX_WAIT))
}

/// Until a moment in seconds or milliseconds since 1970.
fn moment(number: f64, now: Timestamp) -> Option<Duration> {
    let ms = if number > MOMENTS_FROM * 100.0 { number } else { number * 1e3 };
    seconds((ms - now.as_millisecond() as f64).max(0.0) / 1e3)
}

fn date(text: &str, now: Timestamp) -> Option<Duration> {
    let then = jiff::fmt::rfc2822::parse(text).map(|date| date.timestamp()).or_else(|_| text.parse::<Timestamp>()).ok()?;
    seconds((then.as_millisecond() - now.as_millisecond()).max(0) as f64 / 1e3)
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
    fn retry_after_is_seconds_a_date_or_a_moment_and_never_absurd() {
        for (header, expected) in [
            ("7", s(7.0)),
            (" 0 ", s(0.0)),
            ("1.5", s(1.5)),
            ("Sun, 22 Nov 2026 10:01:00 GMT", s(60.0)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", s(0.0)),
            ("2026-11-22T10:00:30Z", s(30.0)),
            ("1795341630", s(30.0)),
            ("1795341630000", s(30.0)),
            ("30s", s(30.0)),
            ("999999999", s(86_400.0)),
            ("inf", s(86_400.0)),
            ("-1", None),
            ("NaN", None),
            ("soon", None),
        ] {
            assert_eq!(wait(&[("retry-after", header)]), expected, "{header}");
        }
        assert_eq!(wait(&[("retry-after-ms", "2500"), ("retry-after", "9")]), s(2.5));
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
