//! Every key of `maniple.yaml`, with its meaning, unit and default.

use super::Credential;
use maniple_core::{Scope, agent::duration};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

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
    /// Where tasks live: `sqlite:PATH` or `memory:`.
    pub store: String,
    /// Wake-ups and live steps: `local`.
    pub bus: String,
    /// Events between agents: `none`.
    pub events: String,
    /// Where event schemas live: `none`.
    pub schema_registry: String,
    /// Where tools are looked up and called: `local`, or the address of a registry, `http(s)://…`.
    pub registry: String,
    /// The token that the registry elsewhere asks for, usually `${env:NAME}`.
    pub registry_token: Option<Secret>,
    /// The model of agents that name none, `provider/model`. Unset: a local server if one answers, else `demo/demo`.
    pub model: Option<String>,
    /// Providers. `openai`, `anthropic`, `ollama` and `demo` exist without being named.
    pub models: BTreeMap<String, Provider>,
    /// What proves to tools who calls them, by the name that tools know it by.
    pub credentials: BTreeMap<String, Credential>,
    /// MCP servers whose tools are imported, by the name that goes before each tool's.
    pub mcp: BTreeMap<String, Mcp>,
    /// OpenAPI documents to import as tools, by the name that goes before each tool's.
    pub openapi: BTreeMap<String, OpenApi>,
    /// What URLs that no operator wrote may reach besides the public internet.
    pub egress: Egress,
    /// How tools are called.
    pub gateway: Gateway,
    /// Who may. Absent: everyone who reaches the node, which then listens on loopback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Listen anywhere without `auth`. Said again at every start.
    pub insecure: bool,
    /// Ceilings and bounds of what comes in.
    pub limits: Limits,
    /// How tasks are worked on.
    pub worker: Worker,
    /// What is kept how long.
    pub retention: Retention,
    /// Logs, metrics, traces.
    pub telemetry: Telemetry,
    /// What `/ready` asks for.
    pub readiness: Readiness,
    /// The folder that paths are relative to.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            agents: Folders::One("agents/".into()),
            tools: Folders::One("tools/".into()),
            store: "sqlite:maniple.db".into(),
            bus: "local".into(),
            events: "none".into(),
            schema_registry: "none".into(),
            registry: "local".into(),
            registry_token: None,
            model: None,
            models: BTreeMap::new(),
            credentials: BTreeMap::new(),
            mcp: BTreeMap::new(),
            openapi: BTreeMap::new(),
            egress: Egress::default(),
            gateway: Gateway::default(),
            auth: None,
            insecure: false,
            limits: Limits::default(),
            worker: Worker::default(),
            retention: Retention::default(),
            telemetry: Telemetry::default(),
            readiness: Readiness::default(),
            folder: PathBuf::from("."),
        }
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

/// A model provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What it speaks.
    pub api: Api,
    /// Where, `http(s)://…/v1`. Default: the vendor's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Usually `${env:NAME}`. Default: the vendor's environment variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// Whether answers come in pieces. Default true.
    #[serde(default = "yes")]
    pub stream: bool,
    /// US dollars for a million tokens, by model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, Price>,
}
fn yes() -> bool {
    true
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Chat Completions.
    Openai,
    /// Messages.
    Anthropic,
    /// The built-in model without intelligence.
    Demo,
}

/// US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input.
    pub input: f64,
    /// Input from the provider's cache. Default: as input.
    #[serde(default)]
    pub cached_input: Option<f64>,
    /// Output.
    pub output: f64,
}

/// What URLs that no operator wrote may reach besides the public internet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// CIDRs or HOST:PORT.
    pub allow: Vec<String>,
}

/// An OpenAPI document to import.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenApi {
    /// A file, relative to this one. Either this or `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where the document is read, at the start and every `refresh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where calls go, instead of the document's servers. What is written here is trusted; what the document says is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The credential of operations that need one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The credential of each security scheme. Default: the one of the scheme's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, String>,
    /// Only these operations, by operationId, tag or name of the tool. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Whose proposed effects are taken: `all`, or names of tools. Default: nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
    /// How often a document at a URL is read again. Default 10 min.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Period>,
}

/// An MCP server whose tools are imported.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mcp {
    /// Its endpoint, streamable HTTP. Either this or `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Sent with every request to `url`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// A program and its arguments that speaks MCP on its standard streams.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// What the program finds in its environment, beside the likes of PATH and HOME.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
    /// Where the program runs, relative to this file. Default: this file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Whose proposed effects are taken: `all`, or names of tools. Default: nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
    /// How long one call may take. Default 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// The version of its tools, in the place of what the server says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Whose effects, claimed by their source, an operator takes for true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Confirm {
    /// `all`
    Word(AllOfThem),
    /// Of these tools.
    These(Vec<String>),
}
/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllOfThem {
    /// Of every tool.
    All,
}

