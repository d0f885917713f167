//! The header Idempotency-Key of every POST. What is done under one is the desk's to say; of calls of tools, the registry's.

use super::answer::Refusal;
use http::HeaderMap;
use maniple_api::Problem;
use maniple_runtime::desk::IdempotencyKey;

const HEADER: &str = "Idempotency-Key";

/// The key of a request. 400 for one that cannot be one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Refusal> {
    let wrong = |why: String| Refusal::from(Problem::malformed(why).at(HEADER));
    let mut given = headers.get_all(HEADER).iter();
    let Some(key) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(wrong(format!("{HEADER} is there twice")));
    }
    // What is no text is no key either.
    let key = IdempotencyKey::parse(key.to_str().unwrap_or_default());
    key.map(Some).map_err(|error| wrong(error.message.into_owned()))
}
