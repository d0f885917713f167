//! Recording facts.

use super::{
    approval,
    args::args,
    batch::Work,
    failure::Refusal,
    here::Held,
    row::{self, Seen},
    signal,
    tx::{Locks, Tx},
    writes::Rows,
};
use crate::{
    life::{self, Recording, Row, State},
    rules::{self, Draft},
};
use async_trait::async_trait;
use maniple_core::{
    Result,
    ports::{Also, Append, Appended, Recorded, Then},
};
use std::sync::Arc;

/// An append with everything written out.
pub(super) struct Facts {
    pub(super) append: Append,
    drafts: Vec<Draft>,
    /// What of [`Append::also`] is written as text, in its order; empty for the rest.
    texts: Vec<String>,
    progresses: bool,
}

impl Facts {
    pub(super) fn of(append: Append) -> Result<Self> {
        let drafts = rules::drafts(&append)?;
        let texts = append.also.iter().map(rules::text).collect::<Result<_>>()?;
        let progresses = append.events.iter().any(|(_, event)| event.is_progress());
        Ok(Self { drafts, texts, progresses, append })
    }

    /// Of a claim that is not known to be held here.
    pub(super) async fn find_and_record(&self, tx: &mut Tx<'_>) -> Result<Appended, Refusal> {
        let seen = row::locked(tx, &self.append.claim.key, self.may_end()).await?;
        self.record(tx, seen).await
    }

    async fn record(&self, tx: &mut Tx<'_>, seen: Option<Seen>) -> Result<Appended, Refusal> {
        let append = &self.append;
        let Some(Seen { mut row, .. }) = seen else { return Ok(Appended::Stale) };
        let row = &mut row;
        // Asked only where they count.
        let unread = match append.then {
            Then::Park(_) if row.signals > 0 => signal::unread(&tx.rows(signal::UNREAD, args![row.number]).await?)?,
            _ => Vec::new(),
        };
        let overlooked = approval::overlooked(tx, row, &append.also).await?;
        match life::record(row, append, || Ok::<_, Refusal>(unread), || Ok(overlooked))? {
            Recording::Now => {}
            Recording::PerhapsBefore => return self.recorded_before(tx, row).await,
            Recording::Refused(why) => return Ok(Appended::Refused(why)),
        }

        let mut events = row::record(tx, row, &self.drafts);
        for (also, text) in append.also.iter().zip(&self.texts) {
            match also {
                Also::Definitions(kept) => {
                    keep_definition(tx, &kept.0, text);
                    tx.put(Rows::Defined, args![row.number, &kept.0]);
                }
                Also::Ask { event } => approval::ask(tx, row, append, *event)?,
                Also::Settle { id, answer } => approval::settle(tx, row, id, *answer),
            }
        }
        row.came_on(append.progress.clone(), self.progresses);
        let mut readied = false;
        match &append.then {
            Then::Keep => self.keep(tx, row),
            Then::Park(awaited) => {
                self.keep(tx, row);
                row.parked(awaited);
                let park =
                    "UPDATE live SET state = 4, until = $2, due = $3, waiting_for = $4, worker = NULL, lease_until = NULL WHERE task = $1";
                tx.write(park, args![row.number, row.until, row.due(), awaited.what.as_str()]);
            }
            Then::End(ending) => {
                let (_, event, released) = row::end(tx, row, ending).await?;
                events.push(event);
                readied = released;
            }
        }
        Ok(Appended::Recorded(Recorded { events, readied }))
    }

    /// What every append that does not end the task writes into its row.
    fn keep(&self, tx: &mut Tx<'_>, row: &Row) {
        let progress = &row.header.progress;
        tx.put(
            Rows::Kept,
            args![
                row.number,
                row.last_seq,
                row.last_step,
                row.progressed,
                row.barren_expired,
                progress.steps_used,
                progress.tokens_used,
                progress.tool_calls,
                progress.cost_usd,
                progress.model.clone(),
                tx.now,
            ],
        );
        if !self.append.signals_read.is_empty() {
            let read = "UPDATE signals SET read = true WHERE task = $1 AND id = ANY($2)";
            tx.write(read, args![row.number, self.append.signals_read.clone()]);
        }
    }

    /// The events of an append whose reply was lost.
    async fn recorded_before(&self, tx: &Tx<'_>, row: &Row) -> Result<Appended, Refusal> {
        let Some(count) = life::repeats_count(row, &self.append, &self.drafts) else { return Ok(Appended::Stale) };
        let stored = row::journal(&tx.rows(row::JOURNAL, args![row.number, self.append.after, count]).await?)?;
        if !life::repeats(&self.append, &self.drafts, &stored) {
            return Ok(Appended::Stale);
        }
        let events = stored.into_iter().map(|(_, event)| Arc::new(event)).collect();
        Ok(Appended::Recorded(Recorded { events, readied: true }))
    }

    fn may_end(&self) -> bool {
        matches!(self.append.then, Then::End(_))
    }
    /// Whether the claim is the holder's no more, once this is recorded.
    pub(super) fn lets_go(&self) -> bool {
        !matches!(self.append.then, Then::Keep)
    }
}

/// An append under a claim that is held here.
pub(super) struct Appending {
    pub(super) facts: Arc<Facts>,
    pub(super) held: Held,
}

#[async_trait]
impl Work for Appending {
    type Answer = Appended;
    fn locks(&self) -> Locks {
        let names = if self.facts.may_end() { vec![self.held.session.clone()] } else { Vec::new() };
        Locks { names, task: Some(self.held.number) }
    }
    async fn work(&self, tx: &mut Tx<'_>) -> Result<Appended, Refusal> {
        let seen = row::known(tx, self.held.number).await?;
        self.facts.record(tx, seen).await
    }
}

/// Definitions are written once, whoever begins with them, and a task points to them: who forgets them at the same time makes this fail.
pub(super) fn keep_definition(tx: &mut Tx<'_>, hash: &str, data: &str) {
    if !tx.link.here.has_definition(hash) {
        tx.put(Rows::Definitions, args![hash, data]);
        tx.link.here.learn_definition(hash);
    }
}

// `Row::due` of a running task is never: an append under a claim leaves its column as it is.
const _: () = assert!(State::Running as i64 == 3);
