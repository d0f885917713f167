//! Stores and the bus: in memory and SQLite.
//!
//! | url | store |
//! |---|---|
//! | `sqlite:PATH` | [`sqlite::TaskStore`]: one file, one owning process, durable |
//! | `memory:` | [`memory::TaskStore`]: gone with the process |

pub mod clock;
pub mod local;
pub mod memory;
pub mod rules;

pub use clock::{Clock, SystemClock, TokioClock};
