//! What a provider's complaint about a request teaches: a 400 that names a member or a limit is mended, and not made again.
//!
//! | it complains of | then |
//! |---|---|
//! | too many tokens of output, by a limit of the model or what its window leaves | fewer are asked for |
//! | an account that can pay for less (402) | that much is asked for, by this call |
//! | `max_tokens`, for which it has another word | that |
//! | what it thought, which is missing, or is not wanted | given back, or left out |
//! | a signature | what is signed is left out, of this call |
//! | `response_format` and its kin | the model is told instead |
//! | the role `developer` or `system` | the next one |
//! | another member that can be left out | it is |
//!
//! What is learnt of the model holds for every call. That a value of one call is refused, or its schema, is learnt for that call.
//!
//! What an operator wrote under `extra` is his own, and so is a complaint about it.

mod limits;

use crate::{
    fault::Said,
    profile::{Profile, Structured, SystemRole, Thinking, TokensField},
};
use limits::Limit;
use maniple_core::{estimate, model::Effort, model::ModelRequest};
use serde_json::{Map, Value};

/// How many complaints of one call are mended.
pub const MENDS: u32 = 4;
/// The most tokens that a provider is believed to count beside every prompt.
const OVERHEAD_MAX: u64 = 512;

/// A request that was complained of.
pub struct Sent<'a> {
    /// What it was made of.
    pub request: &'a ModelRequest,
    /// How.
    pub profile: &'a Profile,
    /// Its body.
    pub body: &'a Map<String, Value>,
    /// The output it asked for, in tokens.
    pub max_tokens: u32,
}

/// What is done about it.
#[derive(Debug, PartialEq)]
pub struct Lesson {
    /// How the request is made again.
    pub profile: Profile,
    /// What this call may ask for at most, in tokens of output.
    pub most: Option<u32>,
    /// Whether it holds for other calls too.
    pub lasts: bool,
    /// For the operator: what was learnt.
    pub told: String,
}

/// What the answer `status` with this body, which says this, teaches, if anything.
pub fn lesson(status: u16, body: &str, said: &Said, sent: &Sent) -> Option<Lesson> {
    let said = Complaint::of(body, said);
    if status == 402 {
        // Little is left, but some: this call is made with it.
        let most = limits::affordable(said.words).filter(|most| (crate::profile::LEAST_OUTPUT..sent.max_tokens).contains(most))?;
        return Some(Lesson { most: Some(most), ..Lesson::once(sent.profile.clone()) });
    }
    if !matches!(status, 400 | 422 | 501) {
        return None;
    }
    output(&said, sent)
        .or_else(|| thought(&said, sent))
        .or_else(|| form(&said, sent))
        .or_else(|| roles(&said, sent))
        .or_else(|| members(&said, sent))
}

/// Too much output, or the wrong word for it.
fn output(said: &Complaint, sent: &Sent) -> Option<Lesson> {
    let profile = sent.profile;
    match limits::limit(said.words, sent.max_tokens) {
        Some(Limit::Output(most)) => {
            let learnt = Profile { max_output: Some(most), ..profile.clone() };
            return Some(Lesson { most: Some(most), ..Lesson::lasting(learnt, format!("says at most {most} tokens")) });
        }
        Some(Limit::Window { window, input }) => {
            let estimated = estimate::request_tokens(sent.request);
            // What is beyond is this prompt's own, which our estimate does not fit.
            let beside = input.unwrap_or(0).saturating_sub(estimated).min(OVERHEAD_MAX);
            let overhead = beside.max(profile.overhead);
            let left =
                u64::from(window).checked_sub(input.unwrap_or(estimated)).filter(|left| *left >= crate::profile::LEAST_OUTPUT.into())?;
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let most = match said.words.contains("at least") {
                // Some count no further than they must: half is surer.
                true => left.min(sent.max_tokens / 2),
                false if left < sent.max_tokens => left,
                // It was not the output that was too much.
                false => return None,
            };
            let learnt = Profile { context: Some(window), overhead, ..profile.clone() };
            return Some(Lesson { most: Some(most.max(1)), ..Lesson::lasting(learnt, format!("has a window of {window} tokens")) });
        }
        None => {}
    }
    let other = match profile.tokens {
        TokensField::MaxTokens if said.names("max_tokens") => ("max_tokens", TokensField::MaxCompletionTokens),
        TokensField::MaxCompletionTokens if said.names("max_completion_tokens") => ("max_completion_tokens", TokensField::MaxTokens),
        _ => return None,
    };
    if !sent.body.contains_key(other.0) || !said.refuses() {
        return None;
    }
    // Refused in both words, it is not said at all.
    let both = !profile.takes("max_tokens") || !profile.takes("max_completion_tokens");
    let mut learnt = Profile { tokens: if both { TokensField::None } else { other.1 }, ..profile.clone() };
    learnt.left_out.insert(other.0.to_owned());
    Some(Lesson::lasting(learnt, format!("does not take `{}`", other.0)))
}

