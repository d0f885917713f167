//! Lines of bytes, of which one that is too long is thrown away.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// Reads lines, without their ends.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    longest: usize,
    /// The line that is being read is too long already.
    discarding: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, longest: usize) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new(), longest, discarding: false }
    }

    /// The next line; `None` at the end, or once it cannot be read on. Loses nothing when dropped.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let chunk = match self.reader.fill_buf().await {
                Ok(chunk) if !chunk.is_empty() => chunk,
                // The last one may have no end.
                Ok(_) | Err(_) => return (!self.line.is_empty()).then(|| std::mem::take(&mut self.line)),
            };
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if !self.discarding && self.line.len() + part.len() <= self.longest {
                self.line.extend_from_slice(part);
            } else {
                self.discarding = true;
                self.line.clear();
            }
            let read = part.len() + usize::from(end.is_some());
            self.reader.consume(read);
            if end.is_some() && !std::mem::take(&mut self.discarding) {
                return Some(std::mem::take(&mut self.line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_thrown_away_and_the_next_ones_are_read() {
        let text = format!("one\r\n\n{}\ntwo\n{}", "x".repeat(20_000), "three");
        let mut lines = Lines::new(text.as_bytes(), 10_000);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await {
            read.push(String::from_utf8(line).expect("text"));
        }
        assert_eq!(read, ["one\r", "", "two", "three"]);
    }
}
