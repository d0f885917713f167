//! The ways into a node. A door translates: what is asked into words of the desk, and what the desk says into an answer.

pub mod http;
pub mod kafka;
mod mcp;

use maniple_api::{Problem, tools::CallOutcome};
use maniple_core::{Error, ports::Invoked};

/// How a call of a tool is told that gave no result.
fn told(outcome: Invoked) -> Problem {
    match CallOutcome::of(outcome) {
        Err(outcome) => outcome.problem(),
        Ok(_) => Error::internal("a call gave a result and was said to have none").into(),
    }
}
