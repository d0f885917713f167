//! What a media type says.

/// A media type without its parameters, in small letters.
pub(crate) fn plain(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether it is JSON, by whatever name: `application/json`, `text/json`, `application/x-json`, `application/problem+json`.
pub(crate) fn is_json(media_type: &str) -> bool {
    let plain = plain(media_type);
    plain.ends_with("/json") || plain.ends_with("+json") || plain.ends_with("/x-json")
}