/// How tools are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// How often the `health_url` of a tool is asked, give or take a fifth. Default 10 s.
    pub health_every: Period,
    /// How long its answer may take. Default 2 s.
    pub health_timeout: Period,
    /// So many failures in a row make an instance unhealthy; one success makes it well again. Default 2.
    pub health_failures: u32,
    /// What the cached results of pure tools may weigh, in bytes. Default 64 MiB.
    pub cache_bytes: u64,
    /// How long the outcome of a call over HTTP is remembered under its Idempotency-Key. Default 24 h.
    pub keys_kept: Period,
}
impl Default for Gateway {
    fn default() -> Self {
        Self {
            health_every: Period::seconds(10),
            health_timeout: Period::seconds(2),
            health_failures: 2,
            cache_bytes: 64 << 20,
            keys_kept: Period::seconds(86_400),
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
    /// What it may do: `run`, `read`, `cancel`, `tools`, `approve`, `admin`. Default `run`, `read`, `cancel`.
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

/// Ceilings and bounds of what comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most `max_steps` a task may ask for, in model calls. Default 25, at most 1,000.
    pub max_steps: u32,
    /// The most `token_budget` a task may ask for, in tokens. Default 32,768, at most 10,000,000.
    pub token_budget: u64,
    /// The largest request body, in bytes. Default 1 MiB.
    pub body_bytes: u64,
    /// How deep a body may nest. Default 64.
    pub json_depth: u64,
    /// How many members and items a body may hold. Default 10,000.
    pub json_members: u64,
    /// How long a request's head may take. Default 10 s.
    pub header_read: Period,
    /// Requests handled at once; beyond, 503. Default 20,000.
    pub in_flight_requests: u64,
    /// Open event streams; beyond, 503. Default 10,000.
    pub event_streams: u64,
    /// Requests of one tenant a minute; beyond, 429. Default: no limit.
    pub requests_per_minute: Option<u64>,
    /// Tasks that may wait in one session; beyond, 429. Default 100.
    pub session_waiting: u32,
    /// Unfinished tasks in the store; beyond, 503. Default 1,000,000.
    pub unfinished_tasks: u64,
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_steps: 25,
            token_budget: 32_768,
            body_bytes: 1 << 20,
            json_depth: 64,
            json_members: 10_000,
            header_read: Period::seconds(10),
            in_flight_requests: 20_000,
            event_streams: 10_000,
            requests_per_minute: None,
            session_waiting: 100,
            unfinished_tasks: 1_000_000,
        }
    }
}

/// How tasks are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Tasks driven at once. Default 1,024.
    pub max_running: u64,
    /// Tool calls of one step in flight at once, of the at most 16 that run. Default 8.
    pub calls_parallel: u64,
    /// How long an idle worker waits without a hint before it looks. Default 1 s.
    pub poll: Period,
    /// How long `POST /run` waits before it answers 202. Default 50 s; an agent may set its own.
    pub sync_run: Period,
    /// How long one model call may take in all. Default 10 min; an agent may set its own.
    pub call_max: Period,
    /// How long until the first byte of a model's answer. Default 30 s.
    pub first_byte: Period,
    /// How long between two chunks of a model's answer. Default 30 s.
    pub between_chunks: Period,
    /// The longest Retry-After that is waited for. Default 10 min.
    pub retry_after_max: Period,
    /// How long a stopping node waits for `at_most_once` calls in flight. Default 30 s.
    pub drain: Period,
    /// How long a person has to decide over a call; never beyond the task's deadline. Default 1 d.
    pub approval_expires: Period,
}
impl Default for Worker {
    fn default() -> Self {
        Self {
            max_running: 1_024,
            calls_parallel: 8,
            poll: Period::seconds(1),
            sync_run: Period::seconds(50),
            call_max: Period::seconds(600),
            first_byte: Period::seconds(30),
            between_chunks: Period::seconds(30),
            retry_after_max: Period::seconds(600),
            drain: Period::seconds(30),
            approval_expires: Period::seconds(86_400),
        }
    }
}

/// What is kept how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Finished tasks with their journals; their ids stay taken for 30 days more. Default 30 d.
    pub finished_tasks: Period,
}
impl Default for Retention {
    fn default() -> Self {
        Self { finished_tasks: Period::seconds(30 * 86_400) }
    }
}

/// Logs, metrics, traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// `human` or `json`. Default human.
    pub log: LogFormat,
    /// A level, or a filter such as `info,maniple_runtime=debug`. `RUST_LOG` overrides it. Default info.
    pub level: String,
    /// Where traces go, OTLP over HTTP, such as `http://127.0.0.1:4318`. Default: nowhere.
    pub otlp_endpoint: Option<String>,
    /// The share of traces that begin here and are exported, 0 to 1. Default 1.
    pub sample_ratio: f64,
}
impl Default for Telemetry {
    fn default() -> Self {
        Self { log: LogFormat::Human, level: "info".into(), otlp_endpoint: None, sample_ratio: 1.0 }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One object a line.
    Json,
}

/// What `/ready` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Readiness {
    /// For each agent one model whose breaker is not open: `require`, or `report` it as degraded. Default require.
    pub model: Need,
    /// A registry elsewhere that answers: `require`, or `report` it as degraded. Default report.
    pub registry: Need,
}
impl Default for Readiness {
    fn default() -> Self {
        Self { model: Need::Require, registry: Need::Report }
    }
}

/// What a part's failure does to readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Not ready.
    Require,
    /// Ready, and named as degraded.
    Report,
}

/// A duration: `500ms`, `50s`, `10m`, `1h`, `30d`, or a number of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(u64);

impl Period {
    const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }
    /// In milliseconds.
    pub fn ms(self) -> u64 {
        self.0
    }
    /// As the standard library has it.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}
impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        let fits = units.into_iter().find(|(_, ms)| self.0.is_multiple_of(*ms) && self.0 >= *ms);
        let (unit, ms) = fits.unwrap_or(("ms", 1));
        serializer.serialize_str(&format!("{}{unit}", self.0 / ms))
    }
}
impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ms = duration::deserialize(deserializer)?;
        ms.map(Self).ok_or_else(|| de::Error::custom("a duration is missing: write 500ms, 50s, 10m, 1h or 30d"))
    }
}

/// A secret: it prints as `***`.
#[derive(Debug, Clone)]
pub struct Secret(pub SecretString);
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}
