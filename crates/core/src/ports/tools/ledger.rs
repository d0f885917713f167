//! The record of a direct call: what names it, who is at it, and what came of it.
//!
//! | the record | asked by another one | then |
//! |---|---|---|
//! | there is none | `New` | it is held by who asked |
//! | held | `UnderWay` | closed: it has its outcome. Dropped, for it was not sent: there is none, or as before. Left, or its lease ran out: nobody holds it |
//! | open, nobody holds it | `Again`, or `InDoubt` where it was or is `at_most_once` | `Again`: held by who asked |
//! | has its outcome | `Done` | it stays |

use crate::{Tenant, tool::Effect};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// What names a call in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LedgerKey {
    /// On whose behalf.
    pub tenant: Tenant,
    /// Who asks. A record from before principals were recorded is every principal's of its tenant.
    pub principal: String,
    /// The tool's name.
    pub tool: String,
    /// The Idempotency-Key, as the principal gave it.
    pub key: String,
}

/// A recorded outcome of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status", content = "result")]
pub enum Outcome {
    /// A result.
    Ok(Value),
    /// A failure that was a complete answer.
    Failed(Value),
}

/// A call that is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// What it is compared by.
    pub arguments_hash: String,
    /// What may be done with it when nobody knows how it went.
    pub effect: Effect,
    /// Names this very opening: no other one, in any process, has this name.
    pub holder: String,
    /// How long the call is its holder's without renewal.
    pub lease: Duration,
}

/// What the ledger says to a call that is about to be sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Opened {
    /// It is new; it is recorded now, and its holder may send it.
    New,
    /// It may have been sent before, its outcome is not recorded and nobody is at it; its holder may send it again.
    Again,
    /// The same of a record from before principals were recorded: it went, and goes again, under the key as it was given.
    AgainAsGiven,
    /// It may have been sent before, its outcome is not recorded and nobody is at it; it was or is `at_most_once`, so it is never
    /// sent again.
    InDoubt,
    /// Somebody else is at it, and holds it for so long without renewal.
    UnderWay(Duration),
    /// It has its outcome: nothing is to be sent.
    Done(Outcome),
    /// The key was used with other arguments.
    OtherArguments,
}
