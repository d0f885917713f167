//! What is taken in: judged against what there is, made durable, then put where callers see it.

use super::{Files, Registry};
use crate::{
    Incoming,
    catalog::{Accepted, Changed, FILES, News, OPERATOR},
    lock,
};
use futures::future::try_join_all;
use maniple_core::{
    Error, Result,
    tool::{Source, ToolDefinition},
};

impl Registry {
    /// Takes the definitions of the project's files in the place of those before, all or none; every problem is told.
    pub async fn take_files(&self, definitions: Vec<ToolDefinition>, files: Files) -> Result<(), Vec<Error>> {
        let incoming: Vec<Incoming> = definitions.into_iter().map(|one| Incoming::by_operator(one, Source::File)).collect();
        let (incoming, unauthorised) = self.authorised(incoming);
        if !unauthorised.is_empty() {
            return Err(unauthorised.into_iter().map(|(_, error)| error).collect());
        }
        let _one_at_a_time = self.changing.lock().await;
        let accepted = match files {
            Files::Strict => self.catalog.plan(incoming, Changed::Refused)?,
            Files::Lenient => self.catalog.plan(incoming, Changed::Taken)?,
            Files::Looking => self.catalog.plan(incoming, Changed::Quarantined)?,
        };
        for changed in accepted.iter().filter(|one| one.news == News::OtherContract) {
            let (tool, version) = (&changed.definition.name, &changed.definition.version);
            tracing::warn!(%tool, %version, "its contract changed under its version; that is for writing it: `maniple serve` asks for a new version");
        }
        let accepted = match files {
            Files::Strict | Files::Lenient => self.publish(accepted).await.map_err(|error| vec![error])?,
            Files::Looking => accepted,
        };
        self.catalog.put(FILES, accepted);
        Ok(())
    }

    /// Takes what somebody else wrote in the place of what the same import brought before. What breaks a rule is left out and returned;
    /// what changed under its version is quarantined.
    pub async fn take_import(&self, collection: &str, incoming: Vec<Incoming>) -> Result<Vec<(String, Error)>> {
        let (incoming, unauthorised) = self.authorised(incoming);
        let _one_at_a_time = self.changing.lock().await;
        let catalog = self.catalog.clone();
        let (mut accepted, mut refused) = aside(move || catalog.plan_leniently(incoming)).await?;
        for one in &mut accepted {
            one.quarantine = one.quarantine.take().or_else(|| self.catalog.led_astray(collection, one));
        }
        refused.extend(unauthorised);
        let accepted = self.publish(accepted).await?;
        for one in accepted.iter() {
            if let Some(why) = &one.quarantine {
                tracing::warn!(tool = %one.definition.name, version = %one.definition.version, why, "quarantined: it is not used");
            }
        }
        self.catalog.put(collection, accepted);
        Ok(refused)
    }

    /// Those that may use the credential they name, and those that may not.
    fn authorised(&self, incoming: Vec<Incoming>) -> (Vec<Incoming>, Vec<(String, Error)>) {
        let (mut may, mut may_not) = (Vec::with_capacity(incoming.len()), Vec::new());
        for one in incoming {
            match self.credentials.check(&one.definition) {
                Ok(()) => may.push(one),
                Err(error) => {
                    let message = format!("tool `{}`: {}", one.definition.name, error.message);
                    may_not.push((one.definition.name, Error { message: message.into(), ..error }));
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
    pub(super) async fn publish(&self, mut accepted: Vec<Accepted>) -> Result<Vec<Accepted>> {
        let (versions, _) = self.catalog.size();
        let new = accepted.iter().filter(|one| one.news == News::Version).count();
        if versions + new > self.settings.versions_max {
            return Err(Error::exhausted(format!("the catalogue holds {versions} versions, and takes {}", self.settings.versions_max)));
        }
        self.take_names(&accepted).await?;
        let Some(store) = &self.store else { return Ok(accepted) };
        for replaced in accepted.iter().filter(|one| one.news == News::OtherContract) {
            store.unpublish(&replaced.definition.name, Some(&replaced.definition.version)).await?;
        }
        let news: Vec<&mut Accepted> = accepted.iter_mut().filter(|one| one.news != News::None).collect();
        try_join_all(news.into_iter().map(|one| async move {
            one.published = store.publish(one.published.clone()).await?;
            Ok::<(), Error>(())
        }))
        .await?;
        Ok(accepted)
    }

    /// What others registered under a name that an operator takes is forgotten.
    async fn take_names(&self, accepted: &[Accepted]) -> Result<()> {
        for one in accepted.iter().filter(|one| one.published.owner == OPERATOR) {
            let name = &one.definition.name;
            let Some(owner) = self.catalog.shelf().owner(name).filter(|owner| *owner != OPERATOR).map(str::to_owned) else { continue };
            if let Some(store) = &self.store {
                store.unpublish(name, None).await?;
            }
            self.catalog.forget(name, None);
            tracing::warn!(tool = %name, owner, "its name was registered; the project's own tool takes it, and what was registered is forgotten");
        }
        Ok(())
    }
}

/// Does what may take long, as reading and comparing schemas that somebody wrote to hurt, away from the threads that serve.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal("a definition could not be read to its end").because(error))
}
