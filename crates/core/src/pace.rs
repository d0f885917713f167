//! How many calls of a model may be in flight, learnt from its refusals. A value: who calls says what time it is.
//!
//! | what happens | the limit |
//! |---|---|
//! | nothing was refused yet, or not in the last minute | there is none |
//! | a call is refused that was the n-th in flight | n - 1 at most; the first refusal of a round takes three tenths more |
//! | a call is answered | + 1 until half of what was in flight before the refusals, and where none came for 5 s; else + 1/limit |
//!
//! A round is the calls that went before the limit was cut. What one call is told to wait holds all of them back.

use std::time::Duration;

/// Nobody's word holds everybody back for longer.
pub const HOLD_MAX: Duration = Duration::from_secs(60);
/// After so long without a refusal the limit grows quickly again: one that came by chance must not hold a later burst.
const CALM: Duration = Duration::from_secs(5);
/// After so long without a refusal there is no limit any more.
const FORGET: Duration = Duration::from_secs(60);
/// What the first refusal of a round leaves of the limit.
const CUT: f64 = 0.7;

/// The pace of a model's calls.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    in_flight: u32,
    /// How many calls have gone.
    gone: u64,
    limit: Option<f64>,
    /// Up to here the limit grows by one an answer.
    quick_to: f64,
    /// Calls up to this number belong to a round that was cut already.
    cut_at: u64,
    answered_since_cut: bool,
    refused_at: Duration,
    held_until: Duration,
}

/// The place of a call in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    number: u64,
    /// How many were in flight with it.
    of: u32,
}

/// Why a call may not go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Somebody was told to wait, and so long is left of it.
    For(Duration),
    /// As many are in flight as may be.
    Full,
}

impl Pace {
    /// A place for a call, to be given back by [`Pace::left`].
    pub fn admit(&mut self, now: Duration) -> Result<Place, Held> {
        if self.held_until > now {
            return Err(Held::For(self.held_until - now));
        }
        if self.limit.is_some_and(|limit| f64::from(self.in_flight) >= limit.floor().max(1.0)) {
            return Err(Held::Full);
        }
        self.in_flight += 1;
        self.gone += 1;
        Ok(Place { number: self.gone, of: self.in_flight })
    }
    /// The call is over, whatever became of it.
    pub fn left(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
    /// A call was answered.
    pub fn answered(&mut self, now: Duration) {
        self.answered_since_cut = true;
        let Some(limit) = &mut self.limit else { return };
        let calm = now.saturating_sub(self.refused_at);
        *limit += if *limit < self.quick_to || calm >= CALM { 1.0 } else { 1.0 / *limit };
        if calm >= FORGET {
            self.limit = None;
        }
    }
    /// A call was refused, because there are too many of them, and told to wait.
    pub fn refused(&mut self, now: Duration, place: Place, retry_after: Option<Duration>) {
        self.refused_at = now;
        self.held_until = self.held_until.max(now + retry_after.unwrap_or_default().min(HOLD_MAX));
        let had = self.limit.unwrap_or(f64::INFINITY);
        let mut limit = (f64::from(place.of) - 1.0).min(had);
        if place.number > self.cut_at {
            if self.limit.is_none() || self.answered_since_cut {
                self.quick_to = f64::from(self.in_flight).min(had) / 2.0;
            }
            self.answered_since_cut = false;
            self.cut_at = self.gone;
            limit *= CUT;
        }
        self.limit = Some(limit.max(1.0));
    }
    /// How many may be in flight; `None` for any number.
    pub fn limit(&self) -> Option<u32> {
        self.limit.map(|limit| limit.floor().max(1.0) as u32)
    }
    /// How long all are held back.
    pub fn holds(&self, now: Duration) -> Duration {
        self.held_until.saturating_sub(now)
    }
}
