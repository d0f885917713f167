//! HTML reduced to what a reader sees, simply: tags go, blocks become lines, the common entities are read.

/// Elements whose content nobody reads.
const UNSEEN: [&str; 8] = ["script", "style", "noscript", "template", "svg", "head", "iframe", "object"];
/// Elements that begin a line.
const BLOCKS: [&str; 26] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "dd",
    "div",
    "dl",
    "dt",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "p",
    "section",
    "table",
    "tr",
];

/// The text of a page, its title first. One pass: linear in its length, whatever it is.
pub(super) fn to_text(html: &str) -> String {
    let mut quotes = Quotes::default();
    let mut text = String::with_capacity(html.len() / 4);
    let mut rest = html;
    let mut title = String::new();
    while let Some(at) = rest.find('<') {
        push(&mut text, &rest[..at]);
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        if !rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            text.push('<'); // `a < b`: no tag at all
            rest = &rest[1..];
            continue;
        }
        let Some(end) = quotes.end_of_tag(rest) else {
            break; // a tag that never ends: nothing of it is text
        };
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        let closing = tag.starts_with('/');
        let name = tag.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_ascii_lowercase();
        if UNSEEN.contains(&name.as_str()) && !closing && !tag.ends_with('/') {
            let (inner, after) = until_closed(rest, &name);
            if name == "head"
                && let Some(found) = title_of(inner)
            {
                title = found;
            }
            rest = after;
        } else if BLOCKS.contains(&name.as_str()) {
            text.push('\n');
            if name == "li" && !closing {
                text.push_str("- ");
            }
        } else if matches!(name.as_str(), "td" | "th") {
            text.push(' ');
        }
    }
    if !rest.starts_with('<') {
        push(&mut text, rest);
    }
    tidy(&format!("{title}\n{text}"))
}

/// Whether quotes are believed: until one has hidden every `>` to the end of the page. That end is looked for once, not
/// once a tag.
#[derive(Default)]
struct Quotes {
    are_odd: bool,
}

impl Quotes {
    /// Where a tag ends; a `>` inside quotes does not end it.
    fn end_of_tag(&mut self, text: &str) -> Option<usize> {
        let mut quote = None;
        for (at, byte) in text.bytes().enumerate().take_while(|_| !self.are_odd) {
            match (quote, byte) {
                (None, b'>') => return Some(at),
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), byte) if open == byte => quote = None,
                _ => {}
            }
        }
        self.are_odd = true;
        text.find('>') // an odd quote: end at the first `>` after all
    }
}

/// What is inside an element that was just opened, and what comes after it.
fn until_closed<'a>(text: &'a str, name: &str) -> (&'a str, &'a str) {
    let mut from = 0;
    while let Some(found) = text[from..].find("</") {
        let at = from + found;
        let after = &text.as_bytes()[at + 2..];
        if after.len() >= name.len() && after[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            let end = text[at..].find('>').map_or(text.len(), |end| at + end + 1);
            return (&text[..at], &text[end..]);
        }
        from = at + 2;
    }
    ("", "")
}

fn title_of(head: &str) -> Option<String> {
    let lower = head.to_ascii_lowercase(); // same length, so that places agree
    let open = lower.find("<title")?;
    let begin = open + lower[open..].find('>')? + 1;
    let end = begin + lower[begin..].find("</title")?;
    let mut title = String::new();
    push(&mut title, &head[begin..end]);
    Some(title)
}

