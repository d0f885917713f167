//! Who is let onto the shelf: the rules of one definition, the owner of its name, and the versions before it.

use super::{Changed, Instance, Kept, Policy, Realms, Shelf, shelf};
use maniple_contract::{compat, line};
use maniple_core::{
    Error, Time,
    tool::{Effect, Published, Source, ToolDefinition, Verdict},
};
use semver::Version;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A definition on its way onto the shelf; who brings it is an [`Origin`](super::Origin).
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The definition, mended where that was needed.
    pub definition: Arc<ToolDefinition>,
    /// Its name as it came, where that had to be made legal.
    pub original_name: Option<String>,
    /// What was mended, for people.
    pub notes: Vec<String>,
    /// The effect that its source claims and that nobody has confirmed.
    pub proposed: Option<Effect>,
}

impl From<ToolDefinition> for Incoming {
    fn from(definition: ToolDefinition) -> Self {
        Self { definition: Arc::new(definition), original_name: None, notes: Vec::new(), proposed: None }
    }
}

/// A definition that may go onto the shelf.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) published: Published,
    pub(crate) news: News,
    pub(crate) definition: Arc<ToolDefinition>,
    pub(crate) trusted: bool,
    pub(crate) source: Source,
    pub(crate) quarantine: Option<String>,
    pub(crate) original_name: Option<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) proposed: Option<Effect>,
    /// What less care is asked for than by the contract whose place it takes.
    pub(crate) loosened: Vec<String>,
    /// Why it would not be taken in from anybody but who is writing it.
    pub(crate) breaks: Option<String>,
}

/// What is new in a definition that may go onto the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing: it is known.
    None,
    /// An endpoint where a version that is known is served too, to stay.
    Endpoint,
    /// Its version.
    Version,
    /// Its contract: the one before is to be forgotten.
    OtherContract,
    /// Another contract, whose effect is an operator's word and the same in all else.
    ConfirmedEffect,
}

impl Accepted {
    pub(crate) fn instance(&self, collection: &str) -> Instance {
        let realm = self.published.realm.clone();
        let instance = Instance::new(self.definition.clone(), self.source, self.trusted, realm, collection.into());
        match &self.quarantine {
            Some(why) => instance.quarantined(why.clone()),
            None => instance,
        }
    }
}

/// What the version before says to this one.
#[derive(Default)]
struct Compared {
    previous: Option<Version>,
    verdict: Option<Verdict>,
    changes: Vec<String>,
    breaks: Option<String>,
}

/// A batch as it was judged.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// What may go onto the shelf.
    pub(crate) accepted: Vec<Accepted>,
    /// What may not: its name, and the reason.
    pub(crate) refused: Vec<(String, Error)>,
}

impl Judged {
    /// All of it, or every reason why not.
    pub(crate) fn all(self) -> Result<Vec<Accepted>, Vec<Error>> {
        if self.refused.is_empty() { Ok(self.accepted) } else { Err(self.refused.into_iter().map(|(_, error)| error).collect()) }
    }
}

/// Every definition of a batch that may go onto the shelf, and every one that may not.
pub(super) fn judge(realms: &Realms, policy: &Policy<'_>, incoming: Vec<Incoming>) -> Judged {
    let shelf = realms.of(&policy.realm);
    // A name that the project writes is the project's: what was registered under it does not count.
    let names = incoming.iter().map(|one| one.definition.name.as_str());
    let taken: BTreeSet<&str> = names.filter(|name| shelf.is_taken_by(policy.owner, name)).collect();
    let shelf = &shelf.without(&taken);
    let mut order: Vec<usize> = (0..incoming.len()).collect();
    // Lower versions first, so that each finds the ones before it.
    order.sort_by(|a, b| {
        let key = |at: &usize| (&incoming[*at].definition.name, &incoming[*at].definition.version);
        key(a).cmp(&key(b))
    });
    let mut batch = Batch { realms, shelf, policy, accepted: BTreeMap::new() };
    let mut verdicts: Vec<Option<Result<Accepted, (String, Error)>>> = incoming.iter().map(|_| None).collect();
    for at in order {
        let one = &incoming[at];
        let verdict = batch.admit(one);
        if let Ok(accepted) = &verdict {
            batch.accepted.entry(one.definition.name.clone()).or_default().push(accepted.clone());
        }
        verdicts[at] = Some(verdict.map_err(|error| {
            let message = format!("tool `{}`: {}", one.definition.name, error.message);
            (one.definition.name.clone(), Error { message: message.into(), ..error })
        }));
    }
    let mut judged = Judged::default();
    for verdict in verdicts.into_iter().flatten() {
        match verdict {
            Ok(one) => judged.accepted.push(one),
            Err(error) => judged.refused.push(error),
        }
    }
    judged
}

/// The shelf of a realm with what this batch has added to it so far.
struct Batch<'a> {
    realms: &'a Realms,
    shelf: &'a Shelf,
    policy: &'a Policy<'a>,
    accepted: BTreeMap<String, Vec<Accepted>>,
}

