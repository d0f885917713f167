//! The numbers in a complaint about too many tokens.

/// What a complaint says can be asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Limit {
    /// So much output at most.
    Output(u32),
    /// So much of input and output together; the input, where it says how it counted that.
    Window { window: u32, input: Option<u64> },
}

/// The output that an account can still pay for, of a complaint in lower case about its credit.
pub fn affordable(text: &str) -> Option<u32> {
    let phrase = "can only afford ";
    let behind = &text[text.find(phrase)? + phrase.len()..];
    u32::try_from(numbers(behind).first()?.value).ok()
}

/// A number, and where it stands.
#[derive(Debug, Clone, Copy)]
struct Number {
    value: u64,
    from: usize,
    to: usize,
}

/// How far from a number the words stand that say what it is, in bytes.
const NEAR: usize = 34;

/// What a complaint in lower case about a request for `asked` tokens of output says.
///
/// `None` where it does not speak of output, or names no limit below what was asked: then something else is wrong.
pub fn limit(text: &str, asked: u32) -> Option<Limit> {
    const SPEAKS: [&str; 15] = [
        "max_tokens",
        "max_completion_tokens",
        "max_new_tokens",
        "max_output_tokens",
        "maxoutputtokens",
        "max tokens",
        "maximum tokens",
        "output tokens",
        "completion tokens",
        "in the completion",
        "for the completion",
        "context length",
        "context limit",
        "context window",
        "token count",
    ];
    if !SPEAKS.iter().any(|phrase| text.contains(phrase)) {
        return None;
    }
    let numbers = numbers(text);
    if let Some(window) = sum(text, &numbers, asked).or_else(|| window(text, &numbers, asked)) {
        return Some(window);
    }
    let below = numbers.iter().filter(|number| number.value < u64::from(asked));
    let most = below.map(|number| number.value.saturating_sub(u64::from(is_exclusive(text, number)))).max()?;
    u32::try_from(most).ok().filter(|most| *most > 1).map(Limit::Output)
}

/// `188240 + 21333 > 200000`
fn sum(text: &str, numbers: &[Number], asked: u32) -> Option<Limit> {
    let between = |a: &Number, b: &Number| text[a.to..b.from].trim();
    let sum = numbers.windows(3).find(|three| between(&three[0], &three[1]) == "+" && between(&three[1], &three[2]) == ">")?;
    let input = if sum[0].value == u64::from(asked) { sum[1].value } else { sum[0].value };
    Some(Limit::Window { window: u32::try_from(sum[2].value).ok()?, input: Some(input) })
}

fn window(text: &str, numbers: &[Number], asked: u32) -> Option<Limit> {
    let before = |number: &Number| &text[text.floor_char_boundary(number.from.saturating_sub(NEAR))..number.from];
    let behind = |number: &Number| &text[number.to..text.floor_char_boundary(number.to + NEAR)];
    let is_window = |number: &&Number| {
        let before = before(number);
        let told = ["context length", "context limit", "context window", "context size", "context_length"];
        let last_word = told.iter().filter_map(|phrase| before.rfind(phrase)).max();
        // No other number between the words and this one.
        last_word.is_some_and(|at| !before[at..].bytes().any(|b| b.is_ascii_digit()))
            || behind(number).trim_start().starts_with("maximum context")
            || text.contains("max_new_tokens") && before.trim_end().ends_with("<=")
    };
    let window = numbers.iter().find(is_window)?;
    let is_input = |number: &&Number| {
        const BEHIND: [&str; 9] = [
            "input token",
            "`inputs` token",
            "in the messages",
            "tokens from the input",
            "from the input",
            "in your prompt",
            "in the prompt",
            "prompt token",
            "of text input",
        ];
        const BEFORE: [&str; 6] =
            ["prompt contains ", "prompt contains at least ", "input length: ", "prompt has ", "prompt is ", "resulted in "];
        let behind = behind(number);
        let ends = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        number.value != u64::from(asked)
            && number.from != window.from
            && (BEHIND.iter().any(|phrase| behind[..ends].contains(phrase)) || BEFORE.iter().any(|phrase| before(number).ends_with(phrase)))
    };
    let total = || {
        let total = numbers.iter().find(|number| number.value > window.value && number.value > u64::from(asked));
        total.map(|total| total.value - u64::from(asked))
    };
    let input = numbers.iter().find(is_input).map(|number| number.value).or_else(total);
    Some(Limit::Window { window: u32::try_from(window.value).ok()?, input })
}

