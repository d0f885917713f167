//! Which tool a model means that spells its name with something around it.

use maniple_core::message::ToolSpec;

/// The offered tool that is meant, where the name as written is none but what is left without the decorations of some formats is.
pub fn meant<'a>(name: &str, tools: &'a [ToolSpec]) -> Option<&'a str> {
    let offered = |name: &str| tools.iter().map(|tool| tool.name.as_str()).find(|offered| *offered == name);
    if offered(name).is_some() {
        return None;
    }
    // gpt-oss writes the channel behind it, others a namespace before it.
    let bare = name.split("<|").next().unwrap_or_default().trim();
    offered(bare).or_else(|| offered(bare.strip_prefix("functions.")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::tool;
    use serde_json::json;

    #[test]
    fn decorations_go_and_nothing_is_guessed() {
        let tools = [tool("clock", "", json!({})), tool("functions.odd", "", json!({}))];
        for (name, expected) in [
            ("clock", None),
            ("clock ", Some("clock")),
            ("functions.clock", Some("clock")),
            ("clock<|channel|>commentary", Some("clock")),
            ("functions.odd", None),
            ("Clock", None),
            ("clocks", None),
        ] {
            assert_eq!(meant(name, &tools), expected, "{name}");
        }
    }
}
