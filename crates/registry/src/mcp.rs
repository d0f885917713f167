//! Tools of MCP servers, imported and called.
//!
//! A [`Server`] is a supervised connection to one server, over the standard streams of a command or over
//! streamable HTTP. It lists what the server offers as [`Imported`] definitions, follows changes, comes back after
//! the server did, and makes one attempt of a call at a time truthfully: what was not written is *not sent*, and what
//! was written and not answered is *unknown*. It goes out once more at most, where the session was forgotten and the call may be sent
//! again or was refused unread.
//!
//! | of a server | becomes |
//! |---|---|
//! | tool `read` of the server `files` | tool `files_read`, endpoint `mcp:files/read` |
//! | version of the server | version of its tools, made SemVer; without one 1.0.0 |
//! | `inputSchema`, `outputSchema` | `parameters`, `returns` |
//! | `readOnlyHint`, `idempotentHint` | a *proposed* effect; the tool is `at_most_once` until the operator confirms |
//! | a definition that changed under its version | refused by the catalogue, which remembers versions |

mod answers;
mod connection;
mod http;
mod import;
mod lines;
mod listed;
mod naming;
mod outcome;
mod pace;
mod reading;
mod seats;
mod server;
mod settings;
mod stdio;
mod ticket;

pub use import::{Imported, Refused};
pub use server::{Listing, Server, State};
pub use settings::{ServerSettings, Times};

/// Where the key of a call travels in its `_meta`: a server that wants to tell a call sent again from a new one compares it.
pub const IDEMPOTENCY_KEY: &str = "io.maniple/idempotency-key";
