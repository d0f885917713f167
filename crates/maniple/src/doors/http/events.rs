//! A task's events: as SSE, or as a WebSocket on upgrade. The same objects, the same numbers.
//!
//! A stream holds a reader and a piece of some KiB, however large its events: a slow client is left behind by the bus and loses deltas first;
//! one whose connection takes nothing for [`super::server::STALLED`] loses it. Nothing that happens here touches the task.

mod outgoing;
mod socket;
mod sse;

use super::{
    Door,
    answer::Refusal,
    auth::Who,
    place::{Asked, Place},
    visitor,
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use maniple_api::{Problem, page};
use maniple_core::Error;
use maniple_runtime::desk::{Act, Reader, Told};
use serde::Deserialize;
use socket::Upgrade;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long a stream may be silent before a comment, or a ping, keeps it open.
const KEPT_OPEN: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    after: Option<String>,
    include: Option<String>,
}

impl EventsQuery {
    /// Whether what models thought is asked for.
    pub(super) fn wants_reasoning(&self) -> bool {
        self.include.as_deref().is_some_and(|include| include.split(',').any(|part| part.trim() == "reasoning"))
    }
}

pub(super) async fn events(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<EventsQuery>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    Act::Follow.by(&who)?;
    let after = resume_after(&headers, query.after.as_deref())?;
    let reader = door.desk.events(&who, &place.task()?, after).await?.map(|reader| reader.with_reasoning(query.wants_reasoning()));
    if wants_upgrade(&headers) {
        // Browsers let any page open a WebSocket to any host.
        visitor::is_no_foreign_page(&headers, &door.cors)?;
        return Ok(upgrade.tell(reader.map(|reader| Following::of(&door, reader)), &door.sockets)?);
    }
    match reader {
        Some(reader) => Ok(stream(&door, reader)),
        // 204 is what stops a browser's EventSource.
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// A reader on its way out.
struct Following {
    reader: Reader,
    closing: CancellationToken,
}

/// What a connection is to be sent next.
enum Next {
    Told(Told),
    /// Nothing happened for a while.
    KeepOpen,
    /// The final event was told.
    End,
    /// The node leaves: the reader resumes elsewhere.
    Leave,
    /// The journal could not be read: the reader tries again.
    Broken(Error),
}

impl Following {
    fn of(door: &Door, reader: Reader) -> Self {
        Self { reader, closing: door.closing.clone() }
    }

    /// Dropping the future loses nothing.
    async fn next(&mut self) -> Next {
        let told = tokio::time::timeout(KEPT_OPEN, self.reader.next());
        let told = tokio::select! {
            told = told => told,
            () = self.closing.cancelled() => return Next::Leave,
        };
        match told {
            Ok(Ok(Some(told))) => Next::Told(told),
            Ok(Ok(None)) => Next::End,
            Ok(Err(error)) => Next::Broken(error),
            Err(_) => Next::KeepOpen,
        }
    }
}

/// What a reader is told, as SSE.
pub(super) fn stream(door: &Door, reader: Reader) -> Response {
    sse::response(Following::of(door, reader))
}

/// The number to resume after: the header wins over the query. Both must be numbers.
fn resume_after(headers: &HeaderMap, query: Option<&str>) -> Result<u64, Refusal> {
    let header = headers.get("last-event-id").map(|id| number("Last-Event-ID", id.to_str().ok())).transpose()?;
    let query = query.map(|after| number("after", Some(after))).transpose()?;
    Ok(header.or(query).unwrap_or(0))
}

fn number(name: &str, given: Option<&str>) -> Result<u64, Refusal> {
    let number = given.filter(|text| !text.is_empty()).and_then(page::number).filter(|number| *number <= i64::MAX as u64);
    number.ok_or_else(|| Problem::malformed(format!("{name} must be the number of an event")).at(name).into())
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