/// What was thought: missing, not wanted, or with a signature that is not believed.
fn thought(said: &Complaint, sent: &Sent) -> Option<Lesson> {
    let profile = sent.profile;
    if said.text.contains("signature") {
        let is_missing = said.says(&["missing a thought", "missing thought", "is missing"]);
        if is_missing && !profile.stands_in_for_signatures {
            let learnt = Profile { stands_in_for_signatures: true, ..profile.clone() };
            return Some(Lesson::lasting(learnt, "wants a signature on every call".into()));
        }
        let of_thought = said.says(&["thinking", "thought", "reasoning"]);
        return (of_thought && profile.gives_back).then(|| Lesson::once(Profile { gives_back: false, ..profile.clone() }));
    }
    if said.says(&["expected `thinking`", "expected thinking", "must start with a thinking block"]) && sent.body.contains_key("thinking") {
        let mut learnt = profile.clone();
        learnt.left_out.insert("thinking".to_owned());
        return Some(Lesson::once(learnt));
    }
    for field in ["reasoning_content", "reasoning_details", "reasoning", "thinking_blocks", "extra_content"] {
        if !said.names(field) {
            continue;
        }
        if said.says(&["missing", "must be passed", "passed back", "required"]) && profile.thought_field.as_deref() != Some(field) {
            let learnt = Profile { thought_field: Some(field.to_owned()), ..profile.clone() };
            return Some(Lesson::lasting(learnt, format!("wants `{field}` in every message of its own")));
        }
        let was_given = sent.body["messages"].as_array().into_iter().flatten().any(|message| message.get(field).is_some());
        if was_given && profile.gives_back && said.refuses() {
            let learnt = Profile { gives_back: false, thought_field: None, ..profile.clone() };
            return Some(Lesson::lasting(learnt, format!("does not take `{field}` back")));
        }
    }
    None
}

/// A schema that it cannot hold an answer to.
fn form(said: &Complaint, sent: &Sent) -> Option<Lesson> {
    const WORDS: [&str; 7] =
        ["response_format", "json_schema", "structured output", "grammar", "output_config.format", "output_format", "guided"];
    let is_native =
        sent.body.contains_key("response_format") || sent.body.get("output_config").is_some_and(|config| config["format"].is_object());
    let speaks_of_it = || said.says(&WORDS) || said.refuses() && said.says(&["json mode", "json object", "response mime type", "schema"]);
    if !is_native || !speaks_of_it() {
        return None;
    }
    const OF_SCHEMA: [&str; 15] = [
        "invalid schema",
        "invalid json schema",
        ".schema",
        "schema is invalid",
        "schema must",
        "schema contains",
        "in context",
        "properties",
        "'required'",
        "response_schema",
        "unrecognized schema",
        "could not understand",
        "keyword",
        "$ref",
        "complex",
    ];
    let with_tools = sent.body.contains_key("tools") && said.says(&["tool", "function"]);
    let is_form = said.is_unknown() || with_tools || said.text.contains("unknown variant");
    let told = |profile| match is_form && !said.says(&OF_SCHEMA) {
        true => Lesson::lasting(profile, "does not hold answers to a schema".into()),
        false => Lesson::once(profile),
    };
    let prompted = Structured::Prompted;
    let learnt = match with_tools {
        // With tools it may be refused that is taken without.
        true => Profile { structured_beside_tools: prompted, ..sent.profile.clone() },
        false => Profile { structured: prompted, structured_beside_tools: prompted, ..sent.profile.clone() },
    };
    if learnt == *sent.profile {
        // In its last step an agent's tools are shown though it may not call them.
        let learnt = Profile { structured: prompted, ..learnt };
        return (learnt != *sent.profile).then(|| told(learnt));
    }
    Some(told(learnt))
}

/// Who the system prompt may be said to be from.
fn roles(said: &Complaint, sent: &Sent) -> Option<Lesson> {
    if !said.text.contains("role") {
        return None;
    }
    let next = match sent.profile.system_role {
        SystemRole::Developer if said.names("developer") => SystemRole::System,
        SystemRole::System if said.names("system") && said.refuses() => SystemRole::User,
        _ => return None,
    };
    Some(Lesson::lasting(Profile { system_role: next, ..sent.profile.clone() }, "does not know the role of the system prompt".into()))
}

