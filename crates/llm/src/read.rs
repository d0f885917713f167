//! Reads the body of an answer: bounded in what is kept of it, in time between chunks, in how slowly it may come, and whole or not
//! at all.
//!
//! What it is, its first byte says, whatever its content type: `{` a plain answer, `<` a page, anything else an event stream.

use crate::{anthropic, fault, openai, profile::Profile, sse};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use maniple_core::{
    message::{ModelReply, Usage},
    model::{CallTimes, Fault, FaultKind, ModelRequest},
    ports::OnText,
};
use std::{fmt::Display, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// The most that is read of an answer, framing included. What is kept of it is bounded elsewhere.
const MAX_READ_BYTES: usize = 128 << 20;
/// The most a plain answer may weigh: it is kept whole until it is read.
const MAX_PLAIN_BYTES: usize = 32 << 20;
/// The most that is kept of what is no part of an answer, in bytes: it may say why there is none.
const MAX_STRAY_BYTES: usize = 8 << 10;
/// How long a connection may take to end after its last event, so that it can be used again.
const TAIL: Duration = Duration::from_millis(20);
/// How long usage is waited for once the model has said why it stopped.
const USAGE: Duration = Duration::from_secs(2);
/// How long the end of the stream is waited for once that has come too.
const END: Duration = Duration::from_millis(250);
/// Over which the pace of an answer is measured.
const PACE: Duration = Duration::from_secs(60);

/// When the whole of an attempt must have ended.
#[derive(Clone, Copy)]
pub struct Deadline {
    /// This long after its beginning.
    pub whole: Duration,
    /// Which is then.
    pub end: Instant,
}

impl Deadline {
    /// From now.
    pub fn within(whole: Duration) -> Self {
        Self { whole, end: Instant::now() + whole }
    }
    /// It has come.
    pub fn missed(&self) -> Fault {
        Fault::new(FaultKind::TimedOut, format!("no whole answer in {:?}", self.whole))
    }
}

/// What the events of a stream are put together with, and what stood among them.
pub struct Events {
    api: Dialect,
    stray: String,
}

enum Dialect {
    OpenAi(openai::stream::Stream),
    Anthropic(anthropic::stream::Stream),
}

impl Events {
    /// Of Chat Completions.
    pub fn openai() -> Self {
        Self { api: Dialect::OpenAi(Default::default()), stray: String::new() }
    }
    /// Of Messages.
    pub fn anthropic() -> Self {
        Self { api: Dialect::Anthropic(Default::default()), stray: String::new() }
    }

    /// Takes one event. `true` when it was the last.
    pub fn event(&mut self, event: &sse::Event, text: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        let data = event.data.trim();
        if event.name == "error" {
            return Err(fault::of_text(data));
        }
        let is_stray = event.name == sse::STRAY || !data.starts_with('{');
        if is_stray && data != openai::stream::DONE {
            return self.strayed(data);
        }
        match &mut self.api {
            Dialect::OpenAi(stream) => stream.event(data, text),
            Dialect::Anthropic(stream) => stream.event(data, text),
        }
    }

    /// A server that is alive says so in many ways; one that breaks off may say why, as JSON behind the events.
    fn strayed(&mut self, data: &str) -> Result<bool, Fault> {
        let room = MAX_STRAY_BYTES - self.stray.len();
        if room == 0 {
            return Ok(false);
        }
        self.stray.push_str(fault::head(data, room - 1));
        self.stray.push('\n');
        match serde_json::from_str::<serde_json::Value>(&self.stray) {
            Ok(json) if json.get("error").is_some_and(|error| !error.is_null()) => Err(fault::of_error(&json)),
            _ => Ok(false),
        }
    }

    /// Whether the model said why it stopped: then the answer is whole.
    fn is_finished(&self) -> bool {
        match &self.api {
            Dialect::OpenAi(stream) => stream.is_finished(),
            Dialect::Anthropic(stream) => stream.is_finished(),
        }
    }
    fn has_usage(&self) -> bool {
        match &self.api {
            Dialect::OpenAi(stream) => stream.has_usage(),
            Dialect::Anthropic(stream) => stream.is_finished(),
        }
    }
    fn spent(&self, request: &ModelRequest) -> Option<Usage> {
        match &self.api {
            Dialect::OpenAi(stream) => stream.spent(request),
            Dialect::Anthropic(stream) => stream.spent(request),
        }
    }

    /// The reply, if what came is whole.
    pub fn finish(self, request: &ModelRequest, profile: &Profile, text: &mut dyn FnMut(&str)) -> Result<ModelReply, Fault> {
        if !self.is_finished() && !self.stray.trim().is_empty() {
            return Err(Fault { usage: self.spent(request), ..fault::of_text(&self.stray) });
        }
        match self.api {
            Dialect::OpenAi(stream) => stream.finish(request, profile, text),
            Dialect::Anthropic(stream) => stream.finish(request, profile, text),
        }
    }
}

/// The reply in a body, whatever it is. Text goes to `text` as it comes.
pub async fn answer<E: Display>(
    body: impl Stream<Item = Result<Bytes, E>>,
    deadline: Deadline,
    mut events: Events,
    request: &ModelRequest,
    profile: &Profile,
    text: &mut OnText<'_>,
) -> Result<ModelReply, Fault> {
    let mut body = Box::pin(body);
    let mut pace = Pace::of(request.times, deadline);
    // Some servers send empty lines until they have something to say.
    let first = loop {
        let Some(chunk) = pace.next(&mut body).await? else { return events.finish(request, profile, text) };
        let space = chunk.iter().take_while(|byte| byte.is_ascii_whitespace() || b"\xef\xbb\xbf".contains(byte)).count();
        if space < chunk.len() {
            break chunk.slice(space..);
        }
    };
    match first[0] {
        b'{' | b'[' => {
            let whole = whole(first, &mut body, &mut pace).await?;
            plain(&whole, events, request, profile, text)
        }
        b'<' => {
            let page = whole(first, &mut body, &mut pace).await.unwrap_or_default();
            Err(fault::of_text(&page))
        }
        _ => {
            let read = stream(first, body, pace, &mut events, text).await;
            match read {
                Ok(()) => events.finish(request, profile, text),
                Err(fault) => Err(Fault { usage: fault.usage.or_else(|| events.spent(request)), ..fault }),
            }
        }
    }
}

/// An event stream, until its end or until all that is wanted of it has come.
async fn stream<E: Display>(
    first: Bytes,
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    mut pace: Pace,
    events: &mut Events,
    text: &mut OnText<'_>,
) -> Result<(), Fault> {
    let mut parser = sse::Parser::default();
    let mut until: Option<Instant> = None;
    let mut chunk = Some(first);
    while let Some(bytes) = chunk {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let is_whole = events.is_finished();
            let event = parser.feed(&mut rest);
            let event = event.map_err(|_| fault::cut_after(format!("an event of the answer has more than {} bytes", sse::MAX_EVENT_BYTES)));
            let ended = event.and_then(|event| event.map_or(Ok(false), |event| events.event(&event, text)));
            match ended {
                Ok(false) => {}
                Ok(true) => {
                    // The last chunk of the framing: reading it gives the connection back to the pool.
                    let _ = timeout(TAIL, body.next()).await;
                    return Ok(());
                }
                // What comes behind the end cannot take it back.
                Err(_) if is_whole => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
        if events.is_finished() {
            let by = Instant::now() + if events.has_usage() { END } else { USAGE };
            until = Some(until.map_or(by, |known| known.min(by)));
        }
        let next = pace.next(&mut body);
        chunk = match until {
            None => next.await?,
            Some(until) => timeout_at(until, next).await.unwrap_or(Ok(None)).unwrap_or(None),
        };
    }
    match parser.rest() {
        Some(event) if !events.is_finished() => events.event(&event, text).map(drop),
        _ => Ok(()),
    }
}

/// A plain answer: one JSON object, or several in a row, of which a later one may be an error; behind the end it takes nothing back.
fn plain(body: &str, mut events: Events, request: &ModelRequest, profile: &Profile, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
    for object in objects(body) {
        let event = sse::Event { name: String::new(), data: object.to_owned() };
        let is_whole = events.is_finished();
        match events.event(&event, text) {
            Ok(_) => {}
            Err(_) if is_whole => break,
            Err(fault) => return Err(Fault { usage: fault.usage.or_else(|| events.spent(request)), ..fault }),
        }
    }
    events.finish(request, profile, text)
}

/// The objects that stand in a row in a text; what cannot be read stays in one piece, for its reader to complain of.
fn objects(body: &str) -> Vec<&str> {
    let body = body.trim();
    let mut found = Vec::new();
    let mut read = serde_json::Deserializer::from_str(body).into_iter::<&serde_json::value::RawValue>();
    while let Some(Ok(object)) = read.next() {
        // An error as some of Google's servers write it.
        let object = object.get().trim();
        found.push(object.strip_prefix('[').and_then(|list| list.strip_suffix(']')).map_or(object, str::trim));
    }
    let rest = body.get(read.byte_offset()..).unwrap_or_default().trim();
    if found.is_empty() {
        found.push(body);
    } else if rest.starts_with('{') {
        found.push(rest);
    }
    found
}

/// All of a body whose first bytes have come, as text.
async fn whole<E: Display>(
    first: Bytes,
    body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    pace: &mut Pace,
) -> Result<String, Fault> {
    let mut bytes = first.to_vec();
    while let Some(chunk) = pace.next(body).await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_PLAIN_BYTES {
            return Err(fault::cut_after(format!("the answer has more than {MAX_PLAIN_BYTES} bytes")));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
    deadline: Deadline,
    read: usize,
    began: Instant,
    in_this_minute: usize,
}

impl Pace {
    fn of(times: CallTimes, deadline: Deadline) -> Self {
        Self { times, deadline, read: 0, began: Instant::now(), in_this_minute: 0 }
    }

    async fn next<E: Display>(&mut self, body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) -> Result<Option<Bytes>, Fault> {
        let between = self.times.between_chunks;
        let by = Instant::now() + between;
        let chunk = match timeout_at(by.min(self.deadline.end), body.next()).await {
            // What was heard until now was paid for.
            Err(_) if self.deadline.end <= by => return Err(self.deadline.missed()),
            Err(_) => return Err(Fault::new(FaultKind::TimedOut, format!("no further byte of the answer for {between:?}"))),
            Ok(None) => return Ok(None),
            Ok(Some(Err(e))) => return Err(fault::cut_after(format!("the answer broke off: {e}"))),
            Ok(Some(Ok(chunk))) => chunk,
        };
        self.read += chunk.len();
        if self.read > MAX_READ_BYTES {
            return Err(fault::cut_after(format!("the answer has more than {MAX_READ_BYTES} bytes")));
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
mod tests;