/// Text between tags, its entities read.
fn push(text: &mut String, mut piece: &str) {
    const NAMED: [(&str, &str); 12] = [
        ("amp", "&"),
        ("lt", "<"),
        ("gt", ">"),
        ("quot", "\""),
        ("apos", "'"),
        ("nbsp", " "),
        ("ndash", "–"),
        ("mdash", "—"),
        ("hellip", "…"),
        ("copy", "©"),
        ("laquo", "«"),
        ("raquo", "»"),
    ];
    while let Some(at) = piece.find('&') {
        text.push_str(&piece[..at]);
        piece = &piece[at..];
        let end = piece.bytes().take(12).position(|b| b == b';');
        let read = end.and_then(|end| {
            let name = &piece[1..end];
            let number = name
                .strip_prefix('#')
                .map(|n| n.strip_prefix(['x', 'X']).map_or_else(|| n.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok()));
            let read = match number {
                Some(code) => char::from_u32(code?)?.to_string(),
                None => NAMED.iter().find(|(known, _)| *known == name)?.1.to_owned(),
            };
            Some((read, end))
        });
        match read {
            Some((read, end)) => {
                text.push_str(&read);
                piece = &piece[end + 1..];
            }
            None => {
                text.push('&');
                piece = &piece[1..];
            }
        }
    }
    text.push_str(piece);
}

/// Runs of white space become one space, runs of empty lines one.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut empty = true;
    for line in text.lines() {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() || line == "-" {
            if !empty {
                tidy.push('\n');
            }
            empty = true;
            continue;
        }
        empty = false;
        tidy.push_str(&line);
        tidy.push('\n');
    }
    tidy.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_becomes_its_title_and_its_lines() {
        let page = r#"<!doctype html><html><HEAD><title>On &amp; off</title><style>p{}</style></HEAD>
            <body class="a>b"><script>if (a < b) { document.write("</p>") }</script><!-- <p>no</p> -->
            <h1>One</h1><p>Two&nbsp;&#8211; <b>three</b>&#x21; &unknown; a &lt; b</p><ul><li>x</li><li>y</li></ul>
            <table><tr><td>1</td><td>2</td></tr></table>3 < 4</body></html>"#;
        assert_eq!(to_text(page), "On & off\n\nOne\n\nTwo – three! &unknown; a < b\n\n- x\n\n- y\n\n1 2\n\n3 < 4");
    }

    #[test]
    fn what_never_ends_is_left_out_and_ends() {
        assert_eq!(to_text("a<script>b"), "a");
        assert_eq!(to_text("a<!-- b"), "a");
        assert_eq!(to_text("a<b"), "a");
        assert_eq!(to_text("<p title='x>y\">z</p>q"), "y\">z\nq");
    }

    /// A mebibyte of each kind: what takes time squared takes minutes here, what is read once takes moments.
    #[test]
    #[allow(clippy::disallowed_methods)] // timed with much room
    fn a_page_made_to_be_read_again_and_again_is_read_once() {
        const BYTES: usize = 1 << 20;
        let long = "x".repeat(BYTES);
        let pages = [
            r#"<a">""#,
            r#"<a ">'"#,
            r#"<a '>""#,
            r#"<a title="b>"#,
            "<",
            "<a",
            "<a<",
            "</",
            "<!--",
            "<!-- -",
            "<!",
            "<?",
            "<script",
            "<script>",
            "<script></scrip",
            "<script></script",
            "<style></",
            "<head>",
            "<head><title",
            "<head><title></head>",
            "<title>",
            "<svg><svg>",
            "<li>",
            "<br>\n",
            "&",
            "&amp",
            "&#",
            "&#x;",
            "&aaaaaaaaaaaaaaaa;",
            " ",
            "\n-\n",
            ">",
            "\"'>",
        ];
        let pages = pages.into_iter().map(|piece| piece.repeat(BYTES / piece.len()));
        let wide = ["<a title=\"", "<a title=", "<a ", "<", "<!--", "&#", "<head><title>", "</"].map(|open| format!("{open}{long}"));
        let closed = wide.clone().map(|page| format!("{page}\">")).into_iter().map(|page| page.repeat(2));
        let began = std::time::Instant::now();
        for page in pages.chain(wide).chain(closed) {
            to_text(&page);
            let begins = page.chars().take(20).collect::<String>();
            assert!(began.elapsed() < std::time::Duration::from_secs(60), "{begins}… and those before it took {:?}", began.elapsed());
        }
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(page in "[<>/!&;#'\"a-e ä-]{0,120}") {
            to_text(&page);
        }
    }
}
