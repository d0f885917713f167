//! How much one principal, and all of one realm together, may bring.
//!
//! Measured over what stands on a realm's shelf, which is all that is stored of it and all that serves. What the project writes and
//! imports does not count, and a registration that is only renewed is not asked.

use super::{
    Accepted, Instance,
    shelf::{Entry, Shelf},
};
use crate::GatewaySettings;
use maniple_core::{
    Error, Result,
    tool::{Published, Realm, Source, ToolDefinition},
};

/// What an instance weighs beside its definition: its state, its breaker, its name.
const INSTANCE_BYTES: usize = 1 << 10;

/// What was brought.
#[derive(Debug, Default, Clone, Copy)]
struct Brought {
    versions: usize,
    bytes: usize,
}

/// What a version weighs, in bytes of JSON.
pub(super) fn weight(published: &Published) -> usize {
    serde_json::to_string(published).map_or(0, |text| text.len())
}
/// What one that serves it weighs.
pub(super) fn weight_of_instance(definition: &ToolDefinition) -> usize {
    INSTANCE_BYTES + serde_json::to_string(definition).map_or(0, |text| text.len())
}

fn is_brought(source: Source) -> bool {
    matches!(source, Source::Registered | Source::Added)
}

impl Brought {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut all = Self::default();
        for entry in entries {
            if is_brought(entry.published.source) {
                all.versions += 1;
                all.bytes += entry.bytes;
            }
            all.bytes += entry.instances.iter().filter(|known| is_brought(known.source)).map(|known| known.bytes).sum::<usize>();
        }
        all
    }
}

/// `Exhausted` where what is brought now would be more than its owner, or its realm, may bring; it names the setting and what to
/// take out.
pub(super) fn check(shelf: &Shelf, realm: &Realm, one: &Accepted, fresh: &Instance, settings: &GatewaySettings) -> Result<()> {
    let entry = shelf.find(&one.definition.name, &one.definition.version);
    let known = entry.and_then(|entry| entry.instances.iter().find(|known| known.id == fresh.id && known.source == fresh.source));
    let before = entry.map_or(0, |entry| entry.bytes) + known.map_or(0, |known| known.bytes);
    let more = Brought { versions: usize::from(entry.is_none()), bytes: (weight(&one.published) + fresh.bytes).saturating_sub(before) };
    if more.versions == 0 && more.bytes == 0 {
        return Ok(());
    }
    let owner = one.published.owner.as_str();
    let of_owner: Vec<&Entry> = shelf.entries().map(|entry| &**entry).filter(|entry| entry.published.owner == owner).collect();
    let of_realm: Vec<&Entry> = shelf.entries().map(|entry| &**entry).collect();
    let others = match realm {
        Realm::Of(tenant) => format!("the tenant `{tenant}` has"),
        Realm::Node => "operators have".to_owned(),
    };
    let principal = (settings.versions_per_principal, settings.bytes_per_principal);
    let tenant = (settings.versions_per_tenant, settings.bytes_per_tenant);
    within(&of_owner, more, principal, &format!("`{owner}` has"), "principal")?;
    within(&of_realm, more, tenant, &others, "tenant")
}

fn within(there: &[&Entry], more: Brought, (versions, bytes): (u32, u64), who: &str, per: &str) -> Result<()> {
    let brought = Brought::of(there.iter().copied());
    let full = if more.versions > 0 && brought.versions + more.versions > versions as usize {
        format!("{who} brought {} versions of tools, and `gateway.versions_per_{per}` allows {versions}", brought.versions)
    } else if more.bytes > 0 && (brought.bytes + more.bytes) as u64 > bytes {
        let (there, more) = (brought.bytes, more.bytes);
        format!("{who} brought {there} bytes of tools, this is {more} more, and `gateway.bytes_per_{per}` allows {bytes}")
    } else {
        return Ok(());
    };
    // One that nobody serves is missed least; of those the oldest.
    let spare = there
        .iter()
        .filter(|entry| is_brought(entry.published.source))
        .min_by_key(|entry| (!entry.instances.is_empty(), entry.published.at));
    let spare = spare.map_or_else(String::new, |entry| {
        let definition = &entry.published.definition;
        format!(", such as `maniple tool rm {}@{}`", definition.name, definition.version)
    });
    Err(Error::exhausted(format!("{full}: remove what is not used{spare}")))
}

#[cfg(test)]
mod tests {
    use super::super::{Catalog, Incoming, Origin};
    use super::*;
    use maniple_core::{Kind, Tenant, ports::Registrant};
    use serde_json::json;

