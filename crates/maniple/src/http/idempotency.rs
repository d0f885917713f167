//! Idempotency-Key on every POST.
//!
//! | POST | scope | where the key is remembered |
//! |---|---|---|
//! | `/run`, `/tasks`, bare or under an agent | `tasks` | with the task, in its transaction |
//! | `/tasks/{id}/retry`, `/dead-letters/{id}/requeue` | the path | with the new task, in its transaction |
//! | `/tasks/{id}/cancel`, `/dead-letters/{id}/drop`, `/approvals/{id}` | the path | with what was done, in its transaction |
//! | `/tools`, `/tools/resolve`, `/tools/{name}/admit`, `/tools/{name}/probe` | the path | when it was answered |
//! | `/tools/{name}/invoke` | the principal and the tool | in the registry, before the call is sent |
//!
//! What is remembered is the id of what was made, never the answer: the same call again is answered in the present state.
//! A path counts without its agent: `/agents/a/tasks/1/cancel` is `/tasks/1/cancel`.

use super::answer::Refusal;
use http::HeaderMap;
use maniple_api::Problem;
use maniple_core::{canonical, ports::Idempotency};
use serde_json::Value;

const HEADER: &str = "Idempotency-Key";
/// The scope of all submissions of a tenant.
pub(super) const TASKS: &str = "tasks";
/// The key of a request: 1 to 255 printable characters of ASCII.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let wrong = |why: &str| Refusal::from(Problem::malformed(format!("{HEADER} {why}")).at(HEADER));
    let mut given = headers.get_all(HEADER).iter();
    let Some(key) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(wrong("is there twice"));
    }
    let legal = (1..=255).contains(&key.len()) && key.as_bytes().iter().all(|b| (b' '..=b'~').contains(b));
    match key.to_str() {
        Ok(key) if legal => Ok(Some(key.to_owned())),
        _ => Err(wrong("must be 1 to 255 printable characters of ASCII")),
    }
}

/// The key with its scope, for a POST without a body.
pub(super) fn of_path(headers: &HeaderMap, path: &str) -> Result<Option<Idempotency>, Refusal> {
    let body_hash = || canonical::hash_bytes(b"");
    Ok(key(headers)?.map(|key| Idempotency { scope: path.to_owned(), key, body_hash: body_hash() }))
}

/// The key with its scope, for a POST with a body.
pub(super) fn of_body(key: Option<String>, path: &str, body: &Value) -> Option<Idempotency> {
    key.map(|key| Idempotency { scope: path.to_owned(), key, body_hash: canonical::hash(body) })
}
