//! Facts from outside.

use super::table::{State, Table};
use crate::rules;
use maniple_core::{
    Result, TaskKey, Time,
    ports::{Idempotency, KeyWas, Signalled},
    signal::{Signal, SignalKind},
    task::Ending,
};

impl Table {
    pub(super) fn signal(
        &mut self,
        key: &TaskKey,
        signal: Signal,
        idempotency: Option<Idempotency>,
        now: Time,
    ) -> Result<(Signalled, KeyWas)> {
        let number = *self.by_key.get(key).ok_or_else(|| rules::no_task(&key.id))?;
        if self.knows(&key.tenant, idempotency.as_ref(), now)? == KeyWas::Known {
            let row = &self.rows[&number];
            let present = row.result(now);
            let signalled = if row.state == State::Final { Signalled::Final(present) } else { Signalled::Recorded(present) };
            return Ok((signalled, KeyWas::Known));
        }
        let signalled = self.receive(number, signal, now)?;
        self.keep_key(&key.tenant, idempotency, key.id.as_str(), now);
        Ok((signalled, KeyWas::New))
    }

    fn receive(&mut self, number: u64, signal: Signal, now: Time) -> Result<Signalled> {
        let row = &self.rows[&number];
        if row.state == State::Final {
            return Ok(Signalled::Final(row.result(now)));
        }
        if signal.kind == SignalKind::Cancel && row.never_claimed() {
            let (event, _) = self.end(number, &Ending::cancelled(), now)?;
            return Ok(Signalled::Ended(self.rows[&number].result(now), event));
        }
        if !row.signals.iter().any(|(known, _)| known.id == signal.id) {
            if row.signals.len() as u64 >= rules::SIGNALS_MAX {
                return Err(rules::inbox_full(&row.key.id));
            }
            self.leave(number, Signal { at: now, ..signal }, now);
        }
        Ok(Signalled::Recorded(self.rows[&number].result(now)))
    }

    /// Puts a signal into the inbox; a parked task is ready.
    pub(super) fn leave(&mut self, number: u64, signal: Signal, now: Time) {
        let parked = self.change(number, |row| {
            row.signals.push((signal, false));
            row.state == State::Parked
        });
        if parked {
            self.make_ready(number, now);
        }
    }
}
