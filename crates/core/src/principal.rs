//! Who asks, and what they may. Doors find out who it is; what it may is decided where things are done.

use crate::{AgentName, Error, Result, Tenant, ports::Registrant};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// One thing that a principal may do: inside its tenant, but for [`Scope::Operator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Ask agents, and ask again what failed.
    Run,
    /// Look at the tenant's tasks, conversations, requests and tools.
    Read,
    /// Stop tasks.
    Cancel,
    /// Call tools, and register them.
    Tools,
    /// Decide over what runs ask of people.
    Approve,
    /// Everything inside the tenant.
    Admin,
    /// Act on the node: bring tools for every tenant, ask on behalf of other tenants and principals, tell a registry what a
    /// runtime's journal says. It is not `admin`, and `admin` is not it.
    Operator,
}

/// By its name in the settings.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u16);

impl Scopes {
    /// Every scope there is.
    pub const ALL: Self = Self(u16::MAX);

    /// Whether what needs this scope may be done; [`Scope::Admin`] stands for all but [`Scope::Operator`].
    pub fn allow(self, scope: Scope) -> bool {
        let admin = if scope == Scope::Operator { 0 } else { bit(Scope::Admin) };
        self.0 & (bit(scope) | admin) != 0
    }
    /// These and this one.
    pub fn with(self, scope: Scope) -> Self {
        Self(self.0 | bit(scope))
    }
    /// These but for this one.
    pub fn without(self, scope: Scope) -> Self {
        Self(self.0 & !bit(scope))
    }
}

fn bit(scope: Scope) -> u16 {
    1 << scope as u16
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(bit).fold(0, |all, one| all | one))
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Its name, recorded with what it asks for.
    pub name: String,
    /// On whose behalf.
    pub tenant: Tenant,
    /// The agents it may use; `None` for all.
    pub agents: Option<BTreeSet<AgentName>>,
    /// What it may do.
    pub scopes: Scopes,
}

impl Principal {
    /// Who asks where nobody is asked who they are: it may everything.
    pub fn local() -> Self {
        Self { name: "local".into(), tenant: Tenant::default(), agents: None, scopes: Scopes::ALL }
    }

    /// `Denied` unless it has the scope.
    pub fn may(&self, scope: Scope) -> Result<()> {
        self.may_either(scope, scope)
    }

    /// `Denied` unless it has one of the two; the first is the one to ask for.
    pub fn may_either(&self, usual: Scope, other: Scope) -> Result<()> {
        if self.scopes.allow(usual) || self.scopes.allow(other) {
            return Ok(());
        }
        Err(Error::denied(format!("the token `{}` lacks the scope `{usual}`", self.name)))
    }

    /// Whether it may use the agent.
    pub fn uses(&self, agent: &AgentName) -> bool {
        self.agents.as_ref().is_none_or(|agents| agents.contains(agent))
    }

    /// `Denied` unless it may use the agent.
    pub fn may_use(&self, agent: &AgentName) -> Result<()> {
        if self.uses(agent) {
            return Ok(());
        }
        Err(Error::denied(format!("the token `{}` may not use the agent `{agent}`", self.name)).at("agent"))
    }

    /// As the catalogue of tools knows it: two tenants may both have an `ann`.
    pub fn registrant(&self) -> Registrant {
        let name = if self.tenant.is_default() { self.name.clone() } else { format!("{}/{}", self.tenant, self.name) };
        let (admin, operator) = (self.scopes.allow(Scope::Admin), self.scopes.allow(Scope::Operator));
        Registrant { name, tenant: self.tenant.clone(), admin, operator }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ann(scopes: &[Scope]) -> Principal {
        let search = AgentName::parse("search").unwrap();
        let tenant = Tenant::parse("acme").unwrap();
        Principal { name: "ann".into(), tenant, agents: Some([search].into()), scopes: scopes.iter().copied().collect() }
    }

    #[test]
    fn a_principal_may_what_its_scopes_say_and_admin_everything_in_its_tenant() {
        let some = ann(&[Scope::Run, Scope::Approve]);
        assert!(some.may(Scope::Run).is_ok() && some.may(Scope::Approve).is_ok());
        for other in [Scope::Read, Scope::Cancel, Scope::Tools, Scope::Admin] {
            assert!(some.may(other).is_err() && ann(&[]).may(other).is_err() && ann(&[Scope::Admin]).may(other).is_ok(), "{other}");
        }
        assert_eq!(some.may(Scope::Read).unwrap_err().message, "the token `ann` lacks the scope `read`");
        assert!(some.may_either(Scope::Read, Scope::Run).is_ok());
        assert_eq!(some.may_either(Scope::Read, Scope::Tools).unwrap_err().message, "the token `ann` lacks the scope `read`");
    }

    #[test]
    fn an_admin_is_no_operator_and_an_operator_no_admin() {
        assert!(ann(&[Scope::Admin]).may(Scope::Operator).is_err());
        let node = ann(&[Scope::Operator]);
        assert!(node.may(Scope::Operator).is_ok());
        for other in [Scope::Run, Scope::Read, Scope::Cancel, Scope::Tools, Scope::Approve, Scope::Admin] {
            assert!(node.may(other).is_err(), "{other}");
        }
        assert!(Principal::local().may(Scope::Operator).is_ok());
    }

    #[test]
    fn a_principal_uses_its_own_agents_only() {
        let (search, write) = (AgentName::parse("search").unwrap(), AgentName::parse("write").unwrap());
        assert!(ann(&[]).uses(&search) && ann(&[]).may_use(&search).is_ok());
        let denied = ann(&[Scope::Admin]).may_use(&write).unwrap_err();
        assert_eq!((denied.kind, denied.field.as_deref()), (crate::Kind::Denied, Some("agent")));
        assert!(Principal::local().may_use(&write).is_ok() && Principal::local().may(Scope::Admin).is_ok());
    }

    #[test]
    fn two_tenants_anns_are_two_registrants() {
        assert_eq!(ann(&[Scope::Tools]).registrant(), Registrant { name: "acme/ann".into(), ..in_tenant("acme") });
        let ours = Principal { tenant: Tenant::default(), ..ann(&[Scope::Admin]) };
        assert_eq!(ours.registrant(), Registrant { admin: true, ..in_tenant("default") });
        let node = Principal { tenant: Tenant::default(), ..ann(&[Scope::Operator]) };
        assert_eq!(node.registrant(), Registrant { operator: true, ..in_tenant("default") });
    }
    fn in_tenant(tenant: &str) -> Registrant {
        Registrant { name: "ann".into(), tenant: Tenant::parse(tenant).unwrap(), admin: false, operator: false }
    }

    #[test]
    fn scopes_are_named_in_the_settings_as_they_are_in_messages() {
        let names: Vec<Scope> = serde_json::from_str(r#"["run", "read", "cancel", "tools", "approve", "admin", "operator"]"#).unwrap();
        assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), "run read cancel tools approve admin operator");
    }
}
