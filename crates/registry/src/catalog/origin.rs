//! Who brings a definition, and what that allows: all that admission needs to know of where it comes from.

use super::{FILES, OPERATOR, REGISTERED};
use maniple_core::{
    Error, Result,
    ports::Registrant,
    tool::{Realm, Source},
};

/// Who brings a definition, and how.
///
/// An import's effect is an operator's word, which may change under a version; its tools are compared by all else.
///
/// | origin | owner of the name | URLs | may take in a doubtful version | its version with another contract | at another place | if one may not in | leaves | the store hears of |
/// |---|---|---|---|---|---|---|---|---|
/// | [`Builtin`](Self::Builtin) | the operator | trusted | no | refused | taken | none may | never | nothing |
/// | [`File`](Self::File), strict | the operator | trusted | no | refused | taken | none may | with its file | versions |
/// | lenient | the operator | trusted | no | takes its place | taken | none may | with its file | versions |
/// | looking | the operator | trusted | no | quarantined | taken | none may | with its file | nothing |
/// | [`Mcp`](Self::Mcp) | the operator | trusted | no | quarantined | quarantined | it is left out | with its server's listing | versions |
/// | [`Openapi`](Self::Openapi) | the operator | trusted, if `base_url` is set | no | quarantined | quarantined | it is left out | with its document | versions |
/// | [`Registered`](Self::Registered) | its principal | not trusted | an admin or an operator, with a reason | refused | stands beside it | it is refused | when it is silent | versions |
/// | [`Added`](Self::Added) | its principal | not trusted | an admin or an operator, with a reason | refused | stands beside it | it is refused | when it is removed | versions and their places |
///
/// What is built in, written or imported is the node's, and so is what somebody brings who is an operator; what anybody else brings
/// is its tenant's, and a name that the node has is not to be had there. Within a realm a name that belongs to another is the
/// project's to take, an operator's to add to in the node's and an admin's in its tenant's; anybody else is refused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Part of the program.
    Builtin,
    /// A file of the project.
    File(Files),
    /// An MCP server of the settings.
    Mcp {
        /// Its name there.
        server: String,
    },
    /// An OpenAPI document of the settings.
    Openapi {
        /// Its name there.
        document: String,
        /// Whether the operator said where calls go, rather than the document.
        has_base_url: bool,
    },
    /// It registered itself.
    Registered(Bringer),
    /// Somebody added it, to stay.
    Added(Bringer),
}

/// A principal who brings a definition: one registration makes one, nobody else can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bringer {
    /// Who it is.
    pub by: Registrant,
    /// Why an unproven version is taken in all the same; only an admin's or an operator's counts.
    pub override_reason: Option<String>,
}

/// How the project's files are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Files {
    /// A version that is published with another contract is refused: what is deployed moves by new versions.
    #[default]
    Strict,
    /// It takes the place of the published one, and that is said: somebody is writing it.
    Lenient,
    /// It is there to be looked at and not used: the process only tells what there is.
    Looking,
}

/// What becomes of a definition whose version is known with another contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    /// It is refused.
    Refused,
    /// It takes the place of the one before: somebody is writing it.
    Taken,
    /// It is kept where everyone can see it, and not used.
    Quarantined,
}

/// What of a definition that is taken in is to outlive the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing.
    Nothing,
    /// That its version was published, and as what.
    Version,
    /// That, and where it is served.
    Place,
}

/// What an origin allows: a row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy<'a> {
    /// Its name for others.
    pub(crate) source: Source,
    /// Among whose names its own stand.
    pub(crate) realm: Realm,
    /// Whose a name that is new belongs to.
    pub(crate) owner: &'a str,
    /// Whether it may bring versions of names of its realm that belong to others.
    pub(crate) any_name: bool,
    /// Whether an operator wrote its URLs. All others pass the egress rules.
    pub(crate) trusted: bool,
    /// Why an unproven version is taken in all the same.
    pub(crate) override_reason: Option<&'a str>,
    /// What becomes of a version that is known with another contract.
    pub(crate) changed: Changed,
    /// Whether a version may lead elsewhere than before.
    pub(crate) may_move: bool,
    /// Whether its effect is what an operator confirmed of its source's claims, and so may be another one under the same version.
    pub(crate) effect_is_confirmed: bool,
    /// Whether one that may not be taken in keeps the others of its batch out.
    pub(crate) all_or_none: bool,
    /// Whether it leaves when it is silent.
    pub(crate) expires: bool,
    /// What the store must hear.
    pub(crate) kept: Kept,
}

impl Origin {
    /// Who registers, or adds. `Invalid` for a source that nobody can register.
    pub(crate) fn of(by: Registrant, source: Source, override_reason: Option<String>) -> Result<Self> {
        let bringer = Bringer { by, override_reason };
        match source {
            Source::Registered => Ok(Self::Registered(bringer)),
            Source::Added => Ok(Self::Added(bringer)),
            Source::Builtin | Source::File | Source::Mcp | Source::Openapi => {
                Err(Error::invalid("a definition that is brought is `registered` or `added`").at("source"))
            }
        }
    }

    /// The collection that it is part of: what comes from the same place, and leaves together.
    pub fn collection(&self) -> String {
        match self {
            Self::Builtin => "builtin".into(),
            Self::File(_) => FILES.into(),
            Self::Mcp { server } => format!("mcp:{server}"),
            Self::Openapi { document, .. } => format!("openapi:{document}"),
            Self::Registered(_) | Self::Added(_) => REGISTERED.into(),
        }
    }

    /// The import that a collection is of; nothing for others. `trusted` is what its instances are.
    pub(crate) fn of_import(collection: &str, trusted: bool) -> Option<Self> {
        match collection.split_once(':')? {
            ("mcp", server) => Some(Self::Mcp { server: server.to_owned() }),
            ("openapi", document) => Some(Self::Openapi { document: document.to_owned(), has_base_url: trusted }),
            _ => None,
        }
    }

