//! What can be asked of a desk, and who may.
//!
//! | act | scope |
//! |---|---|
//! | submit, retry, requeue | `run` |
//! | look at a task and its events, and wait for it | `read`; `run` for what the principal asked for itself |
//! | list tasks and conversations, look at conversations and agents | `read` |
//! | cancel | `cancel` |
//! | take out of the dead letters, erase a conversation | `admin` |
//! | look at what runs ask of people | `read` or `approve` |
//! | decide over it | `approve` |
//! | look at tools | `read` or `tools` |
//! | see a node's metrics, and what ails its parts | `operator` |
//! | call tools, register and remove them | `tools` |
//! | take in what is not proven | `admin`, or `operator` |
//! | speak for another tenant or principal, tell what a run's journal says | `operator` |
//!
//! What a principal brings serves its own tenant; what one with `operator` brings serves all. Beside the scope, a principal sees
//! its own tenant only, where everything else is not there, and may use its own agents
//! only: the tasks of others are not there. The methods of [`super::Desk`] ask for all three. A door asks for scope and agent once more, before it reads a body or
//! says what is wrong with a query: who may not is told that and nothing else.

use super::Addressee;
use maniple_core::{Principal, Result, Scope, Tenant};

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
    /// Answer for a tool that nobody can prove to break none of its callers.
    Vouch,
    /// Speak for another tenant or principal, and tell what only a run's journal knows.
    Operate,
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
            Self::Vouch => who.may_either(Scope::Admin, Scope::Operator),
            Self::Operate => who.may(Scope::Operator),
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

/// For whom somebody speaks who looks at tools or changes them: a runtime's node asks a registry elsewhere for those who asked it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whom {
    /// On whose behalf, if not the principal's own tenant.
    pub tenant: Option<Tenant>,
    /// Who asks there; the principal itself otherwise, as an admin of that tenant.
    pub principal: Option<String>,
    /// [`Scope::Admin`] or [`Scope::Operator`], if who asks there has it.
    pub scope: Option<Scope>,
}

impl Whom {
    /// The principal that is meant: who asks, or whom it speaks for, with no more scopes than its own beside the one that is told.
    /// `Denied` without `operator`.
    pub fn meant_by(self, who: &Principal) -> Result<Principal> {
        let is_itself = self.principal.is_none() && self.scope.is_none();
        if is_itself && self.tenant.as_ref().is_none_or(|tenant| *tenant == who.tenant) {
            return Ok(who.clone());
        }
        let field = if self.tenant.as_ref().is_some_and(|tenant| *tenant != who.tenant) { "tenant" } else { "principal" };
        Act::Operate.by(who).map_err(|denied| denied.at(field))?;
        let scope = if is_itself { Some(Scope::Admin) } else { self.scope };
        let scopes = who.scopes.without(Scope::Admin).without(Scope::Operator);
        Ok(Principal {
            name: self.principal.unwrap_or_else(|| who.name.clone()),
            tenant: self.tenant.unwrap_or_else(|| who.tenant.clone()),
            agents: who.agents.clone(),
            scopes: scope.map_or(scopes, |scope| scopes.with(scope)),
        })
    }
}
