//! How long those who wait trust the bus.

use std::time::Duration;
use tokio::time::Instant;

/// How long a waiting reader trusts the bus before it looks into the journal; the pause doubles up to four times this
/// while nothing happens.
const POLL: Duration = Duration::from_secs(1);

/// When to look into the journal though the bus said nothing: soon at first, then less often.
pub(super) struct Pulse {
    pause: Duration,
    /// The moment.
    pub(super) at: Instant,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { pause: POLL, at: Instant::now() + POLL }
    }
    /// Something came by the bus: it works.
    pub(super) fn heard(&mut self) {
        self.pause = POLL;
        self.at = Instant::now() + self.pause;
    }
    /// Nothing came, and the journal was read.
    pub(super) fn looked(&mut self) {
        self.pause = (self.pause * 2).min(POLL * 4);
        self.at = Instant::now() + self.pause;
    }
}
