//! What can interrupt a driver while it waits.

use crate::lease::{News, Watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How the process asks its drivers to leave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    /// Hand over as soon as you can.
    pub(crate) begun: CancellationToken,
    /// The bound has come: what is still in flight is in doubt.
    pub(crate) over: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// There are unread signals.
    Signals,
    /// The task's deadline has passed.
    Deadline,
    /// The process is to stop: hand over.
    Drain,
    /// The claim is gone: stop, write nothing.
    Lost,
}

pub(super) struct Interrupts {
    watch: Watch,
    deadline: Option<Instant>,
    drain: Drain,
    /// Said once: whoever goes on waiting then waits for something else.
    drain_told: bool,
}

impl Interrupts {
    pub(super) fn new(watch: Watch, deadline: Option<Instant>, drain: Drain) -> Self {
        // A moment later, so that the run's clock, in whole milliseconds, has passed it too.
        let deadline = deadline.map(|deadline| deadline + std::time::Duration::from_millis(1));
        Self { watch, deadline, drain, drain_told: false }
    }

    pub(super) fn draining(&self) -> bool {
        self.drain.begun.is_cancelled()
    }

    /// What is left until the deadline.
    pub(super) fn left(&self) -> Option<std::time::Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Cancelled when a draining process can wait no longer.
    pub(super) fn out_of_patience(&self) -> CancellationToken {
        self.drain.over.clone()
    }

    /// Resolves when something interrupts. Cancel-safe. A drain interrupts once.
    pub(super) async fn next(&mut self) -> Interrupt {
        let deadline = self.deadline;
        let passed = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            news = self.watch.news() => match news {
                News::Signals => Interrupt::Signals,
                News::Lost => Interrupt::Lost,
            },
            () = passed => Interrupt::Deadline,
            () = self.drain.begun.cancelled(), if !self.drain_told => {
                self.drain_told = true;
                Interrupt::Drain
            }
        }
    }
}
