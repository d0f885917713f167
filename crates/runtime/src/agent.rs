//! What an agent is to a run: its definition now, and what it says to a model.

pub mod catalog;
pub mod context;
pub mod prompt;
