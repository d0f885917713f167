//! Whether brokers and a schema registry are as a node needs them, asked without changing anything.
//!
//! ```text
//! look: what they say, within a bound ─► judge: what that means, and what to do about it
//! ```

mod hears;
mod judge;
mod look;
mod schemas;

use crate::{Brokers, KafkaSettings, SchemaRegistry};
use maniple_core::{AgentName, finding::Finding};
use std::time::Duration;

/// How long all questions together may take, each side by itself.
const IN_ALL: Duration = Duration::from_secs(15);

/// How long a topic keeps records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Keeps {
    /// Its `cleanup.policy`.
    pub(crate) policy: String,
    /// Its `retention.ms`; below 0 for ever.
    pub(crate) ms: i64,
    /// Its `retention.bytes`, a partition; below 0 any number.
    pub(crate) bytes: i64,
}

/// Looks at the brokers, at the topics of these agents, at the group that takes from them, and at the schema registry where
/// there is one. Nothing is created, joined or committed. It is over after 15 s at the latest, and when it is dropped.
pub async fn examine(brokers: &Brokers, settings: &KafkaSettings, agents: &[AgentName], registry: Option<&SchemaRegistry>) -> Vec<Finding> {
    let asked = async {
        let looked = tokio::time::timeout(IN_ALL, look::look(brokers, settings, agents)).await;
        match looked.unwrap_or_else(|_| Err(format!("not all was answered within {} s", IN_ALL.as_secs()))) {
            Ok(seen) => judge::judge(&seen, settings, agents),
            Err(why) => vec![judge::away(brokers, &why)],
        }
    };
    let schemas = async {
        match registry {
            Some(registry) => schemas::look(registry, &settings.namespace, agents, IN_ALL).await,
            None => Vec::new(),
        }
    };
    let (mut findings, schemas) = tokio::join!(asked, schemas);
    findings.extend(schemas);
    findings
}
