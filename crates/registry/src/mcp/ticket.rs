//! Whether a request may still be written, and whether it was.
//!
//! | from | by | to |
//! |---|---|---|
//! | waiting | the transport, before the first byte | written |
//! | waiting | the caller, who gives up | withdrawn: the transport will not write it any more |
//! | written | the transport, which knows that no byte left | withdrawn |
//!
//! It travels with the request, in its extensions, through queues that know nothing of it. Without it a request that
//! its caller has given up on could still be written later, while the caller believes that it was not sent.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

const WAITING: u8 = 0;
const WRITTEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// The right to write one request once.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    /// Asked by the transport right before the first byte: whether the request is to be written at all.
    pub(super) fn write(&self) -> bool {
        self.step(WAITING, WRITTEN)
    }
    /// Told by the transport that not a byte of it left.
    pub(super) fn unwritten(&self) {
        self.step(WRITTEN, WITHDRAWN);
    }
    /// Given up by the caller: true where it was never written, and now never will be.
    pub(super) fn withdraw(&self) -> bool {
        self.step(WAITING, WITHDRAWN) || self.0.load(Ordering::SeqCst) == WITHDRAWN
    }
    fn step(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_withdrawn_is_never_written_and_what_is_written_cannot_be_withdrawn() {
        let given_up = Ticket::default();
        assert!(given_up.withdraw());
        assert!(!given_up.clone().write(), "it was given up");
        assert!(given_up.withdraw());

        let written = Ticket::default();
        assert!(written.clone().write());
        assert!(!written.write(), "written once");
        assert!(!written.withdraw());
        written.unwritten();
        assert!(written.withdraw());
    }
}
