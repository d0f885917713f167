//! What models wrote, made fit to be shown to a provider again.
//!
//! Calls in a conversation may come from another provider and may be broken; many servers parse
//! them again and answer a 4xx or a 500 for the whole request if they are not what they expect.

use crate::{answer, profile::CallIds};
use maniple_core::{
    message::{Message, Reasoning, ToolCall},
    model::ModelName,
};
use serde_json::{Value, value::RawValue};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

/// The arguments of an earlier call as a JSON object: text that is none goes under `invalid_arguments`.
pub fn arguments(text: &str) -> Cow<'_, RawValue> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) if json.get().starts_with('{') => Cow::Borrowed(json),
        _ if text.trim().is_empty() => Cow::Owned(raw(&serde_json::Map::new())),
        _ => Cow::Owned(raw(&serde_json::json!({ "invalid_arguments": text }))),
    }
}

fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a map with string keys can be written")
}

/// The name of an earlier call in `[a-zA-Z0-9_-]{1,64}`, which providers insist on: a model may have made one up.
pub fn tool_name(name: &str) -> Cow<'_, str> {
    match name {
        "" => Cow::Borrowed("unknown"),
        name if name.len() <= 64 && name.chars().all(fits) => Cow::Borrowed(name),
        name => Cow::Owned(name.chars().take(64).map(|c| if fits(c) { c } else { '_' }).collect()),
    }
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// How what was said is told to whom it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kin {
    /// The same model of the same provider said it.
    Itself,
    /// Another model of the same provider.
    Sibling,
    /// Somebody else, or nobody knows.
    Stranger,
}

impl Kin {
    /// Of whoever said it to `to`.
    pub fn of(by: Option<&ModelName>, to: &ModelName) -> Self {
        match by {
            Some(by) if by == to => Self::Itself,
            Some(by) if by.provider() == to.provider() => Self::Sibling,
            _ => Self::Stranger,
        }
    }

    /// What was thought, as it may go back: plain text to its provider, what is signed to the very model that signed it.
    pub fn gives_back(self, reasoning: Option<&Reasoning>) -> (Option<&Reasoning>, Option<&Value>) {
        let signed = reasoning.and_then(|reasoning| reasoning.verbatim.as_ref());
        match self {
            Self::Itself => (reasoning, signed),
            Self::Sibling => (reasoning, None),
            Self::Stranger => (None, None),
        }
    }
}

/// The ids of calls as one provider is shown them: its own as it gave them, others by its rule and unlike any in the conversation,
/// the same for a call and its result.
pub struct Ids<'a> {
    rule: CallIds,
    used: HashSet<String>,
    /// What the calls of the newest answer became.
    newest: HashMap<&'a str, String>,
    answers: usize,
}

impl<'a> Ids<'a> {
    /// For a model of a provider with this rule, which is shown these messages: what it gave itself is given to no other call of them.
    pub fn of(rule: CallIds, messages: &[Message], to: &ModelName) -> Self {
        let own = messages.iter().filter_map(|message| match message {
            Message::Assistant { calls, by, .. } if rule.keeps(Kin::of(by.as_ref(), to)) => Some(calls),
            _ => None,
        });
        let used = own.flatten().map(|call| call.id.clone()).collect();
        Self { rule, used, newest: HashMap::new(), answers: 0 }
    }

    /// The next answer has these calls, and whose they are.
    pub fn answer(&mut self, calls: &'a [ToolCall], kin: Kin) {
        self.answers += 1;
        self.newest.clear();
        let is_own = self.rule.keeps(kin);
        for (at, call) in calls.iter().enumerate() {
            let mut id = call.id.clone();
            let mut tries = 0;
            while !is_own && (!self.rule.allows(&id) || self.used.contains(&id)) {
                id = answer::made_id(&[&self.answers.to_string(), &at.to_string(), &call.id, &tries.to_string()]);
                tries += 1;
            }
            self.used.insert(id.clone());
            self.newest.insert(&call.id, id);
        }
    }

    /// A call of the newest answer, or its result.
    pub fn id(&self, id: &str) -> String {
        self.newest.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }
}

