//! What reaches the screen: answers on standard output, everything about them on standard error.
//!
//! Colours appear only where a person looks: `anstream` strips them for pipes, `NO_COLOR` and dumb terminals.

use super::exit::Trouble;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use owo_colors::OwoColorize;
use serde::Serialize;
use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// One answer, a line of its own, on standard output.
pub fn answer(text: impl Display) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// A remark, on standard error. Where nobody reads it any more, the work goes on all the same.
pub fn remark(text: impl Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// A piece of what is going on, on standard error, without a line end of its own; like a remark.
pub fn piece(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// One JSON document on standard output.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    answer(escaped(&serde_json::to_string_pretty(value).map_err(io::Error::other)?))
}

/// One JSON value as one line of standard output.
pub fn json_line(value: &impl Serialize) -> io::Result<()> {
    answer(escaped(&serde_json::to_string(value).map_err(io::Error::other)?))
}

/// What went wrong and what to try, on standard error; with `--json` as one object.
pub fn trouble(trouble: &Trouble, as_json: bool) {
    if trouble.what.is_empty() {
        return;
    }
    let text = if as_json {
        let error = serde_json::json!({ "error": { "code": trouble.exit as u8, "message": trouble.what, "try": trouble.next } });
        escaped(&error.to_string())
    } else {
        let next = trouble.next.iter().map(|next| format!("\n  {} {next}", "try:".bold())).collect::<String>();
        format!("{} {}{next}", "error:".red().bold(), clean(&trouble.what))
    };
    remark(text);
}

/// Whether a person reads both streams on one terminal, so that nothing need be said twice.
pub fn is_one_terminal() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// A table without lines, as wide as the terminal at most: the last column gives way, the others are never cut, so
/// that an id can be copied. Where too little would be left of it, each row has lines of its own: its first cell, the others, the
/// last. In a pipe a table is as wide as it needs to be.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let width = Table::new().width();
    if width.is_some_and(|width| !fits(header, &rows, width)) {
        return stacked(&rows, width.unwrap_or(u16::MAX).into());
    }
    let text = laid_out(header, rows, None);
    match text.split_once('\n') {
        Some((header, rows)) => format!("{}\n{rows}", header.bold()),
        None => text.bold().to_string(),
    }
}

/// Between two columns.
const GAP: u16 = 2;
/// The least that must be left for the last column, if it has so much to say.
const LAST_MIN: usize = 24;

fn fits(header: &[&str], rows: &[Vec<String>], width: u16) -> bool {
    let widest = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain(header.get(at).map(|name| name.len())).max().unwrap_or(0)
    };
    let others: usize = (0..header.len().saturating_sub(1)).map(|at| widest(at) + usize::from(GAP)).sum();
    others + widest(header.len().saturating_sub(1)).min(LAST_MIN) <= usize::from(width)
}

/// Rows below each other, for a terminal too narrow for columns. Nothing but ids and names is wider than it.
fn stacked(rows: &[Vec<String>], width: usize) -> String {
    let below = |text: &str| format!("\n  {}", one_line(text, width.saturating_sub(2)));
    let row = |row: &Vec<String>| match row.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first, others @ .., last] => {
            let others: Vec<&str> = others.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
            let others = if others.is_empty() { String::new() } else { below(&others.join(" · ")) };
            let last = if last.is_empty() { String::new() } else { below(last) };
            format!("{}{others}{last}", first.bold())
        }
    };
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

fn laid_out(header: &[&str], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header.to_vec());
    width.map(|width| table.set_width(width));
    table.add_rows(rows).set_truncation_indicator("…");
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));
        if number + 1 < header.len() {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    for row in table.row_iter_mut() {
        row.max_height(1);
    }
    table.trim_fmt()
}

/// Text from outside, without what could steer a terminal or turn the direction in which it is read: of control characters
/// only line ends and tabs stay.
pub fn clean(text: &str) -> String {
    text.chars().filter(|&c| !steers(c) || matches!(c, '\n' | '\t')).collect()
}

/// JSON in which what could steer a terminal stands as escapes: the same document. Such characters stand in its strings only.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' => text.push(c), // between members
            c if steers(c) => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

/// Whether a character is a control character, or turns the direction in which text is read.
pub fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text from outside on one line, at most `max` characters.
pub fn one_line(text: &str, max: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = clean(&line);
    match line.char_indices().nth(max) {
        Some(_) => format!("{}…", line.chars().take(max.saturating_sub(1)).collect::<String>()),
        None => line,
    }
}

/// `12 ms`, `1.4 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// `1 step`, `2 steps`.
pub fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\u{9b}31m\tc\nd\r\x07\u{202e}e"), "a[2Jb31m\tc\nde");
        assert_eq!(one_line("  a\n\n b\x1b[0m ", 80), "a b[0m");
    }

    #[test]
    fn json_on_a_terminal_is_the_same_document_and_steers_nothing() {
        let said = serde_json::json!({ "a\u{9b}31m": ["\u{202e}b\u{85}", "c\x1b[2J\n"] });
        for text in [serde_json::to_string(&said).unwrap(), serde_json::to_string_pretty(&said).unwrap()] {
            let shown = escaped(&text);
            assert!(shown.chars().all(|c| !steers(c) || c == '\n'), "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), said);
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_says_so() {
        assert_eq!(one_line("ééééé", 5), "ééééé");
        assert_eq!(one_line("éééééé", 5), "éééé…");
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let read = |ms| duration(Duration::from_millis(ms));
        assert_eq!((read(0), read(999)), ("0 ms".into(), "999 ms".into()));
        assert_eq!((read(1_449), read(60_000)), ("1.4 s".into(), "1 min 0 s".into()));
        assert_eq!(read(7_500_000), "2 h 5 min");
    }

    #[test]
    fn in_a_pipe_a_table_is_as_wide_as_it_needs_to_be() {
        let long = "x".repeat(300);
        let text = table(&["ID", "OUTPUT"], [vec!["a".into(), long.clone()], vec!["bbb".into(), "y".into()]]);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, format!("ID   OUTPUT\na    {long}\nbbb  y"));
    }

    #[test]
    fn on_a_terminal_the_last_column_gives_way_and_ids_stay_whole() {
        let rows = vec![vec!["0123456789".into(), "one two three".into()]];
        assert_eq!(laid_out(&["ID", "OUTPUT"], rows, Some(22)), "ID          OUTPUT\n0123456789  one two…");
    }

    #[test]
    fn a_terminal_of_forty_columns_shows_rows_below_each_other_and_nothing_is_wider_than_it() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let header = ["TASK", "STATUS", "AGENT", "PROMPT"];
        let rows = [vec![id.into(), "completed".into(), "help-desk".into(), "What is the very best way to fold a shirt?".into()]];
        assert!(!fits(&header, &rows, 80) && fits(&header, &rows, 90));
        let shown = anstream::adapter::strip_str(&stacked(&rows, 40)).to_string();
        assert_eq!(shown, format!("{id}\n  completed · help-desk\n  What is the very best way to fold a s…"));
        assert!(shown.lines().all(|line| line.chars().count() <= 40), "{shown}");
        assert!(fits(&["A", "B"], &[vec!["x".into(), "y".into()]], 40), "what is narrow enough stays a table");
    }
}
