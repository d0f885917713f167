//! A reader of one task's events: the journal first, then live; no gap, no repeat, to the last.
//!
//! | state | what it does |
//! |---|---|
//! | behind | reads the journal in pages until one is not full |
//! | level | waits for the bus; the next number is passed on, a higher one means behind |
//! | ended | the final event was passed on, or the task is gone |
//!
//! The bus may lose, repeat and reorder: only the numbers count. Deltas pass by as they come,
//! unless an event has replaced them or a higher attempt has voided them.
//!
//! What a reader holds is bounded in bytes, and shared with the other readers of its task. One whose client takes nothing is told to
//! [`Reader::rest`]: then it holds a number, and reads on from there.

use super::{Act, Desk, Presence, Sought, pages::Pages, pulse::Pulse};
use futures::{Stream, StreamExt, stream::BoxStream};
use maniple_core::{
    Principal, Result, TaskKey,
    event::{EventKind, StoredEvent},
    ports::{Delta, Live},
};
use std::{collections::VecDeque, sync::Arc};

/// What a reader is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// A recorded event, each once and in order.
    Event(Arc<StoredEvent>),
    /// A piece of a model's text, where nothing was lost.
    Delta(Delta),
}

/// One reader, which has a place among the streams until it is dropped. It is pulled: a slow one is left behind by the bus, loses deltas, and reads its events
/// from the journal.
pub struct Reader {
    pages: Pages,
    key: TaskKey,
    live: BoxStream<'static, Live>,
    /// The last number passed on.
    after: u64,
    page: VecDeque<Arc<StoredEvent>>,
    behind: bool,
    bus_ended: bool,
    ended: bool,
    pulse: Pulse,
    /// The last step whose text is whole: its deltas say nothing new.
    whole_step: u32,
    /// Step and attempt of the newest delta: lower ones are void.
    newest: (u32, u32),
    /// Whether it asked for what models thought.
    reasoning: bool,
    _seat: Presence,
}

impl Desk {
    /// Follows a task's events after the number `after` (0: from the first).
    ///
    /// `None` when the task has ended and nothing follows that number; `NotFound` for no such task, and for one that the principal
    /// may not see; `Unavailable`, or `Exhausted` for its tenant, where there is no place for another stream.
    pub async fn events(&self, who: &Principal, sought: &Sought, after: u64) -> Result<Option<Reader>> {
        Act::Follow.by(who)?;
        let (key, _) = self.seen(who, sought).await?;
        let seat = self.gate.stream(&key.tenant)?;
        let mut reader = self.reader(&key, self.parts.bus.subscribe(&key).await, after, seat);
        let now = self.now(&key).await?;
        if now.status.is_final() {
            reader.look().await?;
            if reader.page.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(reader))
    }

    pub(super) fn reader(&self, key: &TaskKey, live: BoxStream<'static, Live>, after: u64, seat: Presence) -> Reader {
        Reader {
            pages: self.pages.clone(),
            key: key.clone(),
            live,
            after,
            page: VecDeque::new(),
            behind: true,
            bus_ended: false,
            ended: false,
            pulse: Pulse::new(),
            whole_step: 0,
            newest: (0, 0),
            reasoning: false,
            _seat: seat,
        }
    }
}

impl Reader {
    /// One that has been handed the first events there are: the journal need not be read for them.
    pub(super) fn beginning_with(mut self, events: impl Iterator<Item = Arc<StoredEvent>>) -> Self {
        self.page = events.collect();
        self.behind = false;
        self
    }

    /// One that asked for what models thought, or did not.
    pub fn with_reasoning(mut self, reasoning: bool) -> Self {
        self.reasoning = reasoning;
        self
    }

    /// The task that is read.
    pub fn key(&self) -> &TaskKey {
        &self.key
    }

    /// What comes next; `None` after the final event. After an error, begin anew from the last number.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Told>> {
        while !self.ended {
            if let Some(event) = self.page.pop_front() {
                if let Some(event) = self.pass(event) {
                    return Ok(Some(Told::Event(event)));
                }
            } else if self.behind {
                self.look().await?;
            } else if let Some(told) = self.listen().await? {
                return Ok(Some(told));
            }
        }
        Ok(None)
    }

    /// Lets go of what was read ahead: it is read again when it is wanted.
    pub fn rest(&mut self) {
        if !self.page.is_empty() {
            self.page = VecDeque::new();
            self.behind = true;
        }
    }

    /// An event that was passed on, once more. `None` where its task is gone.
    pub async fn again(&mut self, seq: u64) -> Result<Option<Arc<StoredEvent>>> {
        let looked = self.pages.after(&self.key, seq.saturating_sub(1)).await?;
        Ok(looked.and_then(|looked| looked.events.first().cloned()).map(|event| event.shown(self.reasoning)))
    }

    /// As a stream that ends after the final event or an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Told>> + Send + use<> {
        futures::stream::unfold(self, |mut reader| async move {
            let told = reader.next().await.transpose()?;
            reader.ended |= told.is_err();
            Some((told, reader))
        })
    }

    /// Reads a page of the journal.
    async fn look(&mut self) -> Result<()> {
        let Some(looked) = self.pages.after(&self.key, self.after).await? else {
            // Erased or forgotten while it was read.
            self.ended = true;
            return Ok(());
        };
        self.behind = looked.is_cut;
        self.page = looked.events.iter().cloned().collect();
        Ok(())
    }

    /// Waits for the bus, or for the moment not to trust it any longer.
    async fn listen(&mut self) -> Result<Option<Told>> {
        tokio::select! {
            heard = self.live.next(), if !self.bus_ended => {
                self.pulse.heard();
                Ok(self.hear(heard))
            }
            () = tokio::time::sleep_until(self.pulse.at) => {
                self.pulse.looked();
                self.look().await?;
                if self.page.is_empty() {
                    // A reader that asked for what comes after the end waits for nothing.
                    self.ended |= self.pages.task(&self.key).await?.is_none_or(|now| now.status.is_final());
                }
                Ok(None)
            }
        }
    }

    fn hear(&mut self, heard: Option<Live>) -> Option<Told> {
        match heard {
            Some(Live::Event(event)) if event.seq <= self.after + 1 => self.pass(event).map(Told::Event),
            Some(Live::Event(_)) | Some(Live::Lagged) => {
                self.behind = true;
                None
            }
            Some(Live::Delta(delta)) => self.fresh(delta).map(Told::Delta),
            None => {
                self.bus_ended = true;
                self.behind = true;
                None
            }
        }
    }

    /// The event, if its reader has not had it.
    fn pass(&mut self, event: Arc<StoredEvent>) -> Option<Arc<StoredEvent>> {
        self.ended |= event.is_final();
        if event.seq <= self.after {
            return None;
        }
        self.after = event.seq;
        if event.kind() == Some(EventKind::ModelFinished) {
            self.whole_step = self.whole_step.max(event.step);
        }
        Some(event.shown(self.reasoning))
    }

    fn fresh(&mut self, delta: Delta) -> Option<Delta> {
        let place = (delta.step, delta.attempt);
        if delta.step <= self.whole_step || place < self.newest {
            return None;
        }
        self.newest = place;
        Some(delta)
    }
}
