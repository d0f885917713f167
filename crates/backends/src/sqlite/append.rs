//! Recording facts.

use super::{
    State, approval,
    failure::Refusal,
    row::{self, Row},
    signal,
    writer::Tx,
};
use crate::rules::{self, Draft};
use maniple_core::{
    Error, Result,
    event::StoredEvent,
    ports::{Also, Append, Appended, OutboxRow, Refused, Then},
    run::Awaited,
};
use rusqlite::{OptionalExtension, params};
use std::sync::Arc;

/// An append with everything written out, so that the writer need not.
pub(super) struct Facts {
    append: Append,
    drafts: Vec<Draft>,
    /// What of [`Append::also`] is written as text, in its order; empty for the rest.
    texts: Vec<String>,
    progresses: bool,
}

impl Facts {
    pub(super) fn of(append: Append) -> Result<Self> {
        let drafts = rules::drafts(&append)?;
        let unwritable = |e: serde_json::Error| Error::internal("an append cannot be written").because(e);
        let text = |also: &Also| match also {
            Also::Definitions(kept) => serde_json::to_string(&kept.1),
            Also::Outbox(row) => serde_json::to_string(&row.payload),
            Also::Ask { .. } | Also::Settle { .. } => Ok(String::new()),
        };
        let texts = append.also.iter().map(text).collect::<Result<_, _>>().map_err(unwritable)?;
        let progresses = append.events.iter().any(|(_, event)| event.is_progress());
        Ok(Self { drafts, texts, progresses, append })
    }

    pub(super) fn record(&self, tx: &mut Tx) -> Result<Appended, Refusal> {
        let append = &self.append;
        let Some(mut row) = row::find(tx.db, &append.claim.key)? else { return Ok(Appended::Stale) };
        let held = row.state == State::Running && row.epoch as u64 == append.claim.epoch;
        if !held || row.last_seq as u64 != append.after {
            return Ok(self.recorded_before(tx, &row, held)?.map_or(Appended::Stale, Appended::Recorded));
        }
        let parks = matches!(append.then, Then::Park(_));
        if parks && row.signals > 0 && signal::unread(tx.db, row.number)?.iter().any(|signal| !append.signals_read.contains(&signal.id)) {
            return Ok(Appended::Refused(Refused::SignalsUnread));
        }
        if let Some(id) = approval::overlooked(tx.db, &row, &append.also)? {
            return Ok(Appended::Refused(Refused::Decided(id)));
        }

        let mut events = Vec::with_capacity(self.drafts.len() + 1);
        for draft in &self.drafts {
            let seq = row.last_seq as u64 + 1;
            events.push(row.record(tx.db, draft.numbered(seq, tx.now))?);
        }
        for (also, text) in append.also.iter().zip(&self.texts) {
            match also {
                Also::Definitions(kept) => self.keep_definitions(tx, &row, &kept.0, text)?,
                Also::Ask { event } => approval::ask(tx, &row, append, *event)?,
                Also::Settle { id, answer } => approval::settle(tx, &row, id, *answer)?,
                Also::Outbox(to) => keep_outbox(tx, &row, to, text)?,
            }
        }
        row.header.progress = append.progress.clone();
        if self.progresses {
            (row.progressed, row.barren_expired, row.barren_open) = (true, 0, 0);
        }
        match &append.then {
            Then::Keep => self.keep(tx, &row)?,
            Then::Park(Awaited { what, until }) => {
                self.keep(tx, &row)?;
                row.until = *until;
                row.state = State::Parked;
                let mut park = tx.db.prepare_cached("UPDATE tasks SET state = 4, until = ?2, due = ?3, waiting_for = ?4 WHERE row = ?1")?;
                park.execute((row.number, until.map(|time| time.0), row.due(), row::waiting_name(*what)))?;
                tx.leased.insert(row.number, None);
            }
            Then::End(ending) => events.push(row::end(tx, &mut row, ending)?.1),
        }
        Ok(Appended::Recorded(events))
    }

    /// What every append that does not end the task writes into its row.
    fn keep(&self, tx: &Tx, row: &Row) -> Result<(), Refusal> {
        let progress = &row.header.progress;
        let mut update = tx.db.prepare_cached(
            "UPDATE tasks SET last_seq = ?2, last_step = ?3, progressed = ?4, barren_expired = ?5, barren_open = ?6, steps_used = ?7, \
             tokens_used = ?8, tool_calls = ?9, cost_usd = ?10, model = ?11 WHERE row = ?1",
        )?;
        update.execute(params![
            row.number,
            row.last_seq,
            row.last_step,
            row.progressed,
            row.barren_expired,
            row.barren_open,
            progress.steps_used,
            progress.tokens_used as i64,
            progress.tool_calls,
            progress.cost_usd,
            progress.model
        ])?;
        for id in &self.append.signals_read {
            tx.db.prepare_cached("UPDATE signals SET read = 1 WHERE task = ?1 AND id = ?2")?.execute((row.number, id))?;
        }
        Ok(())
    }

    /// Definitions are written once, whoever begins with them; a task points to them.
    fn keep_definitions(&self, tx: &mut Tx, row: &Row, hash: &String, data: &String) -> Result<(), Refusal> {
        let number = match tx.known.get(hash) {
            Some(number) => *number,
            None => {
                let mut stored = tx.db.prepare_cached("SELECT row FROM definitions WHERE hash = ?1")?;
                let stored: Option<i64> = stored.query_row([hash], |row| row.get(0)).optional()?;
                let mut insert = tx.db.prepare_cached("INSERT INTO definitions (hash, data) VALUES (?1, ?2)")?;
                let number = stored.map_or_else(|| insert.insert((hash, data)), Ok)?;
                tx.known.insert(hash.clone(), number);
                number
            }
        };
        if row.definition != Some(number) {
            tx.db.prepare_cached("UPDATE tasks SET definition = ?2 WHERE row = ?1")?.execute((row.number, number))?;
        }
        Ok(())
    }

    /// The events of an append whose reply was lost. A holder that would go on must still hold its claim.
    fn recorded_before(&self, tx: &Tx, row: &Row, held: bool) -> Result<Option<Vec<Arc<StoredEvent>>>, Refusal> {
        let mut count = self.drafts.len();
        match &self.append.then {
            Then::Keep if !held || count == 0 => return Ok(None),
            Then::Keep | Then::Park(_) => {}
            Then::End(_) => count += 1,
        }
        let after = i64::try_from(self.append.after).unwrap_or(i64::MAX);
        let stored = row::events(tx.db, row.number, after, count)?;
        let own = stored.len() == count && stored.iter().all(|(epoch, _)| *epoch as u64 == self.append.claim.epoch);
        let alike = self.drafts.iter().zip(&stored).all(|(draft, (_, stored))| draft.is(stored));
        let ended = match &self.append.then {
            Then::Keep | Then::Park(_) => true,
            Then::End(ending) => stored.last().is_some_and(|(_, event)| rules::ends_alike(event, ending)),
        };
        Ok((own && alike && ended).then(|| stored.into_iter().map(|(_, event)| Arc::new(event)).collect()))
    }
}

fn keep_outbox(tx: &Tx, row: &Row, to: &OutboxRow, payload: &str) -> Result<(), Refusal> {
    let mut insert = tx.db.prepare_cached("INSERT INTO outbox (task, topic, key, payload) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute((row.number, &to.topic, &to.key, payload))?;
    Ok(())
}
