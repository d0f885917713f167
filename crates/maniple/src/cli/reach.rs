//! Finds the node to speak to. With none running, one is started inside this process over the same store:
//! every command then speaks HTTP all the same, so there is one code path.
//!
//! `--url` or `MANIPLE_URL`, of the process or of `.env` beside the settings → the address in the store's lock file → a node of our own.

use super::{
    exit::{Exit, Trouble},
    screen,
    serve::KEEPS,
};
use crate::{
    config::{Config, Environment, FILE_NAME, For, folder_of},
    node::{Node, NodeOptions, RoleName, Roles},
};
use clap::Args;
use maniple_api::client::Client;
use maniple_backends::{StoreUrl, sqlite::Holder};
use maniple_core::{Error, Kind};
use maniple_registry::Files;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the node is.
#[derive(Debug, Clone, Default, Args)]
pub struct Where {
    /// Address of a running node, such as http://127.0.0.1:8080 [default: the owner of the store, or a node of our own]
    #[arg(long, global = true, env = "MANIPLE_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Settings that name the store [default: maniple.yaml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What a node of our own is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must carry tasks out.
    Work,
    /// It only reads and notes; a store that does not exist yet is not made for it.
    Desk,
    /// It only tells what the project's files say.
    Files,
}

/// How long a process that has just opened the store may take until it listens.
const STARTING_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A node within reach.
pub struct Reached {
    /// Speaks to it.
    pub client: Client,
    node: Option<Node>,
    /// The store whose owner it is, and where that one listens.
    found: Option<(StoreUrl, String)>,
}

impl Reached {
    /// Whether somebody works on tasks after this command has ended.
    pub fn goes_on(&self) -> bool {
        self.node.is_none()
    }
    /// Whether it was looked for: where it goes away, another one may have its store. One whose address was given is that one.
    pub fn was_looked_for(&self) -> bool {
        self.node.is_some() || self.found.is_some()
    }
    /// Resolves when the process that was found by its store has let go of it; never for any other node.
    pub async fn gone(&self) {
        let Some((store, address)) = &self.found else { return std::future::pending().await };
        while maniple_backends::holder(store).is_some_and(|holder| holder.address.as_ref() == Some(address)) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    /// Lets go of it; a node of our own stops gracefully.
    pub async fn leave(self) {
        if let Some(node) = self.node {
            node.stop().await;
        }
    }
}

impl Where {
    /// The address that was given, if one was, and the environment beside the settings: the token that stands there goes to that node.
    fn given(&self) -> Result<(Option<String>, Environment), Trouble> {
        let settings = self.config.as_deref().unwrap_or(FILE_NAME.as_ref());
        let environment = Environment::beside(folder_of(settings)).map_err(anyhow::Error::from)?;
        let url = self.url.clone().or_else(|| environment.get("MANIPLE_URL").filter(|url| !url.is_empty()));
        Ok((url, environment))
    }

    /// Whether an address was given: then nobody looks for a node.
    pub fn is_given(&self) -> Result<bool, Trouble> {
        Ok(self.given()?.0.is_some())
    }

    /// Finds the node, or starts one.
    pub async fn reach(&self, need: Need) -> Result<Reached, Trouble> {
        if let (Some(url), environment) = self.given()? {
            return Ok(Reached { client: Client::new(&url, token(&environment))?, node: None, found: None });
        }
        // Looking for a node, and looking at what one has left, needs none of its secrets.
        let mut config = super::settings(self.config.as_deref(), For::Looking)?;
        let (store, token) = (config.store_url()?, token(&config.environment));
        if let Some(address) = holder(&store).await? {
            return Ok(Reached { client: Client::new(&address, token)?, node: None, found: Some((store, address)) });
        }
        match need {
            Need::Work => config = super::settings(self.config.as_deref(), For::Work)?,
            Need::Files => config.store = "memory:".into(),
            Need::Desk if store.is_shared() || store.file().is_some_and(Path::exists) => {}
            Need::Desk => {
                return Err(Trouble {
                    exit: Exit::Unreachable,
                    what: format!("no node runs here, and there is no store {store}"),
                    next: Some("`maniple dev` to start a node, --url for one elsewhere, or --config for another store".into()),
                });
            }
        }
        let options = NodeOptions {
            roles: if need == Need::Work { Roles::default() } else { Roles::of([RoleName::Api]) },
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            quiet: true,
            discover: need != Need::Desk,
            assistant: true,
            keeps: KEEPS,
            files: if need == Need::Work { Files::Lenient } else { Files::Looking },
            ..NodeOptions::default()
        };
        let node = match Node::start(config.clone(), options).await {
            // Somebody else opened the store in between: it is theirs, and they can be asked.
            Err(error) if is_taken(&error) => match holder(&store).await? {
                Some(address) => return Ok(Reached { client: Client::new(&address, token)?, node: None, found: Some((store, address)) }),
                None => return Err(error.into()),
            },
            started => started?,
        };
        Ok(Reached { client: Client::new(&format!("http://{}", node.address()), token)?, node: Some(node), found: None })
    }
}

fn token(environment: &Environment) -> Option<String> {
    environment.get("MANIPLE_TOKEN").filter(|token| !token.is_empty())
}

/// Whether a node could not start because another process has its store.
fn is_taken(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<Error>().is_some_and(|error| error.kind == Kind::Conflict))
}

/// Starts a node; where another process has the store open, such as a `maniple run` that began just before, it is waited for:
/// at most [`STARTING_MAX`].
pub async fn start_when_free(config: Config, options: NodeOptions) -> anyhow::Result<Node> {
    let url = config.store_url()?;
    let mut waited = Duration::ZERO;
    loop {
        match Node::start(config.clone(), options.clone()).await {
            Err(error) if is_taken(&error) && waited < STARTING_MAX => {}
            started => return started,
        }
        if let Some(Holder { pid, .. }) = maniple_backends::holder(&url).filter(|_| waited.is_zero()) {
            screen::remark(format!("process {pid} has {url} open; waiting {} s for it to end", STARTING_MAX.as_secs()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        waited += LOOK_EVERY;
    }
}

/// Where the process that has the store open listens; one that has just opened it is waited for.
async fn holder(url: &StoreUrl) -> Result<Option<String>, Trouble> {
    let mut waited = Duration::ZERO;
    loop {
        match maniple_backends::holder(url) {
            None => return Ok(None),
            Some(Holder { address: Some(address), .. }) => return Ok(Some(address)),
            Some(Holder { pid, .. }) if waited >= STARTING_MAX => {
                return Err(Trouble {
                    exit: Exit::Unreachable,
                    what: format!("process {pid} has the store {url} open, and listens nowhere"),
                    next: Some("wait for it, stop it, or say where it is with --url".into()),
                });
            }
            Some(Holder { address: None, .. }) => {
                tokio::time::sleep(LOOK_EVERY).await;
                waited += LOOK_EVERY;
            }
        }
    }
}