impl Batch<'_> {
    fn admit(&self, one: &Incoming) -> Result<Accepted, Error> {
        let (tool, policy) = (&one.definition, self.policy);
        super::check(tool)?;
        if tool.endpoint.starts_with("mcp:") && policy.source != Source::Mcp {
            return Err(Error::invalid("endpoint mcp: is made by the section `mcp` of maniple.yaml, not written").at("endpoint"));
        }
        if !policy.realm.is_node() && self.realms.is_nodes(&tool.name) {
            return Err(Error::denied("the name is that of a tool of the node, which serves every tenant: choose another").at("name"));
        }
        let contract = tool.contract_hash();
        let owner = self.owner(&tool.name).unwrap_or(policy.owner).to_owned();
        if owner != policy.owner && !policy.any_name {
            return Err(Error::denied("the name belongs to another principal: choose another").at("name"));
        }
        self.is_no_other_tool(one)?;
        let accepted = |published: Published, news: News, quarantine: Option<String>| Accepted {
            published,
            news,
            definition: one.definition.clone(),
            trusted: policy.trusted,
            source: policy.source,
            quarantine,
            original_name: one.original_name.clone(),
            notes: one.notes.clone(),
            proposed: one.proposed,
            loosened: Vec::new(),
            breaks: None,
        };
        let mut loosened = Vec::new();
        let mut news = News::Version;
        if let Some(known) = self.known(&tool.name, &tool.version) {
            if self.is_twice(one) {
                return Err(Error::conflict(format!("{} is defined twice; give one of them another version", tool.version)).at("version"));
            }
            if known.contract == contract {
                let mut published = known.clone();
                if *published.definition == **tool {
                    // What is the same is held once.
                    published.definition = tool.clone();
                }
                let is_added = policy.kept == Kept::Place && published.add(tool)?;
                return Ok(accepted(published, if is_added { News::Endpoint } else { News::None }, None));
            }
            let other = other_contract(known, tool, policy.changed);
            match policy.changed {
                _ if policy.effect_is_confirmed && known.source != Source::Builtin && known.contract == with_effect_of(known, tool) => {
                    news = News::ConfirmedEffect;
                }
                Changed::Taken if known.source != Source::Builtin => {
                    news = News::OtherContract;
                    loosened = compat::loosened(&known.definition, tool).into_iter().map(|(_, text)| text).collect();
                }
                Changed::Quarantined => return Ok(accepted(known.clone(), News::None, Some(other.message.into_owned()))),
                Changed::Refused | Changed::Taken => return Err(other),
            }
        }
        let Compared { previous, verdict, changes, breaks } = self.compared(one)?;
        let overridden = policy.override_reason.filter(|_| verdict == Some(Verdict::Unproven));
        let published = Published {
            definition: one.definition.clone(),
            contract,
            owner,
            realm: policy.realm.clone(),
            source: policy.source,
            at: Time::default(),
            previous,
            verdict,
            changes,
            overridden: overridden.map(|reason| format!("{}: {reason}", policy.owner)),
            added: if policy.kept == Kept::Place { vec![(**tool).clone()] } else { Vec::new() },
        };
        Ok(Accepted { loosened, breaks, ..accepted(published, news, None) })
    }

    /// Fails for a name that is legal only since it was mended, where that is the name of another tool which registered itself.
    fn is_no_other_tool(&self, one: &Incoming) -> Result<(), Error> {
        let Some(original) = &one.original_name else { return Ok(()) };
        let known = self.shelf.find(&one.definition.name, &one.definition.version);
        let known = known.filter(|entry| entry.instances.iter().any(|instance| instance.source == Source::Registered));
        match known {
            Some(entry) if entry.original_name.as_ref() != Some(original) => {
                let (shown, name): (String, &str) = (original.chars().take(80).collect(), &one.definition.name);
                let told = format!("`{shown}` is `{name}` here, which another tool is called already: choose another name");
                Err(Error::conflict(told).at("name"))
            }
            _ => Ok(()),
        }
    }

    /// What the version before it of the same line says; `Conflict` where callers would break. Who is writing it is told, and goes on.
    fn compared(&self, one: &Incoming) -> Result<Compared, Error> {
        let tool = &one.definition;
        let is_written = self.policy.changed == Changed::Taken;
        let careless = self.takes_less_care_than_above(tool);
        let Some(before) = self.before(&tool.name, &tool.version) else {
            return match careless {
                Some(why) if !is_written => Err(Error::conflict(why).at("version")),
                breaks => Ok(Compared { breaks, ..Compared::default() }),
            };
        };
        let report = compat::compare(&self.comparable(before, tool), tool);
        let changes: Vec<String> = report.changes.iter().map(ToString::to_string).collect();
        let previous = Some(before.definition.version.clone());
        let compared = |breaks| Compared { previous: previous.clone(), verdict: Some(report.verdict), changes: changes.clone(), breaks };
        if !line::is_same(&before.definition.version, &tool.version) {
            return match careless {
                Some(why) if !is_written => Err(Error::conflict(why).at("version")),
                breaks => Ok(compared(breaks)),
            };
        }
        let told = || format!("{} after {}:\n  {}", tool.version, before.definition.version, changes.join("\n  "));
        let breaks = careless.or_else(|| match report.verdict {
            Verdict::Compatible => None,
            Verdict::Breaking => {
                let next = line::after(&before.definition.version);
                Some(format!("{}\nthis breaks those who rely on it: make it {next}, which may", told()))
            }
            Verdict::Unproven if self.policy.override_reason.is_some() => None,
            Verdict::Unproven => {
                let hint = "whether this breaks callers cannot be proven: simplify the change, make it a new major version, or let an admin override it with a reason";
                Some(format!("{}\n{hint}", told()))
            }
        });
        match breaks {
            Some(why) if !is_written => Err(Error::conflict(why).at("version")),
            breaks => Ok(compared(breaks)),
        }
    }

    /// Why callers of a line, who get its highest version that is well, would be served with less care by this one, which is below it.
    fn takes_less_care_than_above(&self, tool: &ToolDefinition) -> Option<String> {
        let in_line = |known: &&Published| {
            let (above, version) = (&known.definition.version, &tool.version);
            above > version && above.pre.is_empty() && version.pre.is_empty() && line::is_same(above, version)
        };
        let above = self.releases(&tool.name).filter(in_line).min_by(|a, b| a.definition.version.cmp(&b.definition.version))?;
        let (_, told) = compat::loosened(&self.comparable(above, tool), tool).into_iter().next()?;
        let (version, above) = (&tool.version, &above.definition.version);
        Some(format!("{version} beside {above}: {told}\nwithin one line every version takes the same care"))
    }

    /// Another version as this one is compared with it: where effects are an operator's word, by all else.
    fn comparable<'a>(&self, known: &'a Published, tool: &ToolDefinition) -> Cow<'a, ToolDefinition> {
        match self.policy.effect_is_confirmed {
            true => Cow::Owned(ToolDefinition { effect: Some(tool.effect()), ..ToolDefinition::clone(&known.definition) }),
            false => Cow::Borrowed(&known.definition),
        }
    }

    fn owner(&self, name: &str) -> Option<&str> {
        let batch = self.accepted.get(name).and_then(|accepted| Some(accepted.first()?.published.owner.as_str()));
        self.shelf.owner(name).or(batch)
    }
    fn known(&self, name: &str, version: &Version) -> Option<&Published> {
        let batch = self.accepted.get(name).into_iter().flatten().map(|accepted| &accepted.published);
        let batch = batch.rev().find(|published| published.definition.version == *version);
        batch.or_else(|| self.shelf.find(name, version).map(|entry| &entry.published))
    }
    fn is_twice(&self, one: &Incoming) -> bool {
        let mut batch = self.accepted.get(&one.definition.name).into_iter().flatten();
        batch.any(|other| other.definition.version == one.definition.version && other.definition.endpoint == one.definition.endpoint)
    }
    /// The highest release below a version; pre-releases promise nothing and are compared with nothing.
    fn before(&self, name: &str, version: &Version) -> Option<&Published> {
        if !version.pre.is_empty() {
            return None;
        }
        let below = self.releases(name).filter(|known| known.definition.version < *version && known.definition.version.pre.is_empty());
        below.max_by(|a, b| a.definition.version.cmp(&b.definition.version))
    }
    /// All versions of a name, those of the batch included.
    fn releases(&self, name: &str) -> impl Iterator<Item = &Published> {
        let shelf = self.shelf.get(name).into_iter().flat_map(|versions| versions.values()).map(|entry| &entry.published);
        shelf.chain(self.accepted.get(name).into_iter().flatten().map(|accepted| &accepted.published))
    }
}

/// The contract that a definition would have with the effect of the one that is known.
fn with_effect_of(known: &Published, tool: &ToolDefinition) -> String {
    ToolDefinition { effect: Some(known.definition.effect()), ..tool.clone() }.contract_hash()
}

fn other_contract(known: &Published, tool: &ToolDefinition, changed: Changed) -> Error {
    let version = &tool.version;
    if known.source == Source::Builtin {
        return Error::conflict(format!("{version} is defined twice; this one is built in: choose another version or name")).at("version");
    }
    let report = compat::compare(&known.definition, tool);
    let changes = shelf::listed(report.changes.iter());
    let out = format!("`maniple tool rm {}@{version}`", tool.name);
    let told = match changed {
        // Who imports it cannot give it another version; what leads on at once is this.
        Changed::Quarantined => format!("look at it, then take the published one out with {out}: the changed one is used from then on"),
        Changed::Refused | Changed::Taken => {
            let next = line::next(version, report.verdict);
            format!("give the changed one a version of its own, such as {next}, or take the published one out with {out}")
        }
    };
    Error::conflict(format!("{version} is published with another contract ({changes}): {told}")).at("version")
}
