//! What time it is.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

pub(super) fn definition() -> Value {
    json!({
        "name": "clock", "version": "1.0.0", "effect": "pure", "endpoint": "builtin:clock",
        "description": "Tells the current date and time, in UTC or in a time zone.",
        "parameters": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "time_zone": { "type": "string", "maxLength": 64, "description": "IANA name such as Europe/Berlin. Default: UTC." }
            }
        }
    })
}

pub(super) fn call(arguments: &Value, now: Timestamp) -> Result<Value, String> {
    let name = arguments.get("time_zone").and_then(Value::as_str).unwrap_or("UTC");
    let zone = TimeZone::get(name).map_err(|_| format!("there is no time zone `{name}`: use an IANA name such as Europe/Berlin"))?;
    let local = now.to_zoned(zone);
    Ok(json!({
        "utc": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "time_zone": name,
        "local": local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        "weekday": local.strftime("%A").to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(arguments: Value) -> Result<Value, String> {
        call(&arguments, "2026-07-31T22:30:00.123Z".parse().expect("a time"))
    }

    #[test]
    fn the_time_is_told_in_utc_and_in_a_zone_with_its_own_weekday() {
        let utc = json!({ "utc": "2026-07-31T22:30:00Z", "time_zone": "UTC", "local": "2026-07-31T22:30:00+00:00", "weekday": "Friday" });
        assert_eq!(at(json!({})), Ok(utc));
        let berlin = json!({ "utc": "2026-07-31T22:30:00Z", "time_zone": "Europe/Berlin", "local": "2026-08-01T00:30:00+02:00", "weekday": "Saturday" });
        assert_eq!(at(json!({ "time_zone": "Europe/Berlin" })), Ok(berlin));
    }

    #[test]
    fn an_unknown_zone_is_named() {
        let refused = at(json!({ "time_zone": "Europe/Atlantis" }));
        assert_eq!(refused, Err("there is no time zone `Europe/Atlantis`: use an IANA name such as Europe/Berlin".into()));
    }
}
