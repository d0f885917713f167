//! A part of a list.

/// So many of a list as were asked for, and where the next ones begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// What to ask for next; `None` after the last.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// A page of `limit`, out of one more than that: whether it was there tells whether there is another page.
    pub(super) fn of(found: Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> Self {
        Self::cut(found, limit, false, cursor)
    }

    /// The same, where the weight of what was found may have cut it off: then there may be another page.
    pub(super) fn cut(mut found: Vec<T>, limit: usize, is_cut: bool, cursor: impl Fn(&T) -> C) -> Self {
        let more = found.len() > limit || is_cut;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(cursor);
        Self { items: found, next }
    }

    /// Nothing, and nothing after it.
    pub(super) fn empty() -> Self {
        Self { items: Vec::new(), next: None }
    }
}
