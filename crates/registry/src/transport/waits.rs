//! When a server wants to be asked again, as servers write it.

use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// The longest wait that is believed.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);

/// How long to wait: `retry-after-ms`, else `Retry-After` in seconds (with a fraction too) or as a date, counted from the answer's own
/// `Date` where it has one. `None` where nothing is said that can be meant: a negative wait, or no number and no date.
pub(crate) fn wait(headers: &HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str, unit: f64| {
        let number: f64 = text.trim_end_matches(['s', ' ']).parse().ok()?;
        // What is beyond all bounds is the longest wait.
        (number >= 0.0).then(|| Duration::try_from_secs_f64(number * unit).unwrap_or(WAIT_MAX))
    };
    let in_ms = || text("retry-after-ms").and_then(|text| seconds(text, 0.001));
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
    let said = || {
        let said = text(RETRY_AFTER.as_str())?;
        if said.parse::<f64>().is_ok() || said.ends_with('s') {
            return seconds(said, 1.0);
        }
        let then = date(said)?;
        let now = text("date").and_then(date).unwrap_or(now);
        let ms = then.as_millisecond().saturating_sub(now.as_millisecond());
        Some(Duration::from_millis(ms.max(0).unsigned_abs()))
    };
    in_ms().or_else(said).map(|wait| wait.min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn waits_are_read_as_servers_write_them() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let of = |pairs: &[(&'static str, &'static str)]| {
            let headers: HeaderMap =
                pairs.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect();
            wait(&headers, now).map(|wait| wait.as_millis())
        };
        for (headers, expected) in [
            (&[("retry-after", "7")][..], Some(7_000)),
            (&[("retry-after", " 1.5 ")], Some(1_500)),
            (&[("retry-after", "30s")], Some(30_000)),
            (&[("retry-after", "0")], Some(0)),
            (&[("retry-after", "7"), ("retry-after-ms", "250")], Some(250)),
            (&[("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT")], Some(60_000)),
            (&[("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT"), ("date", "Thu, 01 Jan 2026 00:00:50 GMT")], Some(10_000)),
            (&[("retry-after", "Wed, 31 Dec 2025 00:00:00 GMT")], Some(0)),
            (&[("retry-after", "99999999999999999999")], Some(86_400_000)),
            (&[("retry-after", "inf")], Some(86_400_000)),
            (&[("retry-after", "-5")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ] {
            assert_eq!(of(headers), expected, "{headers:?}");
        }
    }
}
