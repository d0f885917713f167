//! When somebody wants to be asked again, as it is said in the wild. Pure: whoever reads it says what time it is.
//!
//! | where | how |
//! |---|---|
//! | `retry-after-ms` | milliseconds |
//! | `retry-after` | seconds with a fraction or a unit (`7`, `1.5`, `30s`, `1m30s`), a date, or a moment in seconds or milliseconds since 1970 |

use jiff::Timestamp;
use std::time::Duration;

/// No wait is believed beyond this.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);
/// A number of seconds above this is a moment, not a while.
const MOMENTS_FROM: f64 = 1e9;

/// How long the headers of an answer ask to wait. `None` where they say nothing that can be meant, such as a negative wait.
pub fn in_headers(header: impl Fn(&str) -> Option<String>, now: Timestamp) -> Option<Duration> {
    let ms = header("retry-after-ms").and_then(|ms| ms.trim().parse::<f64>().ok()).and_then(|ms| seconds(ms / 1e3));
    ms.or_else(|| until(&header("retry-after")?, answered_at(&header, now)))
}

/// When an answer was written, by its own `Date` where it has one: a wait that is a moment is one of that clock.
pub fn answered_at(header: &impl Fn(&str) -> Option<String>, now: Timestamp) -> Timestamp {
    header("date").and_then(|date| jiff::fmt::rfc2822::parse(&date).ok()).map_or(now, |date| date.timestamp())
}

/// A wait written as seconds, as a span, as a date, or as a moment.
pub fn until(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(number) if number > MOMENTS_FROM => moment(number, now),
        Ok(number) => seconds(number),
        Err(_) => date(text, now).or_else(|| span(text)),
    }
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
    (number >= 0.0).then(|| Duration::try_from_secs_f64(number).unwrap_or(WAIT_MAX).min(WAIT_MAX))
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

    #[test]
    fn a_wait_is_read_as_servers_write_it_and_is_never_absurd() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
        let of = |headers: &[(&str, &str)]| {
            in_headers(|name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()), now)
        };
        for (header, ms) in [
            ("7", Some(7_000)),
            (" 0 ", Some(0)),
            ("1.5", Some(1_500)),
            ("30s", Some(30_000)),
            ("30 s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("250ms", Some(250)),
            ("Sun, 22 Nov 2026 10:01:00 GMT", Some(60_000)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
            ("2026-11-22T10:00:30Z", Some(30_000)),
            ("1795341630", Some(30_000)),
            ("1795341630000", Some(30_000)),
            ("999999999", Some(86_400_000)),
            ("99999999999999999999", Some(86_400_000)),
            ("inf", Some(86_400_000)),
            ("-5", None),
            ("NaN", None),
            ("soon", None),
        ] {
            assert_eq!(of(&[("retry-after", header)]), ms.map(Duration::from_millis), "{header}");
        }
        assert_eq!(of(&[("retry-after-ms", "2500"), ("retry-after", "9")]), Some(Duration::from_millis(2_500)));
        let date = ("date", "Sun, 22 Nov 2026 10:00:50 GMT");
        assert_eq!(of(&[("retry-after", "Sun, 22 Nov 2026 10:01:00 GMT"), date]), Some(Duration::from_secs(10)));
        assert_eq!(of(&[date]), None);
    }
}
