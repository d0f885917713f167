//! What a fleet has of Redis: wake-ups and what is seen live between processes, and limits that all of them count.
//!
//! ```text
//! publish ─► gathered ─► one connection that all is said over ─► Redis ─► one that listens, a process ─► readers here
//! take ─────────────────► (away: counted here, divided by the processes there are)
//! ```
//!
//! Nothing of it is the truth: the store is. With everything in Redis gone, or Redis itself, tasks go on; they are seen and handed on a moment
//! later, by looking, and a limit may let through one window more.

mod bus;
mod eviction;
mod limiter;
mod link;
mod listen;
mod message;
mod place;
mod replicas;
mod tell;

pub use bus::Bus;
pub(crate) use eviction::examine;
pub use eviction::{Eviction, eviction};
pub use limiter::Limiter;
pub use link::Link;
pub use place::Place;
pub use replicas::Census;
