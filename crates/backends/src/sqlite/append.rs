//! Recording facts.

use super::{approval, failure::Refusal, row, signal, writer::Tx};
use crate::{
    life::{self, Recording, Row, State},
    rules::{self, Draft},
};
use maniple_core::{
    Result,
    ports::{Also, Append, Appended, Recorded, Then},
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
        let texts = append.also.iter().map(rules::text).collect::<Result<_>>()?;
        let progresses = append.events.iter().any(|(_, event)| event.is_progress());
        Ok(Self { drafts, texts, progresses, append })
    }

    pub(super) fn record(&self, tx: &mut Tx) -> Result<Appended, Refusal> {
        let key = &self.append.claim.key;
        let row = tx.held.remove(key).map_or_else(|| row::find(tx.db, key), |row| Ok(Some(row)))?;
        let Some(mut row) = row else { return Ok(Appended::Stale) };
        let appended = self.record_in(tx, &mut row)?;
        if row.state == State::Running {
            tx.held.insert(key.clone(), row);
        }
        Ok(appended)
    }

    fn record_in(&self, tx: &mut Tx, row: &mut Row) -> Result<Appended, Refusal> {
        let append = &self.append;
        let unread = || signal::unread(tx.db, row.number);
        match life::record(row, append, unread, || approval::overlooked(tx.db, row, &append.also))? {
            Recording::Now => {}
            Recording::PerhapsBefore => return self.recorded_before(tx, row),
            Recording::Refused(why) => return Ok(Appended::Refused(why)),
        }

        let (mut events, mut readied) = (Vec::with_capacity(self.drafts.len() + 1), false);
        for draft in &self.drafts {
            events.push(row::record(tx, row, draft)?);
        }
        for (also, text) in append.also.iter().zip(&self.texts) {
            match also {
                Also::Definitions(kept) => {
                    let number = definition(tx, &kept.0, text)?;
                    tx.db.prepare_cached("UPDATE tasks SET definition = ?2 WHERE row = ?1")?.execute((row.number, number))?;
                }
                Also::Ask { event } => approval::ask(tx, row, append, *event)?,
                Also::Settle { id, answer } => approval::settle(tx, row, id, *answer)?,
            }
        }
        row.came_on(append.progress.clone(), self.progresses);
        match &append.then {
            Then::Keep => self.keep(tx, row)?,
            Then::Park(awaited) => {
                self.keep(tx, row)?;
                row.parked(awaited);
                let mut park = tx.db.prepare_cached("UPDATE tasks SET state = 4, until = ?2, due = ?3, waiting_for = ?4 WHERE row = ?1")?;
                park.execute((row.number, row.until.map(|time| time.0), row::due(row), awaited.what.as_str()))?;
                tx.leased.insert(row.number, None);
            }
            Then::End(ending) => {
                let (_, event, released) = row::end(tx, row, ending)?;
                events.push(event);
                readied = released;
            }
        }
        Ok(Appended::Recorded(Recorded { events, readied }))
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

    /// The events of an append whose reply was lost.
    fn recorded_before(&self, tx: &Tx, row: &Row) -> Result<Appended, Refusal> {
        let Some(count) = life::repeats_count(row, &self.append, &self.drafts) else { return Ok(Appended::Stale) };
        let after = i64::try_from(self.append.after).unwrap_or(i64::MAX);
        let stored = row::events(tx.db, row.number, after, count, usize::MAX)?;
        if !life::repeats(&self.append, &self.drafts, &stored) {
            return Ok(Appended::Stale);
        }
        let events = stored.into_iter().map(|(_, event)| Arc::new(event)).collect();
        Ok(Appended::Recorded(Recorded { events, readied: true }))
    }
}

/// The number of definitions: they are written once, whoever begins with them, and a task points to them.
pub(super) fn definition(tx: &mut Tx, hash: &String, data: &String) -> Result<i64, Refusal> {
    if let Some(number) = tx.known.get(hash) {
        return Ok(*number);
    }
    let mut stored = tx.db.prepare_cached("SELECT row FROM definitions WHERE hash = ?1")?;
    let stored: Option<i64> = stored.query_row([hash], |row| row.get(0)).optional()?;
    let mut insert = tx.db.prepare_cached("INSERT INTO definitions (hash, data) VALUES (?1, ?2)")?;
    let number = stored.map_or_else(|| insert.insert((hash, data)), Ok)?;
    tx.known.insert(hash.clone(), number);
    Ok(number)
}
