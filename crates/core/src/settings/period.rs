//! Durations as people write them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, time::Duration};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A duration in whole milliseconds, written `500ms`, `50s`, `10m`, `1h`, `30d` or as a number of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(u64);

impl Period {
    /// So many milliseconds.
    pub const fn ms(ms: u64) -> Self {
        Self(ms)
    }
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * SECOND)
    }
    /// So many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self(minutes * MINUTE)
    }
    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Self(hours * HOUR)
    }
    /// So many days.
    pub const fn days(days: u64) -> Self {
        Self(days * DAY)
    }
    /// In milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.0
    }
    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Reads one; `None` for a text that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.trim().parse().ok()?;
        let unit = match text[digits.len()..].trim() {
            "ms" | "" => 1,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            _ => return None,
        };
        number.checked_mul(unit).map(Self)
    }
}

/// In the largest unit that it is a whole number of.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)];
        let fits = units.into_iter().find(|(_, ms)| self.0 > 0 && self.0.is_multiple_of(*ms));
        let (unit, ms) = fits.unwrap_or(("ms", 1));
        write!(f, "{}{unit}", self.0 / ms)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl de::Visitor<'_> for Written {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration: write 500ms, 50s, 10m, 1h or 30d")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Period, E> {
        Err(E::custom("a duration is missing: write 500ms, 50s, 10m, 1h or 30d"))
    }
    fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Period, E> {
        Ok(Period(ms))
    }
    fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Period, E> {
        u64::try_from(ms).map(Period).map_err(|_| E::invalid_value(de::Unexpected::Signed(ms), &self))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
        Period::parse(text).ok_or_else(|| E::custom(format_args!("`{text}` is no duration: write 500ms, 50s, 10m, 1h or 30d")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_read_as_it_is_written() {
        for (text, ms, written) in [
            ("\"500ms\"", 500, "500ms"),
            ("\"50s\"", 50_000, "50s"),
            ("\"90s\"", 90_000, "90s"),
            ("\"60m\"", 3_600_000, "1h"),
            ("\"24h\"", 86_400_000, "1d"),
            ("\"30d\"", 30 * 86_400_000, "30d"),
            ("1500", 1_500, "1500ms"),
            ("\"1500\"", 1_500, "1500ms"),
            ("0", 0, "0ms"),
        ] {
            let period: Period = serde_json::from_str(text).unwrap();
            assert_eq!((period.as_ms(), period.to_string().as_str()), (ms, written), "{text}");
            assert_eq!(serde_json::to_value(period).unwrap(), written);
        }
        for text in ["\"soon\"", "\"5 weeks\"", "\"s\"", "\"\"", "-1", "1.5", "null", "\"99999999999999999999d\"", "\"9999999999999999d\""]
        {
            let told = serde_json::from_str::<Period>(text).unwrap_err().to_string();
            assert!(told.contains("500ms, 50s, 10m, 1h or 30d"), "{text}: {told}");
        }
    }
}
