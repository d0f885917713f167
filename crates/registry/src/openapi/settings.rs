//! The section `openapi`: a document as an operator names it.

use crate::Confirm;
use maniple_core::{
    Error, Result,
    settings::{Bound, Period, Section},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An OpenAPI document to import; its name is the key that it stands under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportSettings {
    /// A file, relative to the settings. Either this or `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where the document is read, at the start and every `refresh`. What it says is relative is so to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where calls go, instead of the document's own servers. What is written here is trusted; what the document says is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The credential of operations that need one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The credential of each security scheme; goes before `credential`. Default: the one of the scheme's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, String>,
    /// Only these operations, by operationId, tag or name of the tool. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Whose proposed effects are taken: `all`, or names of tools. Default: nobody's.
    #[serde(skip_serializing_if = "Confirm::is_nothing")]
    pub confirm: Confirm,
    /// How often a document at a `url` is read again, 1 s to 1 d. Default 10 min.
    pub refresh: Period,
}

impl Default for ImportSettings {
    fn default() -> Self {
        Self {
            file: None,
            url: None,
            base_url: None,
            credential: None,
            credentials: BTreeMap::new(),
            include: Vec::new(),
            confirm: Confirm::Nothing,
            refresh: Period::minutes(10),
        }
    }
}

impl Section for ImportSettings {
    fn bounds(&self) -> Vec<Bound> {
        vec![Bound::of("refresh", self.refresh, Period::seconds(1)..=Period::days(1))]
    }
}

impl ImportSettings {
    /// `Invalid` where there is nothing to read, or twice.
    pub fn check(&self, name: &str) -> Result<()> {
        if self.file.is_some() == self.url.is_some() {
            return Err(Error::invalid(format!("openapi.{name} needs either `file` or `url`")).at(format!("openapi.{name}")));
        }
        self.within_bounds(&format!("openapi.{name}"))
    }
}
