//! A structured answer is JSON, alone or in one fenced block; models add the fence unasked.

use serde_json::Value;

/// The JSON in an answer.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let bare = text.trim();
    let inner = bare
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"))
        .and_then(|block| block.split_once('\n'))
        .map_or(bare, |(_, body)| body.trim());
    serde_json::from_str(inner).map_err(|e| format!("it is not JSON: {e}"))
}
