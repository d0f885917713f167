//! Reads the body of an answer: bounded in size, in time between chunks, in how slowly it may come, and whole or not at all.

use crate::{anthropic, fault, openai, sse};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use maniple_core::{
    message::ModelReply,
    model::{CallTimes, Fault, FaultKind, ModelRequest},
    ports::OnText,
};
use std::{fmt::Display, time::Duration};
use tokio::time::{Instant, timeout};

/// The most an answer may weigh, framing included.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;
/// How long a connection may take to end after its last event, so that it can be used again.
const TAIL: Duration = Duration::from_millis(20);
/// Over which the pace of an answer is measured.
const PACE: Duration = Duration::from_secs(60);

/// What the events of a stream are put together with, by API.
pub enum Events {
    OpenAi(openai::stream::Stream),
    Anthropic(anthropic::stream::Stream),
}

impl Events {
    /// Takes one event. `true` when it was the last.
    pub fn event(&mut self, event: &sse::Event, text: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        match self {
            Self::OpenAi(stream) => stream.event(&event.name, &event.data, text),
            Self::Anthropic(stream) => stream.event(&event.data, text),
        }
    }
    /// The reply, if what came is whole.
    pub fn finish(self, request: &ModelRequest) -> Result<ModelReply, Fault> {
        match self {
            Self::OpenAi(stream) => stream.finish(request),
            Self::Anthropic(stream) => stream.finish(request),
        }
    }
}

/// The reply in an event stream. Text goes to `text` as it comes.
pub async fn events<E: Display>(
    body: impl Stream<Item = Result<Bytes, E>>,
    mut events: Events,
    request: &ModelRequest,
    text: &mut OnText<'_>,
) -> Result<ModelReply, Fault> {
    let mut body = Box::pin(body);
    let (mut parser, mut pace) = (sse::Parser::default(), Pace::of(request.times));
    while let Some(chunk) = pace.next(&mut body).await? {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let event = parser.feed(&mut rest).map_err(|broken| match broken {
                sse::Broken::TooLarge => fault::cut_after(format!("an event of the answer has more than {} bytes", sse::MAX_EVENT_BYTES)),
                sse::Broken::NotUtf8 => fault::cut_after("the answer is not UTF-8 text"),
            })?;
            let Some(event) = event else { continue };
            if events.event(&event, text)? {
                // The last chunk of the framing: reading it gives the connection back to the pool.
                let _ = timeout(TAIL, body.next()).await;
                return events.finish(request);
            }
        }
    }
    events.finish(request)
}

/// A whole body.
pub async fn whole<E: Display>(body: impl Stream<Item = Result<Bytes, E>>, times: CallTimes) -> Result<Vec<u8>, Fault> {
    let mut body = Box::pin(body);
    let (mut bytes, mut pace) = (Vec::new(), Pace::of(times));
    while let Some(chunk) = pace.next(&mut body).await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The beginning of an error body: what cannot be read in time or at all is left out.
pub async fn error_text<E>(body: impl Stream<Item = Result<Bytes, E>>, between: Duration) -> String {
    let mut body = Box::pin(body);
    let mut bytes = Vec::new();
    while let Ok(Some(Ok(chunk))) = timeout(between, body.next()).await {
        let room = fault::MAX_ERROR_BODY_BYTES - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if bytes.len() == fault::MAX_ERROR_BODY_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How much of an answer has come, and how fast.
struct Pace {
    times: CallTimes,
    read: usize,
    began: Instant,
    in_this_minute: usize,
}

impl Pace {
    fn of(times: CallTimes) -> Self {
        Self { times, read: 0, began: Instant::now(), in_this_minute: 0 }
    }

    async fn next<E: Display>(&mut self, body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) -> Result<Option<Bytes>, Fault> {
        let between = self.times.between_chunks;
        let chunk = match timeout(between, body.next()).await {
            Err(_) => return Err(Fault::new(FaultKind::TimedOut, format!("no further byte of the answer for {between:?}"))),
            Ok(None) => return Ok(None),
            Ok(Some(Err(e))) => return Err(fault::cut_after(format!("the answer broke off: {e}"))),
            Ok(Some(Ok(chunk))) => chunk,
        };
        self.read += chunk.len();
        if self.read > MAX_ANSWER_BYTES {
            return Err(fault::cut_after(format!("the answer has more than {MAX_ANSWER_BYTES} bytes")));
        }
        self.in_this_minute += chunk.len();
        if self.began.elapsed() >= PACE {
            let (came, fewest) = (self.in_this_minute, self.times.bytes_a_minute);
            if came < fewest as usize {
                let told = format!("the answer came at {came} bytes a minute, and the least is {fewest} (worker.bytes_a_minute)");
                return Err(Fault::new(FaultKind::TimedOut, told));
            }
            (self.began, self.in_this_minute) = (Instant::now(), 0);
        }
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{openai, request};
    use futures::stream;

    /// A body that says `:` every `seconds`, for ever.
    fn drip(seconds: u64) -> impl Stream<Item = Result<Bytes, String>> {
        stream::unfold((), move |()| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Some((Ok(Bytes::from_static(b":\n")), ()))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_above_the_time_between_chunks_is_a_time_out() {
        let (request, begun) = (request("hi"), Instant::now());
        let fault = events(drip(31), openai(), &request, &mut |_| {}).await.expect_err("late");
        assert_eq!((fault.kind, begun.elapsed()), (FaultKind::TimedOut, Duration::from_secs(30)));
        let lasting = tokio::time::timeout(Duration::from_secs(3600), events(drip(10), openai(), &request, &mut |_| {})).await;
        assert!(lasting.is_err(), "a server that shows life is waited for, until the whole call ends");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_drips_is_a_time_out_after_a_minute() {
        let (request, begun) = (request("hi"), Instant::now());
        let fault = events(drip(20), openai(), &request, &mut |_| {}).await.expect_err("too slow");
        assert_eq!((fault.kind, begun.elapsed()), (FaultKind::TimedOut, Duration::from_secs(60)));
        assert_eq!(fault.message, "the answer came at 6 bytes a minute, and the least is 10 (worker.bytes_a_minute)");
        let any = CallTimes { bytes_a_minute: 0, ..request.times };
        let lasting = tokio::time::timeout(Duration::from_secs(3600), whole(drip(20), any)).await;
        assert!(lasting.is_err(), "unless any pace will do");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_lingers_after_its_last_event_holds_nobody_up() {
        let whole = Bytes::from_static(include_bytes!("../golden/openai/tool-call.sse"));
        let body = stream::iter([Ok(whole)]).chain(drip(25));
        let begun = Instant::now();
        let reply = events(body, openai(), &request("hi"), &mut |_| {}).await.expect("a reply");
        assert_eq!((reply.calls.len(), begun.elapsed() <= TAIL * 2), (2, true));
    }

    #[tokio::test]
    async fn an_error_body_is_read_as_far_as_it_comes() {
        let body = stream::iter([Ok(Bytes::from_static(b"half")), Err("cut")]);
        assert_eq!(error_text(body, Duration::from_secs(1)).await, "half");
        let endless = stream::repeat_with(|| Ok::<_, String>(Bytes::from(vec![b'x'; 1000])));
        assert_eq!(error_text(endless, Duration::from_secs(1)).await.len(), fault::MAX_ERROR_BODY_BYTES);
    }
}
