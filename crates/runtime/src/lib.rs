//! Claims tasks and drives them to their outcome.
//!
//! ```text
//! worker: claim ─► driver: next ─► record ─► act ─► tell ─► next …  ─► end | park | hand over
//! ```
//! A worker remembers nothing between tasks: kill it anywhere and another one continues from the journal.

pub mod agent;
pub mod desk;
mod driver;
mod ended;
pub mod health;
pub mod jobs;
mod lease;
pub mod spans;
pub mod worker;

pub use agent::catalog::Agents;
pub use health::ModelHealth;
pub use worker::{Starter, Worker, WorkerSettings};

use maniple_aside::Aside;
use maniple_core::ports::{Bus, Models, Tools, Work};
use std::sync::Arc;

/// What a worker works with.
#[derive(Clone)]
pub struct Parts {
    /// Who works on what, and what is recorded of it.
    pub work: Arc<dyn Work>,
    /// Hints.
    pub bus: Arc<dyn Bus>,
    /// Whom agents ask.
    pub models: Arc<dyn Models>,
    /// What agents call.
    pub tools: Arc<dyn Tools>,
    /// The agents of this node.
    pub agents: Agents,
    /// Breakers and the retry budget, shared by all tasks of this process.
    pub health: Arc<ModelHealth>,
    /// Where what takes long to read is read.
    pub aside: Aside,
    /// Ties spans to traces from outside.
    pub tracing: spans::Tracing,
}
