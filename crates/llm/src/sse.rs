//! The framing of event streams (HTML Living Standard, 9.2.6), with a bound on every buffer.

/// The most one event may weigh, and one line: some servers put a picture or all of their bookkeeping into one.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// Turns bytes, cut anywhere, into events. An event that its blank line does not end is none.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    after_cr: bool,
    begun: bool,
}

/// The name of what is no event, but a line that stood among them.
pub const STRAY: &str = "(stray)";

/// One event: its name (empty where it has none) and its data.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The last `event:` line.
    pub name: String,
    /// The `data:` lines, joined by newlines.
    pub data: String,
}

/// A line or an event is above [`MAX_EVENT_BYTES`]: the stream cannot be read any further.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Parser {
    /// Takes the bytes up to the end of the next line out of `bytes`; an event, where that line ended one.
    /// To be called until `bytes` is empty.
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Result<Option<Event>, TooLarge> {
        if std::mem::take(&mut self.after_cr) && bytes.first() == Some(&b'\n') {
            *bytes = &bytes[1..];
        }
        let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        if self.line.len() + piece.len() > MAX_EVENT_BYTES {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(piece);
        let Some(end) = end else {
            *bytes = &[];
            return Ok(None);
        };
        self.after_cr = bytes[end] == b'\r';
        *bytes = &bytes[end + 1..];
        let line = std::mem::take(&mut self.line);
        let event = self.ended(&line);
        self.line = line;
        self.line.clear();
        event
    }

    /// What is left when the body ends in the middle of a line that is none of an event.
    pub fn rest(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if matches!(line.first(), Some(b'{' | b'<')) { self.ended(&line).ok().flatten() } else { None }
    }

    fn ended(&mut self, line: &[u8]) -> Result<Option<Event>, TooLarge> {
        let line = String::from_utf8_lossy(line);
        let line = if std::mem::replace(&mut self.begun, true) { &*line } else { line.trim_start_matches('\u{feff}') };
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                if self.event.data.len() + value.len() > MAX_EVENT_BYTES {
                    return Err(TooLarge);
                }
                self.event.data.push_str(value);
            }
            // A comment.
            "" | "id" | "retry" => {}
            // No line of an event stream: whoever answered stopped speaking it, and may say why.
            _ => return Ok(Some(Event { name: STRAY.to_owned(), data: line.to_owned() })),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Result<Vec<(String, String)>, TooLarge> {
        let (mut parser, mut found) = (Parser::default(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                found.extend(parser.feed(&mut piece)?.map(|e| (e.name, e.data)));
            }
        }
        Ok(found)
    }

    const STREAM: &str =
        "\u{feff}: hello\n\nevent: a\r\ndata: one\r\ndata:two\r\n\r\ndata\n\nid: 7\ndata: dré\r\rdata: x: y\n\ndata: never ended\n";

    #[test]
    fn a_stream_is_the_same_events_wherever_its_bytes_are_cut() {
        let whole = events(&[STREAM.as_bytes()]).expect("readable");
        let expected = [("a", "one\ntwo"), ("", ""), ("", "dré"), ("", "x: y")];
        assert_eq!(whole, expected.map(|(n, d)| (n.to_owned(), d.to_owned())));
        let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(events(&bytes).expect("readable"), whole);
        for cut in 0..STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(cut);
            assert_eq!(events(&[head, tail]).expect("readable"), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_or_an_event_without_end_is_refused_not_buffered() {
        let half = vec![b'x'; MAX_EVENT_BYTES / 2 + 10];
        assert_eq!(events(&[b"data: ", &half, &half]), Err(TooLarge));
        assert_eq!(events(&[b"data: ", &half, b"\ndata: ", &half, b"\n"]), Err(TooLarge));
    }

    #[test]
    fn bytes_that_are_no_text_cost_a_character_and_lines_of_no_event_are_told_apart() {
        assert_eq!(events(&[b"data: a\xffb\n\n"]), Ok(vec![(String::new(), "a\u{fffd}b".into())]));
        let stray = vec![(STRAY.to_owned(), "{\"error\": 1}".to_owned())];
        assert_eq!(events(&[b": hello\n{\"error\": 1}\nid: 7\nretry: 9\n"]), Ok(stray));
    }
}
