//! The one service behind every door: HTTP and MCP ask the same things here, and every later door will.
//!
//! ```text
//!        door: who is it, what do they want, in words of core
//!          │
//!          ▼
//! gate ─► act ─► tenant, agent ─► intake · tasks · reader, wait · approvals · sessions · tools, calls
//!         may they?                     │
//!                                       ▼
//!      Tasks (the store), ToolRegistry, Bus: wake-ups and live steps, hints only
//! ```
//! Doors translate, the desk decides: who may, which agent, which limits, under which key. It is told who asks and is given
//! typed values; it answers with values of core or an [`maniple_core::Error`], and knows no body, header or status.
//! It holds nothing but the places that are taken, and for seconds what came of the calls of runs elsewhere and what is read of journals: any replica can
//! answer for any task.

mod acts;
mod agents;
mod approvals;
mod calls;
mod deliveries;
mod gate;
mod intake;
mod keys;
mod limits;
mod named;
mod page;
mod pages;
mod pulse;
mod reader;
mod retry;
mod sessions;
mod tasks;
mod tools;
mod wait;

pub use acts::{Act, Whom};
pub use approvals::{ApprovalQuery, Said};
pub use calls::{Called, Direct, NoResult, OfRun, ToolCall};
pub use deliveries::Delivery;
pub use gate::{Gate, Presence, Seat};
pub use intake::Submission;
pub use keys::IdempotencyKey;
pub use limits::{Limits, Terms};
pub use named::{Addressee, Sought, no_agent, no_task};
pub use page::Page;
pub use reader::{Reader, Told};
pub use sessions::{SessionPage, SessionQuery};
pub use tasks::{BEGINNING_CHARS, Cancelled, TaskPage, TaskQuery};
pub use tools::{Definition, Reason, offered_to};

use crate::{Agents, Starter, spans::Tracing};
use maniple_aside::Aside;
use maniple_core::{
    Principal,
    agent::{AgentDefinition, Publishes},
    ports::{Bus, Publish, Tasks, ToolRegistry},
    task::{Ceilings, TaskLimits},
};
use std::sync::Arc;

/// What a desk works with.
#[derive(Clone)]
pub struct DeskParts {
    /// Where tasks are.
    pub tasks: Arc<dyn Tasks>,
    /// Hints.
    pub bus: Arc<dyn Bus>,
    /// The agents of this node as they are now.
    pub agents: Agents,
    /// The catalogue of tools, in this process or elsewhere.
    pub registry: Arc<dyn ToolRegistry>,
    /// Where what takes long to read is read.
    pub aside: Aside,
    /// A worker in this process, where tasks that can start at once do.
    pub starter: Option<Starter>,
    /// Ties the spans of direct calls to traces from outside.
    pub tracing: Tracing,
}

/// Takes tasks in, tells how they are, and passes on what people want of them, each for those who may.
#[derive(Clone)]
pub struct Desk {
    parts: DeskParts,
    gate: Arc<Gate>,
    sends: calls::Sends,
    pages: pages::Pages,
    terms: Terms,
}

impl Desk {
    /// A desk with nobody at it.
    pub fn new(parts: DeskParts, terms: Terms) -> Self {
        let pages = pages::Pages::new(parts.tasks.clone());
        Self { parts, gate: Arc::new(Gate::new(&terms.limits, terms.several_tenants)), sends: calls::Sends::default(), pages, terms }
    }

    /// Where doors read what takes long to read.
    pub fn aside(&self) -> &Aside {
        &self.parts.aside
    }

    /// The most that a task may ask for.
    pub fn ceilings(&self) -> Ceilings {
        let TaskLimits { max_steps, token_budget, .. } = self.terms.tasks;
        Ceilings { max_steps, token_budget }
    }

    /// How the outside is told of a task of this agent that somebody asks for here.
    fn publish(&self, agent: &AgentDefinition, who: &Principal) -> Option<Publish> {
        let steps = match agent.publish {
            Publishes::None => return None,
            Publishes::Results => false,
            Publishes::Steps => true,
        };
        self.terms.publishes.then(|| Publish { steps, asked_by: who.name.clone(), sent_id: None })
    }

    /// What every request passes first.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
