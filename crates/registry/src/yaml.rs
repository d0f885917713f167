//! YAML as version 1.2 reads it: only `true` and `false` are booleans, `1_000` and `017` are texts.

use serde_saphyr::{Error, Options, options::DuplicateKeyPolicy};

/// The most values of one document. A document of [`crate::openapi::BYTES_MAX`] has fewer.
const NODES_MAX: usize = 2_000_000;
/// The most events that it is read as.
const EVENTS_MAX: usize = 5_000_000;
/// How deep it may nest: as deep as JSON is read.
const DEPTH_MAX: usize = 127;

/// How every YAML of a project is read.
pub fn options() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    }
}

/// Reads a value.
pub fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_saphyr::from_str_with_options(text, options())
}

/// Reads a document that somebody else wrote and that may be large: a member that stands twice is the last one, as in JSON.
pub(crate) fn foreign<R>(text: &str, read: impl FnOnce(serde_saphyr::Deserializer<'_, '_>) -> Result<R, Error>) -> Result<R, Error> {
    let mut options = options();
    options.budget = serde_saphyr::budget! { max_nodes: NODES_MAX, max_events: EVENTS_MAX, max_depth: DEPTH_MAX };
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    serde_saphyr::with_deserializer_from_str_with_options(text, options, read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read_foreign<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
        foreign(text, |deserializer| T::deserialize(deserializer))
    }

    #[test]
    fn only_true_and_false_are_booleans_and_numbers_are_what_1_2_calls_so() {
        let text = "a: [NO, on, y, off, yes, n, True, false]\nb: [017, 1_000, 0x1F, 12:30:45, 2024-01-01, .5, ~, null, 1e3]\non: 1\ny: 2\nno: 3\n200: 4";
        let expected = json!({
            "a": ["NO", "on", "y", "off", "yes", "n", true, false],
            "b": ["017", "1_000", 31, "12:30:45", "2024-01-01", 0.5, null, null, 1000.0],
            "on": 1, "y": 2, "no": 3, "200": 4,
        });
        assert_eq!(read::<Value>(text).expect("YAML"), expected);
        assert_eq!(read_foreign::<Value>(text).expect("YAML"), expected);
        assert_eq!(read_foreign::<Value>("a: 1\na: 2").expect("YAML"), json!({ "a": 2 }));
        assert!(read::<Value>("a: 1\na: 2").is_err(), "in a project's own file it is a slip");
    }

    #[test]
    fn a_document_with_more_values_than_a_setting_may_have_is_read() {
        let text = format!("a:\n{}", "- { b: 1, c: x }\n".repeat(100_000));
        assert_eq!(read_foreign::<Value>(&text).expect("YAML")["a"].as_array().map(Vec::len), Some(100_000));
    }
}
