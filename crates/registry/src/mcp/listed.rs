//! The pages of a listing, put together.

use serde_json::Value;

/// The most that one listing may weigh, all pages.
const LISTING_BYTES: usize = 32 << 20;

/// What a listing has brought so far.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) tools: Vec<Value>,
    weight: usize,
    /// So many pages in a row brought nothing new.
    pub(super) pages_without_news: usize,
}

impl Listed {
    /// Adds what is new in a page: a server that begins again from the first says the same again.
    pub(super) fn add(&mut self, page: Vec<Value>) -> Result<(), String> {
        let before = self.tools.len();
        self.weight += page.iter().map(|tool| tool.to_string().len()).sum::<usize>();
        if self.weight > LISTING_BYTES {
            return Err(format!("its list of tools has more than {LISTING_BYTES} bytes"));
        }
        for tool in page {
            if !self.tools[..before].contains(&tool) {
                self.tools.push(tool);
            }
        }
        self.pages_without_news = if self.tools.len() > before { 0 } else { self.pages_without_news + 1 };
        Ok(())
    }
}
