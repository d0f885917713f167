//! Just enough Markdown: tables by their header, headings as anchors, code blocks that name a file.

use std::collections::BTreeMap;

/// The rows of every table whose first header is `first`, by header.
pub fn rows(page: &str, first: &str) -> Vec<BTreeMap<String, String>> {
    let mut found = Vec::new();
    let mut header: Option<Vec<String>> = None;
    for line in page.lines() {
        let Some(inner) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            header = None;
            continue;
        };
        let cells: Vec<String> = inner.replace("\\|", "\u{0}").split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect();
        match &header {
            None => header = Some(cells),
            Some(_) if cells.iter().all(|cell| cell.chars().all(|c| c == '-')) => {}
            Some(names) if names[0] == first => found.push(names.iter().cloned().zip(cells).collect()),
            Some(_) => {}
        }
    }
    found
}

/// The first cells of those rows, without backticks.
pub fn first_cells(page: &str, first: &str) -> Vec<String> {
    rows(page, first).iter().map(|row| row[first].trim_matches('`').to_owned()).collect()
}

/// A heading as links name it: lower case, spaces as dashes, no other signs.
pub fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

/// The blocks that name a file of a project, with their content.
pub fn code_blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(Option<String>, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                let path = info.split_once(' ').map(|(_, path)| path.to_owned());
                open = Some((
                    path.filter(|path| path.starts_with("agents/") || path.starts_with("tools/") || path == "maniple.yaml"),
                    String::new(),
                ));
            }
            (Some(_), Some(_)) => found.extend(open.take().and_then(|(path, content)| Some((path?, content)))),
            (Some((_, content)), None) => *content += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    found
}
