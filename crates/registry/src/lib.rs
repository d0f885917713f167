//! The tool registry: what tools there are, who may call them, and the call itself.
//!
//! | part | thought |
//! |---|---|
//! | [`catalog`] | names, versions, instances; who is let in |
//! | `gateway` | the way of a call: checks, rate, breaker, credential, send, record |
//! | [`credentials`] | what proves to a tool who calls it |
//! | `health` | who is well |
//! | `settings` | how tools are called, as an operator writes it |
//! | [`lock`] | `tools.lock`: what is used only as it was |
//! | [`mcp`] | tools of MCP servers |
//! | [`egress`] | where a URL that no operator wrote may lead |
//! | [`yaml`] | YAML 1.2 as every file of a project is read |

pub mod catalog;
mod confirm;
pub mod credentials;
pub mod egress;
mod gateway;
mod health;
pub mod lock;
pub mod mcp;
pub mod openapi;
mod registry;
mod settings;
mod transport;
mod transports;
pub mod yaml;

pub use catalog::{Catalog, Files, Incoming, Origin};
pub use confirm::Confirm;
pub use egress::{Egress, EgressSettings};
pub use registry::{Parts, Registry};
pub use settings::GatewaySettings;
pub(crate) use transports::Transports;

use maniple_core::{AgentName, tool::ToolWish};

/// Which tools each agent was granted.
pub trait Grants: Send + Sync {
    /// What the agent's file lists; `None` for no such agent.
    fn of(&self, agent: &AgentName) -> Option<Vec<ToolWish>>;
}
