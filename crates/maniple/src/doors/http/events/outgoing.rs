//! A message on its way out, in pieces.
//!
//! Of a large event a connection holds one piece: the event itself is shared with all that read it, and while the client takes
//! nothing it is not held at all, but read again from the journal when there is room.

use super::Following;
use maniple_core::{Error, Result, TaskId, event::FRAME_TAIL, event::StoredEvent};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// The largest piece, and so what a connection that is not read holds, in bytes.
pub(super) const PIECE: usize = 4 << 10;
/// How long a client may take nothing until all that can be read again is let go of.
pub(super) const RESTS_AFTER: Duration = Duration::from_millis(100);

/// A text, with the data of an event in its midst where that is large.
pub(super) struct Outgoing {
    head: String,
    large: Option<Large>,
    tail: &'static str,
    /// How much of it is gone.
    at: usize,
}

struct Large {
    seq: u64,
    bytes: usize,
    held: Option<Arc<StoredEvent>>,
    /// Where somebody else holds it still.
    shared: Weak<StoredEvent>,
}

impl Outgoing {
    pub(super) fn text(text: String) -> Self {
        Self { head: text, large: None, tail: "", at: 0 }
    }

    /// An event as its readers are sent it, between `before` and `after`.
    pub(super) fn event(event: Arc<StoredEvent>, task_id: &TaskId, before: String, after: Tail) -> Self {
        let mut head = before + &event.frame_head(task_id);
        let (bytes, tail) = (event.data.get().len(), after.text());
        if bytes > PIECE {
            let large = Large { seq: event.seq, bytes, shared: Arc::downgrade(&event), held: Some(event) };
            return Self { head, large: Some(large), tail, at: 0 };
        }
        head.push_str(event.data.get());
        head.push_str(tail);
        Self::text(head)
    }

    pub(super) fn len(&self) -> usize {
        self.head.len() + self.large.as_ref().map_or(0, |large| large.bytes) + self.tail.len()
    }
    pub(super) fn left(&self) -> usize {
        self.len() - self.at
    }

    /// Holds no event any longer.
    pub(super) fn let_go(&mut self) {
        if let Some(large) = &mut self.large {
            large.held = None;
        }
    }

    /// The next piece; nothing at the end. An error where the event is gone, with its task.
    pub(super) async fn piece(&mut self, following: &mut Following) -> Result<Vec<u8>> {
        let event = self.large_event(following).await?;
        let data = event.as_ref().map_or("", |event| event.data.get());
        let mut piece = Vec::with_capacity(PIECE.min(self.left()));
        let mut skip = self.at;
        for part in [self.head.as_bytes(), data.as_bytes(), self.tail.as_bytes()] {
            let part_left = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            piece.extend_from_slice(&part_left[..part_left.len().min(PIECE - piece.len())]);
        }
        self.at += piece.len();
        Ok(piece)
    }

    async fn large_event(&mut self, following: &mut Following) -> Result<Option<Arc<StoredEvent>>> {
        let Some(large) = &mut self.large else { return Ok(None) };
        if large.held.is_none() {
            large.held = match large.shared.upgrade() {
                Some(event) => Some(event),
                None => following.reader.again(large.seq).await?,
            };
            large.shared = large.held.as_ref().map(Arc::downgrade).unwrap_or_default();
        }
        let held = large.held.clone().filter(|event| event.data.get().len() == large.bytes);
        held.map(Some).ok_or_else(|| Error::unavailable("the event is gone, with its task"))
    }
}

/// What stands behind the data of an event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tail {
    /// The end of the object.
    Object,
    /// The end of the object, and of the SSE frame.
    Frame,
}

impl Tail {
    fn text(self) -> &'static str {
        match self {
            Self::Object => FRAME_TAIL,
            Self::Frame => "}\n\n",
        }
    }
}
