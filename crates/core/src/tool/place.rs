//! Where the arguments of a call travel, and how they are written there.

use serde::{Deserialize, Serialize};

/// Where an argument travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// In what.
    #[serde(rename = "in")]
    pub carrier: Carrier,
    /// Under which name, where it is not the argument's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How a list or an object is written. Unsaid: in a query and a cookie each item of a list under the name again, anything else
    /// that is no scalar as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// Whether each item, or member, stands by itself. Unsaid: for `form`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explode: Option<bool>,
    /// Of a query: leaves `:/?@!$'()*,;[]` as they are. What would begin another parameter is encoded all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_reserved: bool,
}

impl Place {
    /// In this carrier, under the argument's own name, written as is usual there.
    pub fn of(carrier: Carrier) -> Self {
        Self { carrier, name: None, style: None, explode: None, allow_reserved: false }
    }
    /// Whether each item or member stands by itself: what is said, or what its style does.
    pub fn explodes(&self) -> bool {
        self.explode.unwrap_or(matches!(self.style, None | Some(Style::Form)))
    }
}

/// What carries an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// `{argument}` in the path.
    Path,
    /// The query.
    Query,
    /// A header. Those that HTTP or the registry itself needs are refused.
    Header,
    /// A cookie.
    Cookie,
    /// The whole body is this argument's value.
    Body,
}

/// How a list or an object is written outside of a body, by the names of OpenAPI (RFC 6570).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum Style {
    /// `a,b`; in paths and headers.
    Simple,
    /// `.a.b`; in paths.
    Label,
    /// `;p=a;p=b`; in paths.
    Matrix,
    /// `p=a&p=b`, or `p=a,b` unless it explodes; in queries and cookies.
    Form,
    /// `p=a%20b`; in queries.
    SpaceDelimited,
    /// `p=a%7Cb`; in queries.
    PipeDelimited,
    /// `p[member]=a`; in queries.
    DeepObject,
    /// The value as JSON text, whatever it is.
    Json,
}

/// The body of a call: in what form it is written, and when there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Body {
    /// Its media type. JSON (`application/json`, `…+json`) is written as such; `application/x-www-form-urlencoded` and
    /// `multipart/form-data` as their fields; anything else is the text of the one argument that is the body. Default
    /// `application/json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// When there is one. Default `always`.
    #[serde(skip_serializing_if = "Sent::is_always")]
    pub sent: Sent,
    /// How fields of a form are written that are not written as usual, by argument.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub fields: std::collections::BTreeMap<String, FormField>,
}

/// When a call has a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// Each time.
    #[default]
    Always,
    /// Where one of its arguments is given.
    IfGiven,
    /// Never: arguments without a place go in the query.
    Never,
}

impl Sent {
    fn is_always(&self) -> bool {
        *self == Self::Always
    }
}

/// How a field of a form is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct FormField {
    /// Its name in the form, where it is not the argument's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of `application/x-www-form-urlencoded`: how a list or an object is written. Unsaid: lists item by item, objects as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// Whether each item, or member, stands by itself. Unsaid: for `form`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explode: Option<bool>,
    /// Of `multipart/form-data`: the media type of its part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Of `multipart/form-data`: it is a file, whose content is the text that is given.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub file: bool,
}
