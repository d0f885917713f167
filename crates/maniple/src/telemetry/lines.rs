//! One event, one line: what callers and tools chose (ids, names, complaints) stands in log lines and cannot make any.

use crate::cli::screen::steers;
use std::io::{self, Write};

/// Writes each event as one line: every character that could end it or steer a terminal stands as its escape.
pub(super) struct OneLine<W> {
    to: W,
    /// Whether escape characters are the log's own colours. It escapes those of values itself.
    coloured: bool,
}

impl<W: Write> OneLine<W> {
    pub(super) fn of(to: W, coloured: bool) -> Self {
        Self { to, coloured }
    }

    fn escaped(&self, event: &str) -> String {
        let mut line = String::with_capacity(event.len() + 16);
        for c in event.chars() {
            match c {
                '\u{1b}' if self.coloured => line.push(c),
                c if steers(c) => line.extend(c.escape_default()),
                c => line.push(c),
            }
        }
        line
    }
}

impl<W: Write> Write for OneLine<W> {
    /// Is given one event at a time, whole, with its line end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = self.escaped(text.strip_suffix('\n').unwrap_or(&text));
        line.push('\n');
        self.to.write_all(line.as_bytes())?;
        Ok(event.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_caller_chose_cannot_forge_a_line_of_the_log() {
        let forged = "s\n2026-11-27T00:00:00Z  INFO all is well\r\u{85}\u{9b}2J\u{202e}\u{1b}[31m";
        for coloured in [false, true] {
            let kept = Kept::default();
            let to = kept.clone();
            let log =
                tracing_subscriber::fmt().with_ansi(coloured).compact().with_writer(move || OneLine::of(to.clone(), coloured)).finish();
            tracing::subscriber::with_default(log, || {
                let span = tracing::info_span!("agent.run", agent.session = %forged);
                span.in_scope(|| tracing::info!(session = %forged, quoted = ?forged, "of {forged}"));
            });
            let written = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert_eq!(written.matches('\n').count(), 1, "{written:?}");
            let plain = anstream::adapter::strip_str(&written).to_string();
            assert!(!plain.trim_end().contains(steers), "{written:?}");
            assert!(plain.contains("all is well"));
        }
    }
}