/// Members that can be left out, the more particular first: of two that exclude each other the first one goes.
fn members(said: &Complaint, sent: &Sent) -> Option<Lesson> {
    const MEMBERS: [&str; 13] = [
        "stream_options",
        "parallel_tool_calls",
        "tool_choice",
        "random_seed",
        "seed",
        "top_p",
        "temperature",
        "stop_sequences",
        "stop",
        "reasoning_effort",
        "thinking",
        "output_config",
        "cache_control",
    ];
    let profile = sent.profile;
    if said.names("reasoning_effort") && said.text.contains("none") && profile.effort.is_none() && sent.body.contains_key("tools") {
        // Some take tools only where they need not think.
        let mut learnt = Profile { effort: Some(Effort::None), ..profile.clone() };
        learnt.left_out.remove("reasoning_effort");
        if !sent.body.contains_key("reasoning_effort") {
            return Some(Lesson::lasting(learnt, "takes tools only with `reasoning_effort: none`".into()));
        }
    }
    if sent.body.contains_key("thinking") && profile.thinking == Thinking::Budget && said.says(&["adaptive", "thinking.type"]) {
        return Some(Lesson::lasting(
            Profile { thinking: Thinking::Adaptive, ..profile.clone() },
            "wants to be told how much to think in a word".into(),
        ));
    }
    let is_sent = |member: &str| match member {
        "cache_control" => sent.body.values().any(|value| value.to_string().contains("\"cache_control\"")),
        member => sent.body.contains_key(member) && !sent.request.options.extra.contains_key(member),
    };
    let alias = |member: &str| if member == "stream_options" { said.names("include_usage") } else { false };
    let member = MEMBERS.into_iter().find(|member| (said.names(member) || alias(member)) && is_sent(member) && said.refuses());
    if let Some(member) = member {
        let mut learnt = profile.clone();
        learnt.left_out.insert(member.to_owned());
        learnt.stream_usage &= member != "stream_options";
        learnt.effort = learnt.effort.filter(|_| member != "reasoning_effort");
        return Some(match said.is_unknown() {
            true => Lesson::lasting(learnt, format!("does not take `{member}`")),
            false => Lesson::once(learnt),
        });
    }
    let no_stream = (said.names("stream") || said.text.contains("streaming")) && said.refuses() && sent.body.contains_key("stream");
    no_stream.then(|| Lesson::lasting(Profile { stream: false, ..profile.clone() }, "cannot stream".into()))
}

impl Lesson {
    fn lasting(profile: Profile, told: String) -> Self {
        Self { profile, most: None, lasts: true, told }
    }
    fn once(profile: Profile) -> Self {
        Self { profile, most: None, lasts: false, told: String::new() }
    }
}

/// A complaint, in lower case.
struct Complaint<'a> {
    /// All of it: members are named beside the words too.
    text: String,
    /// What it says to people.
    words: &'a str,
}

impl<'a> Complaint<'a> {
    fn of(body: &str, said: &'a Said) -> Self {
        Self { text: body.replace("\\\"", "\"").to_lowercase(), words: said.words() }
    }
    fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.text.contains(phrase))
    }
    /// Whether a member is named. One that is a common word must stand in quotes, or at the end of a path.
    fn names(&self, member: &str) -> bool {
        let is_common = matches!(member, "stop" | "seed" | "stream" | "system" | "developer" | "thinking" | "reasoning");
        let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_quote = |c: Option<char>| c.is_some_and(|c| "'\"`.".contains(c));
        self.text.match_indices(member).any(|(at, _)| {
            let (before, behind) = (self.text[..at].chars().next_back(), self.text[at + member.len()..].chars().next());
            !is_letter(before) && !is_letter(behind) && (!is_common || is_quote(before))
        })
    }
    /// Whether it says that something is not taken.
    fn refuses(&self) -> bool {
        const PHRASES: [&str; 30] = [
            "unsupported",
            "not support",
            "n't support",
            "unrecognized",
            "unrecognised",
            "unknown",
            "unexpected",
            "extra inputs",
            "extra_forbidden",
            "extra fields",
            "additional properties",
            "not permitted",
            "not allowed",
            "unavailable",
            "not available",
            "invalid",
            "not valid",
            "deprecated",
            "only the default",
            "cannot",
            "can't",
            "incompatible",
            "deserialize",
            "not implemented",
            "no longer",
            "must be",
            "should",
            "requires",
            "is not one of",
            "disabled",
        ];
        self.says(&PHRASES)
    }
    /// Whether it says that something is not taken whatever its value.
    fn is_unknown(&self) -> bool {
        const PHRASES: [&str; 19] = [
            "unsupported",
            "not support",
            "n't support",
            "unrecognized",
            "unrecognised",
            "unknown",
            "unexpected",
            "extra inputs",
            "extra_forbidden",
            "extra fields",
            "additional properties",
            "not permitted",
            "not allowed",
            "unavailable",
            "not available",
            "deprecated",
            "not implemented",
            "no longer",
            "disabled",
        ];
        const OF_VALUE: [&str; 16] = [
            "unsupported value",
            "unsupported_value",
            "supported values",
            "unknown variant",
            "one of",
            "must be",
            "should be",
            "between",
            "less than",
            "greater than",
            "at most",
            "out of range",
            "both",
            "used together",
            "incompatible",
            "at the same time",
        ];
        self.text.contains("only the default") || self.says(&PHRASES) && !self.says(&OF_VALUE)
    }
}

#[cfg(test)]
mod tests;
