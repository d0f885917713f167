//! What is taken in: judged against what there is, made durable, then put where callers see it.

use super::Registry;
use crate::{
    Incoming,
    catalog::{Accepted, Entry, Files, Judged, Kept, News, OPERATOR, Origin},
    lock,
};
use futures::future::try_join_all;
use maniple_core::{
    Error, Result, schema,
    tool::{Realm, ToolDefinition},
};
use semver::Version;
use std::sync::Arc;

/// What an import brings and may not be used.
pub(super) struct Quarantined {
    origin: Origin,
    incoming: Incoming,
    /// Why it cannot be reached.
    sick: Option<String>,
}

/// How many versions are made durable at once.
const PUBLISHED_AT_ONCE: usize = 256;

impl Registry {
    /// Takes the definitions of the project's files in the place of those before, all or none; every problem is told.
    pub async fn take_files(&self, definitions: Vec<ToolDefinition>, files: Files) -> Result<(), Vec<Error>> {
        let incoming = definitions.into_iter().map(Incoming::from).collect();
        let refused = self.take(&Origin::File(files), incoming).await.map_err(|error| vec![error])?;
        if refused.is_empty() { Ok(()) } else { Err(refused.into_iter().map(|(_, error)| error).collect()) }
    }

    /// Takes what a project's origin brings in the place of what it brought before, and returns what may not be taken in: a name and
    /// the reason each. That is left out, or keeps the others out too, as [`Origin`] says.
    pub async fn take(&self, origin: &Origin, incoming: Vec<Incoming>) -> Result<Vec<(String, Error)>> {
        let (incoming, unauthorised) = self.authorised(origin, incoming);
        let _one_at_a_time = self.changing.lock().await;
        let (catalog, planned) = (self.catalog.clone(), origin.clone());
        let (large, whose) = (self.takes_long(origin, &incoming), origin.collection());
        let Judged { accepted, mut refused } = self.aside.run(large, &whose, move || catalog.plan(&planned, incoming)).await?;
        refused.extend(unauthorised);
        if origin.policy().all_or_none && !refused.is_empty() {
            return Ok(refused);
        }
        let accepted = self.publish(origin, accepted).await?;
        self.catalog.put(origin, accepted);
        Ok(refused)
    }

    /// Whether reading these and comparing them with what is published may take long.
    pub(super) fn takes_long(&self, origin: &Origin, incoming: &[Incoming]) -> bool {
        const MANY: usize = 8;
        let heavy = |tool: &ToolDefinition| schema::is_heavy(&tool.parameters) || tool.returns.as_ref().is_some_and(schema::is_heavy);
        let (realms, realm) = (self.catalog.realms(), origin.realm());
        let known =
            |name: &str| realms.of(&realm).get(name).is_some_and(|all| all.values().any(|entry| heavy(&entry.published.definition)));
        incoming.len() > MANY || incoming.iter().any(|one| heavy(&one.definition) || known(&one.definition.name))
    }

    /// Takes what was quarantined under a version that is forgotten now: it is looked at as if it had just come. The caller holds `changing`.
    pub(super) async fn take_quarantined(&self, quarantined: Vec<Quarantined>) -> Result<()> {
        for Quarantined { origin, incoming, sick } in quarantined {
            let large = self.takes_long(&origin, std::slice::from_ref(&incoming));
            let (catalog, planned, whose) = (self.catalog.clone(), origin.clone(), origin.collection());
            let judged = self.aside.run(large, &whose, move || catalog.plan(&planned, vec![incoming])).await?;
            for (tool, error) in &judged.refused {
                tracing::warn!(tool, %error, "what was quarantined is left out");
            }
            for one in self.publish(&origin, judged.accepted).await? {
                self.catalog.join(&origin, one, None).set_sick(sick.clone());
            }
        }
        Ok(())
    }

    /// What imports bring under a version, and may not be used beside what is published.
    pub(super) fn quarantined(&self, realm: &Realm, name: &str, version: Option<&Version>) -> Vec<Quarantined> {
        let realms = self.catalog.realms();
        let versions = realms.of(realm).get(name).into_iter().flat_map(|versions| versions.iter());
        let meant = versions.filter(|(known, _)| version.is_none_or(|version| *known == version)).map(|(_, entry)| entry);
        let of_entry = |entry: &Arc<Entry>| {
            let instances = entry.instances.iter().filter(|instance| instance.quarantine.is_some());
            let quarantined = instances.filter_map(|instance| {
                let origin = Origin::of_import(&instance.collection, instance.trusted)?;
                let definition = (*instance.definition).clone();
                let incoming = Incoming { notes: entry.notes.clone(), proposed: entry.proposed, ..Incoming::from(definition) };
                Some(Quarantined { origin, incoming, sick: instance.sick() })
            });
            quarantined.collect::<Vec<_>>()
        };
        meant.flat_map(of_entry).collect()
    }

