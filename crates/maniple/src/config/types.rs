//! The tree of `maniple.yaml`: each section is the type of the part that works by it, where its keys, their meaning, their
//! defaults and their bounds stand.

use super::{Environment, Limits};
use crate::{
    doors::http::{CorsSettings, scrape::MetricsSettings},
    node::ReadinessSettings,
    telemetry::TelemetrySettings,
};
use maniple_aside::AsideSettings;
use maniple_core::{
    Scope,
    settings::{Period, Secret, Section},
};
use maniple_kafka::KafkaSettings;
use maniple_llm::ProviderSettings;
use maniple_registry::{EgressSettings, GatewaySettings, credentials::CredentialSettings, mcp, openapi};
use maniple_runtime::{WorkerSettings, jobs::Retention};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// The settings of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the HTTP door listens.
    pub listen: String,
    /// Folders with agent files, relative to this file.
    pub agents: Folders,
    /// Folders with tool files, relative to this file.
    pub tools: Folders,
    /// Where tasks live: `sqlite:PATH`, `postgres://USER:PASSWORD@HOST/DATABASE` or `memory:`.
    #[serde(serialize_with = "shown")]
    pub store: String,
    /// The most connections of this process to a Postgres store, the one that it listens on apart.
    pub store_connections: usize,
    /// How long a connection to a Postgres store may take to be free or to come about, 100 ms to 5 min.
    pub store_connect_timeout: Period,
    /// How long one statement there may take, 1 s to 1 h.
    pub store_statement_timeout: Period,
    /// How long one lock there is waited for, 100 ms to 1 h; the time of its statement ends it too.
    pub store_lock_timeout: Period,
    /// How long a transaction there may stand still, 1 s to 1 h: then its locks are free.
    pub store_idle_timeout: Period,
    /// Wake-ups and live steps: `local` within this process, and between all that share a Postgres store. The `postgres://…` that is
    /// listened to where the store's URL leads through a pooler. Or `redis://…`, which then counts limits too.
    #[serde(serialize_with = "bus_shown")]
    pub bus: String,
    /// Events between agents: `none`, or `kafka://HOST:PORT,…` beside a Postgres store.
    pub events: String,
    /// Where event schemas live: `none`, or the address of a registry that speaks Confluent's API: then results are Avro.
    pub schema_registry: String,
    /// How tasks are taken from Kafka and results are put there.
    pub kafka: KafkaSettings,
    /// Where tools are looked up and called: `local`, or the address of a registry, `http(s)://…`.
    pub registry: String,
    /// The token that the registry elsewhere asks for, usually `${env:NAME}`.
    pub registry_token: Option<Secret>,
    /// The model of agents that name none, `provider/model`. Unset: a local server if one answers, else `demo/demo`.
    pub model: Option<String>,
    /// Providers. `openai`, `anthropic`, `ollama` and `demo` exist without being named.
    pub models: BTreeMap<String, ProviderSettings>,
    /// What proves to tools who calls them, by the name that tools know it by.
    pub credentials: BTreeMap<String, CredentialSettings>,
    /// MCP servers whose tools are imported, by the name that goes before each tool's.
    pub mcp: BTreeMap<String, mcp::ServerSettings>,
    /// OpenAPI documents to import as tools, by the name that goes before each tool's.
    pub openapi: BTreeMap<String, openapi::ImportSettings>,
    /// What URLs that no operator wrote may reach besides the public internet.
    pub egress: EgressSettings,
    /// How much of what takes long to read is read at once.
    pub aside: AsideSettings,
    /// How tools are called.
    pub gateway: GatewaySettings,
    /// Who may. Absent: everyone who reaches the node, which then listens on loopback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Listen anywhere without `auth`. Said again at every start.
    pub insecure: bool,
    /// Ceilings and bounds of what comes in.
    pub limits: Limits,
    /// How tasks are worked on.
    pub worker: WorkerSettings,
    /// What is kept how long.
    pub retention: Retention,
    /// Logs, metrics, traces.
    pub telemetry: TelemetrySettings,
    /// What `/ready` asks for.
    pub readiness: ReadinessSettings,
    /// Who may collect the metrics.
    pub metrics: MetricsSettings,
    /// Which pages of other origins may use the node.
    pub cors: CorsSettings,
    /// The folder that paths are relative to.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The variables by which they were read, and by which providers find their keys.
    #[serde(skip)]
    pub environment: Environment,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            agents: Folders::One("agents/".into()),
            tools: Folders::One("tools/".into()),
            store: "sqlite:maniple.db".into(),
            store_connections: 8,
            store_connect_timeout: Period::seconds(5),
            store_statement_timeout: Period::seconds(30),
            store_lock_timeout: Period::seconds(10),
            store_idle_timeout: Period::seconds(30),
            bus: "local".into(),
            events: "none".into(),
            schema_registry: "none".into(),
            kafka: KafkaSettings::default(),
            registry: "local".into(),
            registry_token: None,
            model: None,
            models: BTreeMap::new(),
            credentials: BTreeMap::new(),
            mcp: BTreeMap::new(),
            openapi: BTreeMap::new(),
            egress: EgressSettings::default(),
            aside: AsideSettings::default(),
            gateway: GatewaySettings::default(),
            auth: None,
            insecure: false,
            limits: Limits::default(),
            worker: WorkerSettings::default(),
            retention: Retention::default(),
            telemetry: TelemetrySettings::default(),
            readiness: ReadinessSettings::default(),
            metrics: MetricsSettings::default(),
            cors: CorsSettings::default(),
            folder: PathBuf::from("."),
            environment: Environment::of_process(),
        }
    }
}

