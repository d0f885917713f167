//! What a model says, piece by piece, and what it thinks aloud before.
//!
//! Servers without a parser for it leave `<think>…</think>` in the text. At its very start that is no answer: nobody hears it. A tag
//! that comes later, or is never closed, is text like any other.

use maniple_core::lenient;

/// As models write it.
const TAGS: [(&str, &str); 3] = [("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<thought>", "</thought>")];

/// A text as far as it has come.
#[derive(Default)]
pub struct Voice {
    state: State,
    said: String,
    thought: String,
    /// What came and is neither said nor thought yet.
    held: String,
    /// How much of it was looked through for the closing tag.
    searched: usize,
    /// The first half of a character.
    half: Option<char>,
}

#[derive(Default)]
enum State {
    /// Nothing but space, or the beginning of a tag.
    #[default]
    Beginning,
    /// Behind an opening tag; this closes it.
    Thinking(&'static str),
    /// Behind a closing one, until there is more than space.
    Turning,
    Speaking,
}

impl Voice {
    /// More of the text; what of it is said goes to `text` at once.
    pub fn say(&mut self, piece: &str, text: &mut dyn FnMut(&str)) {
        self.held.extend(self.half.take());
        self.held.push_str(piece);
        self.half = lenient::take_first_half(&mut self.held);
        self.go_on(text);
    }

    /// What was said and what was thought. What was still held goes to `text`: a tag that was never closed is text.
    pub fn finish(mut self, text: &mut dyn FnMut(&str)) -> (String, String) {
        self.held.extend(self.half.take());
        if let State::Turning = self.state {
            self.held.clear();
        }
        self.state = State::Speaking;
        self.go_on(text);
        if self.thought.is_empty()
            && let Some((before, behind)) = orphan(&self.said)
        {
            (self.thought, self.said) = (before.to_owned(), behind.to_owned());
        }
        (self.said, self.thought)
    }

    /// What came so far, for an estimate of what it cost.
    pub fn heard(&self) -> [&str; 3] {
        [&self.said, &self.thought, &self.held]
    }
    /// What it weighs, in bytes.
    pub fn weight(&self) -> usize {
        self.said.len() + self.thought.len() + self.held.len()
    }

    fn go_on(&mut self, text: &mut dyn FnMut(&str)) {
        loop {
            match self.state {
                State::Beginning => {
                    let begun = self.held.trim_start();
                    if let Some((_, close)) = TAGS.iter().find(|(open, _)| begun.starts_with(open)) {
                        // The tag stays held: should it never be closed, it is text.
                        self.state = State::Thinking(close);
                    } else if TAGS.iter().any(|(open, _)| open.starts_with(begun)) {
                        return;
                    } else {
                        self.state = State::Speaking;
                    }
                }
                State::Thinking(close) => {
                    let from = self.held.floor_char_boundary(self.searched.saturating_sub(close.len()));
                    self.searched = self.held.len();
                    let Some(end) = self.held[from..].find(close).map(|at| from + at) else { return };
                    let begin = self.held.find('>').map_or(0, |at| at + 1);
                    self.thought.push_str(self.held[begin..end].trim());
                    (self.state, self.held) = (State::Turning, self.held[end + close.len()..].to_owned());
                }
                State::Turning => {
                    let begun = self.held.trim_start();
                    if begun.is_empty() {
                        return;
                    }
                    (self.state, self.held) = (State::Speaking, begun.to_owned());
                }
                State::Speaking => {
                    let piece = lenient::joined(std::mem::take(&mut self.held));
                    if !piece.is_empty() {
                        self.said.push_str(&piece);
                        text(&piece);
                    }
                    return;
                }
            }
        }
    }
}

/// Some templates open the tag themselves, so that only its end is heard: alone on its line, and the only one.
fn orphan(said: &str) -> Option<(&str, &str)> {
    let (before, behind) = said.split_once("</think>")?;
    let alone = before.ends_with('\n') && (behind.is_empty() || behind.starts_with('\n')) && !before.contains("```");
    (alone && !said.contains("<think>") && !behind.contains("</think>")).then(|| (before.trim(), behind.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> (String, String, String) {
        let whole = pieces(&[text]);
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(pieces(&letters), whole, "however it comes");
        whole
    }

    fn pieces(pieces: &[&str]) -> (String, String, String) {
        let (mut voice, mut heard) = (Voice::default(), String::new());
        pieces.iter().for_each(|piece| voice.say(piece, &mut |text| heard.push_str(text)));
        let (said, thought) = voice.finish(&mut |text| heard.push_str(text));
        (said, thought, heard)
    }

    #[test]
    fn what_stands_in_the_tag_at_the_start_is_thought_and_never_heard() {
        for (text, said, thought) in [
            ("<think>\nhm\n</think>\n\n{\"a\": 4}", "{\"a\": 4}", "hm"),
            (" \n<thinking>x</thinking>y", "y", "x"),
            ("<think></think>Hi", "Hi", ""),
            ("<think>only this</think>\n", "", "only this"),
            ("<think>a</think>b <think>c</think>", "b <think>c</think>", "a"),
        ] {
            assert_eq!(heard(text), (said.into(), thought.into(), said.into()), "{text}");
        }
    }

    #[test]
    fn a_tag_that_is_never_closed_or_comes_later_is_text() {
        for text in ["<think>what if", "<thin", "  <", "<b>x</b>", "use <think>a</think>", "close it with </think> then", " "] {
            assert_eq!(heard(text), (text.into(), String::new(), text.into()));
        }
    }

    #[test]
    fn an_end_without_a_beginning_alone_on_its_line_is_the_end_of_a_thought() {
        let (said, thought, _) = heard("So it is 4.\n</think>\n\n4");
        assert_eq!((said.as_str(), thought.as_str()), ("4", "So it is 4."));
        let code = "```\nx\n</think>\n```\ny";
        assert_eq!(heard(code).0, code);
    }
}
