//! What can be asked of a desk, and who may.
//!
//! | act | scope |
//! |---|---|
//! | submit, retry, requeue | `run` |
//! | look at a task and its events, and wait for it | `read`; `run` for what the principal asked for itself |
//! | list tasks, look at conversations and agents | `read` |
//! | cancel | `cancel` |
//! | take out of the dead letters, erase a conversation | `admin` |
//! | look at what runs ask of people | `read` or `approve` |
//! | decide over it | `approve` |
//! | look at tools | `read` or `tools` |
//! | see a node's metrics, and what ails its parts | `operator` |
//! | call tools, register and remove them | `tools` |
//! | take in what is not proven, call for another tenant or principal, tell that a person agreed | `admin` too |
//!
//! Beside the scope, a principal sees its own tenant only, where everything else is not there, and may use its own agents
//! only: the tasks of others are not there. The methods of [`super::Desk`] ask for all three. A door asks for scope and agent once more, before it reads a body or
//! says what is wrong with a query: who may not is told that and nothing else.

use super::Addressee;
use maniple_core::{Principal, Result, Scope};

/// Something that can be asked of a desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Make a task, also of a failed one.
    Submit,
    /// Learn how a task goes: any with `read`, with `run` the principal's own.
    Follow,
    /// See what there is.
    Look,
    /// Stop a task.
    Cancel,
    /// Take something away for good.
    Erase,
    /// See what people are asked.
    LookAtApprovals,
    /// Say what a person says.
    Decide,
    /// See which tools there are.
    LookAtTools,
    /// Call tools, register and remove them.
    UseTools,
    /// See what a node is made of: its metrics, which are everybody's, and what ails its parts.
    LookAtNode,
    /// Answer for what nobody can check here.
    Vouch,
}

impl Act {
    /// `Denied` unless the principal has a scope for it.
    pub fn by(self, who: &Principal) -> Result<()> {
        match self {
            Self::Submit => who.may(Scope::Run),
            Self::Follow => who.may_either(Scope::Read, Scope::Run),
            Self::Look => who.may(Scope::Read),
            Self::Cancel => who.may(Scope::Cancel),
            Self::Erase => who.may(Scope::Admin),
            Self::LookAtApprovals => who.may_either(Scope::Read, Scope::Approve),
            Self::Decide => who.may(Scope::Approve),
            Self::LookAtTools => who.may_either(Scope::Read, Scope::Tools),
            Self::UseTools => who.may(Scope::Tools),
            Self::LookAtNode => who.may(Scope::Operator),
            Self::Vouch => who.may(Scope::Admin),
        }
    }

    /// `Denied` unless the principal has a scope for it, and may use the agent that is meant, if one is.
    pub fn about(self, who: &Principal, agent: &Addressee) -> Result<()> {
        self.by(who)?;
        match agent {
            Addressee::At(agent) | Addressee::Named(agent) => who.may_use(agent),
            Addressee::Unsaid => Ok(()),
        }
    }
}
