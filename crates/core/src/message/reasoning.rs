//! What a model thought before it spoke: text for people, and what its provider wants back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most of what was thought that is kept as text, in bytes.
pub const REASONING_MAX: usize = 256 << 10;
/// The most that signed and structured pieces may weigh, in bytes of JSON: beyond it they are left out whole, for half a signature
/// is worth nothing.
pub const VERBATIM_MAX: usize = 1 << 20;

/// What a model thought.
///
/// Some providers refuse the next request unless it comes back to them, as it was. Nothing but the dialect of that provider reads
/// `fields` and `verbatim`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reasoning {
    /// For people, at most [`REASONING_MAX`] bytes.
    pub text: String,
    /// The members of a message that the text came in, and goes back in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub fields: Vec<String>,
    /// Signed or structured pieces, as they came, at most [`VERBATIM_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub verbatim: Option<Value>,
    /// What was left out, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Reasoning {
    /// What came, within its bounds; `None` where nothing did.
    pub fn kept(text: String, fields: Vec<String>, verbatim: Option<Value>) -> Option<Self> {
        let mut kept = Self { text, fields, verbatim, note: None };
        let mut left_out = Vec::new();
        if kept.text.len() > REASONING_MAX {
            left_out.push(format!("the text was cut at {REASONING_MAX} of {} bytes", kept.text.len()));
            kept.text.truncate(kept.text.floor_char_boundary(REASONING_MAX));
        }
        let weight = kept.verbatim.as_ref().map_or(0, |verbatim| verbatim.to_string().len());
        if weight > VERBATIM_MAX {
            left_out.push(format!("its signed pieces, {weight} bytes, are more than {VERBATIM_MAX} and were left out"));
            kept.verbatim = None;
        }
        kept.note = (!left_out.is_empty()).then(|| left_out.join("; "));
        (kept != Self::default()).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_cut_but_a_signature_is_kept_whole_or_not_at_all() {
        let long = "é".repeat(REASONING_MAX);
        let signed = Value::String("s".repeat(VERBATIM_MAX));
        let kept = Reasoning::kept(long, vec!["reasoning".into()], Some(signed)).expect("something was thought");
        assert!(kept.text.len() <= REASONING_MAX && kept.text.chars().all(|c| c == 'é'));
        assert_eq!(kept.verbatim, None);
        let note = kept.note.expect("it says so");
        assert!(note.contains("cut at") && note.contains("signed pieces"), "{note}");
        assert_eq!(Reasoning::kept(String::new(), Vec::new(), None), None);
        let signed = Reasoning::kept(String::new(), Vec::new(), Some(Value::String("s".into()))).expect("a signature is something");
        assert_eq!((signed.verbatim, signed.note), (Some(Value::String("s".into())), None));
    }
}