    const FEW: (u32, u64) = (3, 1 << 30);

    fn settings(principal: (u32, u64), tenant: (u32, u64)) -> GatewaySettings {
        GatewaySettings {
            versions_per_principal: principal.0,
            bytes_per_principal: principal.1,
            versions_per_tenant: tenant.0,
            bytes_per_tenant: tenant.1,
            ..GatewaySettings::default()
        }
    }
    fn by(tenant: &str, name: &str) -> Origin {
        let tenant = Tenant::parse(tenant).expect("a tenant");
        let by = Registrant { name: format!("{tenant}/{name}"), tenant, admin: false, operator: false };
        Origin::of(by, Source::Registered, None).expect("it may register")
    }
    fn tool(name: &str, endpoint: &str, description: &str) -> Incoming {
        let definition = json!({ "name": name, "version": "1.0.0", "description": description, "endpoint": endpoint });
        Incoming::from(serde_json::from_value::<ToolDefinition>(definition).expect("a definition"))
    }
    fn bring(catalog: &Catalog, origin: &Origin, tool: Incoming, settings: &GatewaySettings) -> Result<()> {
        let one = catalog.plan(origin, vec![tool]).all().expect("a good one").remove(0);
        catalog.check_quota(origin, &one, settings)?;
        catalog.join(origin, one, None);
        Ok(())
    }
    /// How many of a thousand tools may come.
    fn come(catalog: &Catalog, origin: &Origin, settings: &GatewaySettings, name: &str, description: &str) -> (usize, Error) {
        let all = (0..1_000).map(|n| bring(catalog, origin, tool(&format!("{name}{n}"), "http://x.test/", description), settings));
        let refused = all.enumerate().find_map(|(n, brought)| Some((n, brought.err()?)));
        refused.expect("it is refused at last")
    }

    #[test]
    fn a_principal_brings_so_many_and_its_tenant_so_many_and_nobody_else_is_in_their_way() {
        let (catalog, settings) = (Catalog::default(), settings(FEW, (5, 1 << 30)));
        let (three, refused) = come(&catalog, &by("acme", "ann"), &settings, "a", "d");
        assert_eq!((three, refused.kind), (3, Kind::Exhausted));
        let told = "`acme/ann` has brought 3 versions of tools, and `gateway.versions_per_principal` allows 3: remove what is not used, such as `maniple tool rm a0@1.0.0`";
        assert_eq!(refused.message, told);
        let (two, refused) = come(&catalog, &by("acme", "bob"), &settings, "b", "d");
        assert!(
            two == 2 && refused.message.contains("the tenant `acme` has") && refused.message.contains("`gateway.versions_per_tenant`"),
            "{refused}"
        );
        assert_eq!(come(&catalog, &by("beta", "ann"), &settings, "a", "d").0, 3);
        bring(&catalog, &by("acme", "ann"), tool("a0", "http://x.test/", "d"), &settings).expect("what is there is renewed");
        catalog.forget(&by("acme", "ann").realm(), "a0", None);
        bring(&catalog, &by("acme", "ann"), tool("a9", "http://x.test/", "d"), &settings).expect("there is room again");
    }

    #[test]
    fn what_is_brought_is_weighed_and_so_is_every_place_that_serves_it() {
        let heavy = "x".repeat(30_000);
        let (catalog, bytes) = (Catalog::default(), settings((1_000, 1 << 20), (1_000, 1 << 30)));
        let (few, refused) = come(&catalog, &by("acme", "ann"), &bytes, "a", &heavy);
        assert!((15..18).contains(&few) && refused.message.contains("`gateway.bytes_per_principal` allows 1048576"), "{few}: {refused}");
        let places = (0..10_000).map(|n| bring(&catalog, &by("beta", "bea"), tool("t", &format!("http://{n}.test/"), "d"), &bytes));
        let many = places.take_while(Result::is_ok).count();
        assert!((500..1_000).contains(&many), "{many}: a place is not for nothing");
    }

    #[test]
    fn what_is_remembered_counts_like_what_is_brought_now() {
        let settings = settings(FEW, FEW);
        let first = Catalog::default();
        come(&first, &by("acme", "ann"), &settings, "a", "d");
        let stored = first.realms().of(&by("acme", "ann").realm()).entries().map(|entry| entry.published.clone()).collect();
        let later = Catalog::default();
        later.remember(stored);
        assert_eq!(come(&later, &by("acme", "ann"), &settings, "b", "d").0, 0);
    }
}
