//! Model providers: OpenAI-compatible, Anthropic, scripted and demo.
//!
//! One attempt per call and no retries: the runtime records each attempt before it is made. A request that is refused for a member
//! or a limit, and mended, is the same attempt.
//! Translation is pure (`openai`, `anthropic`); [`sse`] frames, `read` and `remote` do the I/O,
//! [`fault`] says what a failure is.
//!
//! ```text
//! request ─ openai::request ─► JSON ─ remote ─► provider
//!     ▲ profile ◄──────── learn ◄──── 400 ◄──────┤
//! reply  ◄─ openai::{reply,stream} ◄─ sse ◄─ read ◄─┘   every failure ─ fault ─► Fault
//! ```

mod answer;
mod anthropic;
pub mod demo;
mod discover;
mod fault;
#[cfg(test)]
mod fixture;
mod history;
mod learn;
mod openai;
mod profile;
mod provider;
mod read;
mod remote;
pub mod scripted;
pub mod shape;
mod sse;

pub use demo::Demo;
pub use discover::{Discovered, discover};
pub use profile::ProfileSettings;
pub use provider::{Api, Price, ProviderSettings, Providers};
pub use scripted::{Line, Scripted};

#[cfg(test)]
mod tests;