impl Config {
    /// The sections whose values have bounds, each with the path of its keys.
    pub fn sections(&self) -> Vec<(String, &dyn Section)> {
        let mut sections: Vec<(String, &dyn Section)> = vec![
            ("limits".into(), &self.limits),
            ("worker".into(), &self.worker),
            ("aside".into(), &self.aside),
            ("gateway".into(), &self.gateway),
            ("retention".into(), &self.retention),
            ("telemetry".into(), &self.telemetry),
            ("kafka".into(), &self.kafka),
        ];
        sections.extend(self.mcp.iter().map(|(name, server)| (format!("mcp.{name}"), server as &dyn Section)));
        sections.extend(self.openapi.iter().map(|(name, import)| (format!("openapi.{name}"), import as &dyn Section)));
        sections
    }
}

/// One folder or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Folders {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}
impl Folders {
    /// All of them.
    pub fn paths(&self) -> &[String] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
        }
    }
}

/// Who may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Named bearer tokens.
    pub tokens: Vec<Token>,
}

/// A bearer token, by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The principal it stands for.
    pub name: String,
    /// SHA-256 of the token, in hex.
    pub sha256: String,
    /// On whose behalf. Default `default`.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// The agents it may use; `*` for all, which is the default.
    #[serde(default = "all_agents")]
    pub agents: Vec<String>,
    /// What it may do: `run`, `read`, `cancel`, `tools`, `approve`, `admin`, `operator`. Default `run`, `read`, `cancel`.
    #[serde(default = "usual_scopes")]
    pub scopes: Vec<Scope>,
}
fn default_tenant() -> String {
    "default".into()
}
fn all_agents() -> Vec<String> {
    vec!["*".into()]
}
fn usual_scopes() -> Vec<Scope> {
    vec![Scope::Run, Scope::Read, Scope::Cancel]
}

/// A URL without its password.
fn shown<S: serde::Serializer>(url: &str, to: S) -> Result<S::Ok, S::Error> {
    match url.parse::<maniple_backends::StoreUrl>() {
        Ok(store) if store.is_shared() => to.collect_str(&store),
        Ok(_) | Err(_) => to.serialize_str(url),
    }
}

fn bus_shown<S: serde::Serializer>(bus: &str, to: S) -> Result<S::Ok, S::Error> {
    match bus.parse::<maniple_backends::BusUrl>() {
        Ok(bus) => to.collect_str(&bus),
        Err(_) => to.serialize_str(bus),
    }
}