    /// Among whose names its own stand.
    pub(crate) fn realm(&self) -> Realm {
        match self {
            Self::Builtin | Self::File(_) | Self::Mcp { .. } | Self::Openapi { .. } => Realm::Node,
            Self::Registered(bringer) | Self::Added(bringer) => bringer.by.realm(),
        }
    }
    /// Its row of the table.
    pub(crate) fn policy(&self) -> Policy<'_> {
        use Changed::{Quarantined, Refused, Taken};
        let written = |source, changed, kept| Policy {
            source,
            realm: Realm::Node,
            owner: OPERATOR,
            any_name: true,
            trusted: true,
            override_reason: None,
            changed,
            may_move: true,
            effect_is_confirmed: false,
            all_or_none: true,
            expires: false,
            kept,
        };
        let imported = |source, trusted| Policy {
            trusted,
            may_move: false,
            effect_is_confirmed: true,
            all_or_none: false,
            ..written(source, Quarantined, Kept::Version)
        };
        match self {
            Self::Builtin => written(Source::Builtin, Refused, Kept::Nothing),
            Self::File(Files::Strict) => written(Source::File, Refused, Kept::Version),
            Self::File(Files::Lenient) => written(Source::File, Taken, Kept::Version),
            Self::File(Files::Looking) => written(Source::File, Quarantined, Kept::Nothing),
            Self::Mcp { .. } => imported(Source::Mcp, true),
            Self::Openapi { has_base_url, .. } => imported(Source::Openapi, *has_base_url),
            Self::Registered(bringer) => Policy { expires: true, ..bringer.policy(Source::Registered, Kept::Version) },
            Self::Added(bringer) => bringer.policy(Source::Added, Kept::Place),
        }
    }
}

impl Bringer {
    fn policy(&self, source: Source, kept: Kept) -> Policy<'_> {
        Policy {
            source,
            realm: self.by.realm(),
            owner: &self.by.name,
            any_name: self.by.is_over_all(),
            trusted: false,
            override_reason: self.override_reason.as_deref().filter(|_| self.by.is_over_all()),
            changed: Changed::Refused,
            may_move: true,
            effect_is_confirmed: false,
            all_or_none: true,
            expires: false,
            kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::Tenant;

    fn ann(admin: bool) -> Registrant {
        Registrant { name: "ann".into(), tenant: Tenant::default(), admin, operator: false }
    }
    fn all() -> Vec<Origin> {
        let bringer = |admin| Bringer { by: ann(admin), override_reason: Some("a reason".into()) };
        let document = |has_base_url| Origin::Openapi { document: "shop".into(), has_base_url };
        let mut all = vec![Origin::Builtin, Origin::Mcp { server: "files".into() }, document(true), document(false)];
        all.extend([Files::Strict, Files::Lenient, Files::Looking].map(Origin::File));
        all.extend([false, true].map(|admin| Origin::Registered(bringer(admin))));
        all.extend([false, true].map(|admin| Origin::Added(bringer(admin))));
        all
    }

    #[test]
    fn only_what_an_operator_wrote_is_trusted_and_only_an_admin_overrides() {
        for origin in all() {
            let policy = origin.policy();
            let said = matches!(origin, Origin::Openapi { has_base_url: true, .. });
            assert_eq!(policy.trusted, policy.source.is_operators() || said, "{origin:?}");
            let is_admin = matches!(&origin, Origin::Registered(bringer) | Origin::Added(bringer) if bringer.by.admin);
            assert_eq!(policy.override_reason.is_some(), is_admin, "{origin:?}");
            assert_eq!(policy.any_name, is_admin || policy.owner == OPERATOR, "{origin:?}");
        }
    }

    #[test]
    fn only_what_somebody_writes_takes_a_published_place_and_only_what_registers_itself_leaves_unasked() {
        for origin in all() {
            let policy = origin.policy();
            assert_eq!(policy.changed == Changed::Taken, origin == Origin::File(Files::Lenient), "{origin:?}");
            assert_eq!(policy.expires, matches!(origin, Origin::Registered(_)), "{origin:?}");
            assert_eq!(policy.kept == Kept::Place, matches!(origin, Origin::Added(_)), "{origin:?}");
            let is_import = matches!(origin, Origin::Mcp { .. } | Origin::Openapi { .. });
            assert_eq!((policy.may_move, policy.effect_is_confirmed), (!is_import, is_import), "{origin:?}");
            let again = Origin::of_import(&origin.collection(), policy.trusted);
            assert_eq!(again, is_import.then_some(origin.clone()));
        }
    }

    #[test]
    fn only_an_operator_brings_what_serves_everybody() {
        for origin in all() {
            assert_eq!(origin.realm(), origin.policy().realm, "{origin:?}");
            let is_brought = matches!(origin, Origin::Registered(_) | Origin::Added(_));
            assert_eq!(origin.realm(), if is_brought { Realm::Of(Tenant::default()) } else { Realm::Node }, "{origin:?}");
        }
        let by = Registrant { operator: true, ..ann(false) };
        let brought = Origin::of(by, Source::Registered, Some("a reason".into())).expect("it may");
        assert_eq!((brought.realm(), brought.policy().any_name, brought.policy().trusted), (Realm::Node, true, false));
    }

    #[test]
    fn nobody_registers_what_only_a_project_can_say() {
        let by = ann(true);
        for source in [Source::Builtin, Source::File, Source::Mcp, Source::Openapi] {
            assert_eq!(Origin::of(by.clone(), source, None).expect_err("refused").field.as_deref(), Some("source"));
        }
    }
}
