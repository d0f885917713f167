//! Tools on the wire: the catalogue, a call, how a call that came to nothing is told, and the registry behind HTTP.
//!
//! | module | thought |
//! |---|---|
//! | [`wire`] | what is sent and answered |
//! | [`outcome`] | every outcome of a call as an HTTP answer, and the way back |
//! | [`client`] | the calls, for people and their scripts |
//! | [`remote`] | the same registry as the one in process, for a runtime |

pub mod client;
pub mod outcome;
pub mod remote;
pub mod wire;

pub use outcome::CallOutcome;
pub use remote::RemoteTools;
pub use wire::{
    AdmitAnswer, CallAnswer, CallOfRun, CallRequest, GrantedPage, GrantedTool, ProbeAnswer, Removed, ResolveAnswer, ResolveRequest,
    ToolPage, VersionPage,
};

#[cfg(test)]
mod tests;