    /// Those that may use the credential they name, and those that may not. What is only looked at is never sent: it needs none.
    fn authorised(&self, origin: &Origin, incoming: Vec<Incoming>) -> (Vec<Incoming>, Vec<(String, Error)>) {
        if *origin == Origin::File(Files::Looking) {
            return (incoming, Vec::new());
        }
        let (mut may, mut may_not) = (Vec::with_capacity(incoming.len()), Vec::new());
        for one in incoming {
            match self.credentials.check(&one.definition, &origin.realm()) {
                Ok(()) => may.push(one),
                Err(error) => {
                    let message = format!("tool `{}`: {}", one.definition.name, error.message);
                    may_not.push((one.definition.name.clone(), Error { message: message.into(), ..error }));
                }
            }
        }
        (may, may_not)
    }

    /// That the URLs of a definition nobody trusted wrote do not lead inside, as far as they say so themselves.
    pub(super) fn check_reach(&self, definition: &ToolDefinition) -> Result<()> {
        let urls = [
            ("endpoint", Some(&definition.endpoint)),
            ("health_url", definition.health_url.as_ref()),
            ("probe_url", definition.probe_url.as_ref()),
        ];
        for (field, url) in urls {
            if let Some(why) = url.and_then(|url| self.transports.forbids(url)) {
                let host = lock::host(url.map(String::as_str).unwrap_or_default());
                let hint = format!(
                    "a tool that registers itself is reached inside only where maniple.yaml says `egress: {{ allow: [\"{host}\"] }}`"
                );
                return Err(Error::invalid(format!("{field}: {why}; {hint}")).at(field));
            }
        }
        Ok(())
    }

    /// Makes what is new durable, before anybody sees it; each then says when it was published.
    pub(super) async fn publish(&self, origin: &Origin, mut accepted: Vec<Accepted>) -> Result<Vec<Accepted>> {
        if origin.policy().kept == Kept::Nothing {
            return Ok(accepted);
        }
        accepted.iter().for_each(say_what_changed);
        say_what_is_quarantined(origin, &accepted);
        let (versions, _) = self.catalog.size();
        let new = accepted.iter().filter(|one| one.news == News::Version).count();
        if versions + new > self.settings.versions_max {
            return Err(Error::exhausted(format!("the catalogue holds {versions} versions, and takes {}", self.settings.versions_max)));
        }
        self.take_names(&accepted).await?;
        let Some(store) = &self.store else { return Ok(accepted) };
        for replaced in accepted.iter().filter(|one| matches!(one.news, News::OtherContract | News::ConfirmedEffect)) {
            store.unpublish(&origin.realm(), &replaced.definition.name, Some(&replaced.definition.version)).await?;
        }
        let mut news: Vec<&mut Accepted> = accepted.iter_mut().filter(|one| one.news != News::None).collect();
        // So many at once share a write to the disk, and no more than that are held as text.
        for some in news.chunks_mut(PUBLISHED_AT_ONCE) {
            try_join_all(some.iter_mut().map(|one| async move {
                one.published = store.publish(one.published.clone()).await?;
                Ok::<(), Error>(())
            }))
            .await?;
        }
        Ok(accepted)
    }

    /// What was registered at the node under a name that the project takes is forgotten.
    async fn take_names(&self, accepted: &[Accepted]) -> Result<()> {
        for one in accepted.iter().filter(|one| one.published.owner == OPERATOR && one.published.realm.is_node()) {
            let name = &one.definition.name;
            let Some(owner) = self.catalog.realms().of(&Realm::Node).owner(name).filter(|owner| *owner != OPERATOR).map(str::to_owned)
            else {
                continue;
            };
            if let Some(store) = &self.store {
                store.unpublish(&Realm::Node, name, None).await?;
            }
            self.catalog.forget(&Realm::Node, name, None);
            tracing::warn!(tool = %name, owner, "its name was registered; the project's own tool takes it, and what was registered is forgotten");
        }
        Ok(())
    }
}

/// What a person should know of one whose version was another before.
fn say_what_changed(one: &Accepted) {
    let (tool, version) = (&one.definition.name, &one.definition.version);
    if one.news == News::OtherContract {
        tracing::warn!(%tool, %version, "its contract changed under its version; that is for writing it: `maniple serve` asks for a new version");
        for loosened in &one.loosened {
            tracing::warn!(%tool, %version, "{loosened}: `maniple serve` asks for a new major version");
        }
    }
    if let Some(why) = &one.breaks {
        tracing::warn!(%tool, %version, "taken in, since somebody is writing it; `maniple serve` would refuse it: {why}");
    }
}

/// One line, however many there are.
fn say_what_is_quarantined(origin: &Origin, accepted: &[Accepted]) {
    let quarantined: Vec<(&str, &str)> =
        accepted.iter().filter_map(|one| Some((&*one.definition.name, one.quarantine.as_deref()?))).collect();
    if let [(tool, why), ..] = &quarantined[..] {
        let (count, from) = (quarantined.len(), origin.collection());
        tracing::warn!(from, count, tool, why, "quarantined, not used: `maniple tool ls` shows all, `maniple tool show NAME` why");
    }
}
