//! What a prompt has that can be an argument.

use serde_json::{Number, Value};

/// The values in a prompt, each kind in the order it is said.
pub struct Found<'a> {
    /// All of it.
    pub prompt: &'a str,
    /// `http(s)://…`
    pub url: Option<&'a str>,
    /// `Area/City`
    pub zone: Option<&'a str>,
    /// `(2 + 3) * 4`
    pub expression: Option<String>,
    /// Numbers that stand alone or in an expression.
    pub numbers: Vec<Number>,
    /// Text in quotes.
    pub quoted: Vec<&'a str>,
}

impl<'a> Found<'a> {
    /// Looks for them.
    pub fn of(prompt: &'a str) -> Self {
        let word = |c: char| c.is_whitespace() || "\"'<>(),;“”`".contains(c);
        let bare = |w: &'a str| w.trim_end_matches(['.', '?', '!', ':']);
        let url = prompt.split(word).find(|w| w.starts_with("http://") || w.starts_with("https://")).map(bare);
        let is_zone = |w: &&str| {
            let name =
                |part: &str| part.starts_with(|c: char| c.is_ascii_uppercase()) && part.chars().all(|c| c.is_alphabetic() || c == '_');
            w.split_once('/').is_some_and(|(area, city)| name(area) && city.split('/').all(name))
        };
        let plain: String = prompt.split_whitespace().filter(|w| !w.contains("://")).collect::<Vec<_>>().join(" ");
        Self {
            prompt,
            url,
            zone: prompt.split(word).map(bare).find(is_zone),
            expression: expression(&plain),
            numbers: numbers(&plain),
            quoted: quoted(prompt),
        }
    }
}

/// The longest run of digits, operators and brackets that calculates something.
fn expression(text: &str) -> Option<String> {
    let part = |c: char| c.is_ascii_digit() || " .+-*/^%()".contains(c);
    let operator = |c: char| "+-*/^%".contains(c);
    let candidates = text.split(|c| !part(c)).map(|run| {
        let run = run.trim_matches(|c: char| c == ' ' || c == '.');
        run.trim_end_matches(|c: char| operator(c) || c == ' ').trim_start_matches(|c: char| "+*/^% ".contains(c))
    });
    let calculates = |run: &&str| {
        let inner = run.find(|c: char| c.is_ascii_digit()).map_or("", |at| &run[at..]);
        let is_date =
            run.len() == 10 && run.bytes().enumerate().all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
        let balanced = run.matches('(').count() == run.matches(')').count();
        inner.contains(operator) && inner.ends_with(|c: char| c.is_ascii_digit() || c == ')') && balanced && !is_date
    };
    candidates.filter(calculates).max_by_key(|run| run.len()).map(str::to_owned)
}

fn numbers(text: &str) -> Vec<Number> {
    let runs = text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).map(|run| run.trim_end_matches(['.', '-']));
    runs.filter_map(|run| match serde_json::from_str(run) {
        Ok(Value::Number(number)) => Some(number),
        _ => None,
    })
    .collect()
}

/// What stands between two quotes of a kind. An apostrophe inside a word is none.
fn quoted(text: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    let opens = |rest: &str| {
        rest.char_indices().find(|(at, c)| match c {
            '"' | '“' | '`' => true,
            '\'' => !rest[..*at].ends_with(char::is_alphanumeric),
            _ => false,
        })
    };
    while let Some((at, quote)) = opens(rest) {
        let inner = &rest[at + quote.len_utf8()..];
        let close = if quote == '“' { '”' } else { quote };
        let Some(end) = inner.find(close) else { break };
        if !inner[..end].is_empty() {
            found.push(&inner[..end]);
        }
        rest = &inner[end + close.len_utf8()..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_numbers_quotes_and_addresses_are_found() {
        let found = Found::of("What's (2 + 3) * 4, 'quoted it' and \"x y\" in Europe/Berlin, see https://a.example/p?q=7.");
        assert_eq!(found.expression.as_deref(), Some("(2 + 3) * 4"));
        assert_eq!(found.numbers, [2, 3, 4].map(Number::from));
        assert_eq!(found.quoted, ["quoted it", "x y"]);
        assert_eq!(found.zone, Some("Europe/Berlin"));
        assert_eq!(found.url, Some("https://a.example/p?q=7"));
    }

    #[test]
    fn prose_dates_and_dashes_are_no_expressions() {
        for prose in ["hello - world", "on 2026-11-22 please", "version 2.", "and/or", "5 apples", "- 7"] {
            assert_eq!(Found::of(prose).expression, None, "{prose}");
        }
        assert_eq!(Found::of("calculate 17*23?").expression.as_deref(), Some("17*23"));
        assert_eq!(Found::of("what is -2 - 3").expression.as_deref(), Some("-2 - 3"));
    }
}