/// `(exclusive)` behind it, or "less than" before it without "or equal".
fn is_exclusive(text: &str, number: &Number) -> bool {
    let before = text[..number.from].trim_end_matches([' ', '`', '\'', '"']);
    text[number.to..].trim_start().starts_with("(exclusive)")
        || ["lower than", "less than", "below"].iter().any(|than| before.ends_with(than))
}

/// The whole numbers that stand alone, `8,192` too.
fn numbers(text: &str) -> Vec<Number> {
    let bytes = text.as_bytes();
    let is_word = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let from = at;
        while at < bytes.len() && (bytes[at].is_ascii_digit() || bytes[at] == b',' && is_thousand(&bytes[at..])) {
            at += 1;
        }
        // A name such as gpt-4.1 or a version is no number of tokens.
        let is_part = is_word(from.checked_sub(1))
            || is_word(Some(at))
            || from.checked_sub(1).is_some_and(|before| matches!(bytes[before], b'-' | b'.') && is_word(before.checked_sub(1)));
        let is_decimal = bytes.get(at) == Some(&b'.') && is_word(Some(at + 1));
        if !is_part && !is_decimal {
            found.extend(text[from..at].replace(',', "").parse().ok().map(|value| Number { value, from, to: at }));
        }
    }
    found
}

fn is_thousand(rest: &[u8]) -> bool {
    rest.get(1..4).is_some_and(|group| group.iter().all(u8::is_ascii_digit)) && !rest.get(4).is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_still_be_paid_for_is_read() {
        let credit = "this request requires more credits, or fewer max_tokens. you requested up to 32,000 tokens, but can only afford 1,500. to increase, visit";
        assert_eq!(affordable(credit), Some(1_500));
        assert_eq!(affordable("insufficient credits"), None);
        assert_eq!(
            window_of("this model's maximum context length is 8192 tokens. however, your messages resulted in 9000 tokens."),
            Some(9_000)
        );
    }

    fn window_of(text: &str) -> Option<u64> {
        match limit(text, 4_000)? {
            Limit::Window { input, .. } => input,
            Limit::Output(_) => None,
        }
    }

    #[test]
    fn limits_are_read_in_the_words_of_many_servers() {
        let window = |window, input| Some(Limit::Window { window, input });
        for (asked, text, expected) in [
            (
                8005,
                "'max_tokens' or 'max_completion_tokens' is too large: 8005. This model's maximum context length is 8192 tokens and your request has 420 input tokens (8005 > 8192 - 420).",
                window(8192, Some(420)),
            ),
            (
                8005,
                "This model's maximum context length is 4096 tokens. However, you requested 8005 output tokens and your prompt contains at least 30 input tokens, for a total of at least 8035 tokens.",
                window(4096, Some(30)),
            ),
            (
                4000,
                "This model's maximum context length is 4097 tokens. However, you requested 4927 tokens (927 in the messages, 4000 in the completion). Please reduce the length of the messages or completion.",
                window(4097, Some(927)),
            ),
            (4000, "This model's maximum context length is 4097 tokens, however you requested 4927 tokens.", window(4097, Some(927))),
            (
                8170,
                "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 8200 tokens: 30 tokens from the input messages and 8170 tokens for the completion.",
                window(4096, Some(30)),
            ),
            (
                4096,
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 31 `inputs` tokens and 4096 `max_new_tokens`",
                window(4097, Some(31)),
            ),
            (
                21333,
                "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length or `max_tokens` and try again",
                window(200_000, Some(188_240)),
            ),
            (
                40000,
                "Prompt contains 30 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
                window(32_768, Some(30)),
            ),
            (
                32581,
                "max_tokens is too large: 32581. This model supports at most 16384 completion tokens, whereas you provided 32581.",
                Some(Limit::Output(16_384)),
            ),
            (
                8005,
                "max_tokens: 8005 > 4096, which is the maximum allowed number of output tokens for claude-3-5-x",
                Some(Limit::Output(4_096)),
            ),
            (
                9000,
                "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model",
                Some(Limit::Output(8_192)),
            ),
            (9000, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", Some(Limit::Output(8_192))),
            (
                99000,
                "Unable to submit request because it has a maxOutputTokens value of 99000 but the supported range is from 1 (inclusive) to 8193 (exclusive).",
                Some(Limit::Output(8_192)),
            ),
            (
                9000,
                "The maximum tokens you requested exceeds the model limit of 8,192. Try again with a maximum tokens value that is lower than 8,193.",
                Some(Limit::Output(8_192)),
            ),
            (9000, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", None),
            (9000, "gpt-4.1 does not take max_tokens", None),
            (9000, "temperature must be between 0 and 2", None),
        ] {
            assert_eq!(limit(&text.to_lowercase(), asked), expected, "{text}");
        }
    }
}
