//! Which tools a prompt speaks of.

use super::fill;
use maniple_core::message::ToolSpec;
use std::collections::BTreeSet;

/// Words that say nothing about what is wanted.
const EMPTY: &[&str] = &[
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "been", "by", "call", "can", "could", "do", "does", "for", "from",
    "get", "give", "given", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "just", "let", "like", "make", "me", "more",
    "my", "no", "not", "of", "on", "one", "or", "other", "our", "out", "please", "return", "say", "should", "show", "so", "some", "tell",
    "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "to", "tool", "up", "us", "use", "using", "want",
    "was", "we", "were", "what", "when", "where", "which", "who", "will", "with", "would", "you", "your",
];
const NAME_WORD: usize = 3;
const FOUND_ARGUMENT: usize = 3;

/// The tools that `prompt` speaks of, the clearest first. A single word of a description is enough for a tool that
/// needs no arguments; others want two, a word of their name, or an argument that only they can be meant by.
pub fn spoken_of<'a>(tools: impl Iterator<Item = &'a ToolSpec>, prompt: &str) -> Vec<&'a ToolSpec> {
    let said = words(prompt);
    let mut scored: Vec<(usize, &ToolSpec)> = tools
        .filter_map(|tool| {
            let name = words(&tool.name);
            let in_name = name.intersection(&said).count();
            let in_description = words(&tool.description).difference(&name).filter(|word| said.contains(*word)).count();
            let found = if fill::finds_an_argument(&tool.parameters, prompt) { FOUND_ARGUMENT } else { 0 };
            let score = in_name * NAME_WORD + in_description + found;
            let enough = if fill::required(&tool.parameters).next().is_none() { 1 } else { 2 };
            (score >= enough).then_some((score, tool))
        })
        .collect();
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    scored.into_iter().map(|(_, tool)| tool).collect()
}

/// The words that mean something, in one spelling.
fn words(text: &str) -> BTreeSet<String> {
    let all = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
    all.filter(|word| word.len() > 1 && !EMPTY.contains(&word.as_str())).map(stem).collect()
}

/// `searches`, `searched` and `search` are one; so are `calculate` and `calculator`.
fn stem(word: String) -> String {
    for end in ["ations", "ation", "ators", "ator", "ating", "ates", "ate", "ings", "ing", "ies", "ed", "es", "s", "y", "e"] {
        if let Some(rest) = word.strip_suffix(end)
            && rest.chars().count() >= 3
        {
            return rest.to_owned();
        }
    }
    word
}
