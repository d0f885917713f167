//! JSON as it comes over the wire, where the strict reading would lose an answer over a detail nobody needs.
//!
//! | what comes | read as |
//! |---|---|
//! | half of a surrogate pair, as where a text was cut in its middle | a mark, which [`joined`] makes whole with the other half, or U+FFFD |
//! | `NaN`, `Infinity`, a number beyond every range | `null` |
//! | a control character as it is within a string; an escape there is not | as meant |

use serde_json::Value;
use std::borrow::Cow;

/// Where marks for halves of pairs stand: in a private plane, so that no text of the world looks like one.
const MARKS: u32 = 0x10_0000;
const HALVES: std::ops::RangeInclusive<u32> = 0xD800..=0xDFFF;
const FIRST_LOW: u32 = 0xDC00;

/// One JSON value, whose texts may end or begin in half a pair: see [`joined`]. The error is that of the strict reading.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| serde_json::from_str(&rewritten(text, true)).map_err(|_| error))
}

/// One JSON value that came as a whole: half a pair is U+FFFD. The error is that of the strict reading.
pub fn parse_whole(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| serde_json::from_str(&joined(rewritten(text, true))).map_err(|_| error))
}

/// Puts halves together again whose text came in two pieces; one that stays alone is U+FFFD.
pub fn joined(text: String) -> String {
    if !text.chars().any(|c| half(c).is_some()) {
        return text;
    }
    let mut whole = String::with_capacity(text.len());
    let mut waiting = None;
    for c in text.chars() {
        match (half(c), waiting.take()) {
            (Some(low), Some(high)) if low >= FIRST_LOW => whole.push(pair(high, low)),
            (unit, before) => {
                whole.extend(before.map(|_| char::REPLACEMENT_CHARACTER));
                match unit {
                    Some(high) if high < FIRST_LOW => waiting = Some(high),
                    Some(_) => whole.push(char::REPLACEMENT_CHARACTER),
                    None => whole.push(c),
                }
            }
        }
    }
    whole.extend(waiting.map(|_| char::REPLACEMENT_CHARACTER));
    whole
}

/// Takes the first half of a pair off the end of `text`, whose second half may come next.
pub fn take_first_half(text: &mut String) -> Option<char> {
    let last = text.chars().next_back().filter(|c| half(*c).is_some_and(|unit| unit < FIRST_LOW));
    last.inspect(|_| {
        text.pop();
    })
}

/// JSON text, such as arguments within an answer, with U+FFFD for escapes that are half a pair.
pub fn without_halves(json: &str) -> Cow<'_, str> {
    if !json.contains("\\u") && !json.chars().any(|c| half(c).is_some()) {
        return Cow::Borrowed(json);
    }
    Cow::Owned(joined(rewritten(json, false)))
}

/// `all`: numbers, control characters and escapes too, not halves alone.
fn rewritten(text: &str, all: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut in_string) = (text, false);
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '"' => {
                in_string = !in_string;
                out.push(c);
                1
            }
            '\\' if in_string => escape(rest, all, &mut out),
            c if in_string && all && c < ' ' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
                1
            }
            'N' | 'I' | '-' | '0'..='9' if !in_string && all => number(rest, &mut out),
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// An escape at the start of `rest`; says how many bytes it has.
fn escape(rest: &str, all: bool, out: &mut String) -> usize {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(high), Some(low)) if HALVES.contains(&high) && high < FIRST_LOW && HALVES.contains(&low) && low >= FIRST_LOW => {
            out.push_str(&rest[..12]);
            12
        }
        (Some(alone), _) if HALVES.contains(&alone) => {
            out.extend(char::from_u32(MARKS + alone - 0xD800));
            6
        }
        _ => match rest[1..].chars().next() {
            // `\u` without its digits is none either.
            Some(next) if all && unit(0).is_none() && !"\"\\/bfnrt".contains(next) => {
                out.push_str("\\\\");
                1
            }
            Some(next) => {
                out.push('\\');
                out.push(next);
                1 + next.len_utf8()
            }
            None => 1,
        },
    }
}

/// A number, or what stands in the place of one; says how many bytes it has.
fn number(rest: &str, out: &mut String) -> usize {
    for word in ["NaN", "Infinity", "-Infinity", "-NaN"] {
        if rest.starts_with(word) {
            out.push_str("null");
            return word.len();
        }
    }
    let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len()).max(1);
    let is_one = rest[..end].parse::<f64>().is_ok_and(f64::is_finite);
    out.push_str(if is_one { &rest[..end] } else { "null" });
    end
}

fn half(c: char) -> Option<u32> {
    (c as u32).checked_sub(MARKS).map(|unit| unit + 0xD800).filter(|unit| HALVES.contains(unit))
}

fn pair(high: u32, low: u32) -> char {
    char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - FIRST_LOW)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pieces: &[&str]) -> String {
        joined(pieces.iter().map(|piece| parse(piece).expect(piece).as_str().expect("a text").to_owned()).collect())
    }

    #[test]
    fn a_pair_cut_in_its_middle_is_whole_again_and_half_a_pair_costs_one_character() {
        assert_eq!(said(&[r#""Hi \ud83d""#, r#""\ude00!""#]), "Hi 😀!");
        assert_eq!(said(&[r#""Hi \ud83d !""#]), "Hi \u{fffd} !");
        assert_eq!(said(&[r#""\ude00\ud83d""#, r#""\ud83d\ude00""#]), "\u{fffd}\u{fffd}😀");
        assert_eq!(said(&[r#""a \\ud83d \ud83d\ude00 é""#]), r"a \ud83d 😀 é");
        assert_eq!(without_halves(r#"{"a":"\ud83d","b":"\\ud83d","c":"\ud83d\ude00"}"#), r#"{"a":"�","b":"\\ud83d","c":"\ud83d\ude00"}"#);
    }

    #[test]
    fn numbers_that_are_none_are_null_and_texts_that_look_like_them_stay() {
        let read = parse(r#"{"a":NaN,"b":[-Infinity,1e999,-1.5e3],"c":"NaN 1e999"}"#).expect("read");
        assert_eq!(read, serde_json::json!({ "a": null, "b": [null, null, -1500.0], "c": "NaN 1e999" }));
    }

    #[test]
    fn what_a_careless_writer_leaves_in_a_string_is_read_as_it_was_meant() {
        assert_eq!(parse("\"a\nb\\d\"").expect("read"), "a\nb\\d");
        assert_eq!(parse(r#""C:\\users \users""#).expect("read"), r"C:\users \users");
        assert!(parse("{\"a\":").is_err() && parse("[1,]").is_err() && parse("").is_err());
    }
}
