//! `maniple session`: which conversations there are, and what was said in one.

use super::{
    exit::{Exit, Trouble},
    reach::{Need, Where},
    screen,
    task::{Page, age},
};
use clap::{Args, Subcommand};
use maniple_api::{client::TaskQuery, page::Role};
use owo_colors::OwoColorize;

/// Conversations of a node.
#[derive(Debug, Args)]
pub struct Sessions {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List conversations, newest first
    Ls {
        #[command(flatten)]
        page: Page,
    },
    /// Show what was said: the newest turns, oldest first
    Show {
        /// Which
        session: String,
        #[command(flatten)]
        page: Page,
    },
}

impl Sessions {
    /// Does it.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let reached = self.place.reach(Need::Desk).await?;
        let client = &reached.client;
        let outcome = match self.what {
            What::Ls { page } => {
                let page = client.sessions(&TaskQuery { prompts: true, ..page.query() }).await;
                page.map_err(Trouble::from).and_then(|page| list(&page, as_json))
            }
            What::Show { session, page } => {
                let page = client.messages(&session, &page.query()).await;
                page.map_err(Trouble::from).and_then(|page| show(&page, as_json))
            }
        };
        reached.leave().await;
        outcome.map(|()| Exit::Done)
    }
}

fn list(page: &maniple_api::page::SessionPage, as_json: bool) -> Result<(), Trouble> {
    if as_json {
        return Ok(screen::json(page)?);
    }
    if page.sessions.is_empty() && page.next_cursor.is_none() {
        screen::remark("no conversations");
        return Ok(());
    }
    let rows = page.sessions.iter().map(|session| {
        let last = &session.last_task;
        let prompt = screen::one_line(last.prompt.as_deref().unwrap_or_default(), 60);
        vec![screen::one_line(session.session_id.as_str(), 256), session.agent.clone(), session.tasks.to_string(), age(last), prompt]
    });
    screen::answer(screen::table(&["SESSION", "AGENT", "TASKS", "LAST", "LAST ASKED"], rows))?;
    more(page.next_cursor.as_deref());
    Ok(())
}

fn show(page: &maniple_api::page::MessagePage, as_json: bool) -> Result<(), Trouble> {
    if as_json {
        return Ok(screen::json(page)?);
    }
    if page.messages.is_empty() {
        screen::remark("nothing was said in it");
    }
    for message in &page.messages {
        let content = screen::clean(&message.content);
        match message.role {
            Role::User => screen::answer(format!("{} {}", ">".bold(), content.bold()))?,
            Role::Assistant => screen::answer(format!("{content}\n"))?,
        }
    }
    more(page.next_cursor.as_deref());
    Ok(())
}

fn more(cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        screen::remark(format!("more: --cursor {cursor}").dimmed());
    }
}