impl CallIds {
    /// Whether ids go back to it as they came.
    fn keeps(self, kin: Kin) -> bool {
        kin == Kin::Itself || kin == Kin::Sibling && self == Self::Usual
    }
    fn allows(self, id: &str) -> bool {
        match self {
            Self::Usual => (1..=40).contains(&id.len()) && id.chars().all(fits),
            Self::Nine => id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(rule: CallIds) -> Ids<'static> {
        Ids::of(rule, &[], &ModelName::parse("lab/m1").expect("a name"))
    }

    #[test]
    fn arguments_that_are_no_object_are_wrapped_and_objects_stay_as_they_were() {
        for (text, shown) in [
            (r#" {"b": 1,"a":2} "#, r#"{"b": 1,"a":2}"#),
            ("", "{}"),
            (r#"{"a": "#, r#"{"invalid_arguments":"{\"a\": "}"#),
            ("[1]", r#"{"invalid_arguments":"[1]"}"#),
            ("null", r#"{"invalid_arguments":"null"}"#),
        ] {
            assert_eq!(arguments(text).get(), shown, "{text}");
        }
    }

    #[test]
    fn names_that_no_provider_would_take_back_are_spelled_so_that_it_does() {
        assert_eq!(tool_name("web_search-2"), "web_search-2");
        assert_eq!(tool_name("functions.clock "), "functions_clock_");
        assert_eq!(tool_name(""), "unknown");
        assert_eq!(tool_name(&"é".repeat(90)), "_".repeat(64));
    }

    fn calls(ids: &[&str]) -> Vec<ToolCall> {
        ids.iter().map(|id| ToolCall { id: (*id).into(), ..ToolCall::default() }).collect()
    }

    #[test]
    fn a_provider_gets_its_own_ids_back_however_odd_they_are() {
        let odd = calls(&["functions.calculator:0", "call_1|fc_2", &"x".repeat(300)]);
        for (rule, kin) in [(CallIds::Usual, Kin::Itself), (CallIds::Usual, Kin::Sibling), (CallIds::Nine, Kin::Itself)] {
            let mut ids = none(rule);
            ids.answer(&odd, kin);
            assert!(odd.iter().all(|call| ids.id(&call.id) == call.id), "{rule:?} {kin:?}");
        }
    }

    #[test]
    fn ids_of_others_are_mapped_by_the_rule_and_are_unlike_any_in_the_conversation() {
        for (rule, id) in [(CallIds::Usual, "call_0"), (CallIds::Nine, "abcdefghi"), (CallIds::Usual, "call|0"), (CallIds::Nine, "call_0")]
        {
            let (first, second) = (calls(&[id, "b"]), calls(&[id, "b"]));
            let mut ids = none(rule);
            let mut seen = HashSet::new();
            for answer in [&first, &second] {
                ids.answer(answer, Kin::Stranger);
                for call in answer {
                    let shown = ids.id(&call.id);
                    assert!(rule.allows(&shown), "{shown}");
                    assert!(seen.insert(shown), "`{id}` twice by {rule:?}");
                }
            }
        }
        let mut ids = none(CallIds::Nine);
        let fit = calls(&["abcdefghi"]);
        ids.answer(&fit, Kin::Stranger);
        assert_eq!(ids.id("abcdefghi"), "abcdefghi", "what fits stays");
    }

    #[test]
    fn what_was_thought_goes_back_to_its_provider_and_what_is_signed_to_its_model_alone() {
        let name = |text: &str| ModelName::parse(text).expect("a name");
        let thought = Reasoning { text: "hm".into(), verbatim: Some("signed".into()), ..Reasoning::default() };
        let given = |by: &str| {
            let (plain, signed) = Kin::of(Some(&name(by)), &name("lab/m1")).gives_back(Some(&thought));
            (plain.is_some(), signed.is_some())
        };
        assert_eq!([given("lab/m1"), given("lab/m2"), given("other/m1")], [(true, true), (true, false), (false, false)]);
        assert_eq!(Kin::of(None, &name("lab/m1")), Kin::Stranger);
    }

    #[test]
    fn an_id_that_another_model_gave_gives_way_to_the_same_id_of_a_models_own_wherever_it_stands() {
        let name = |text: &str| ModelName::parse(text).expect("a name");
        let answer = |by: &str| Message::Assistant { content: None, calls: calls(&["call_0"]), reasoning: None, by: Some(name(by)) };
        let messages = [answer("other/m1"), answer("lab/m1")];
        let mut ids = Ids::of(CallIds::Usual, &messages, &name("lab/m1"));
        let shown: Vec<String> = messages
            .iter()
            .map(|message| {
                let Message::Assistant { calls, by, .. } = message else { unreachable!() };
                ids.answer(calls, Kin::of(by.as_ref(), &name("lab/m1")));
                ids.id("call_0")
            })
            .collect();
        assert_eq!((shown[0] == "call_0", shown[1].as_str()), (false, "call_0"));
    }
}
