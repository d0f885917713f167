//! Model providers: OpenAI-compatible, Anthropic, scripted and demo.
//!
//! One attempt per call and no retries: the runtime records each attempt before it is made.
//! Translation is pure (`openai`, `anthropic`); [`sse`] frames, `read` and `remote` do the I/O,
//! [`fault`] says what a failure is.
//!
//! ```text
//! request ─ openai::request ─► JSON ─ remote ─► provider
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
mod openai;
mod provider;
mod read;
mod remote;
pub mod scripted;
pub mod shape;
mod sse;

pub use demo::Demo;
pub use discover::{Discovered, discover};
pub use provider::{Api, MaxTokensField, Price, ProviderSettings, Providers};
pub use scripted::{Line, Scripted};

#[cfg(test)]
mod tests;
