//! `maniple approval`: what runs ask of people, and the answer.

use super::{
    exit::{Exit, Trouble},
    reach::{Need, Reached, Where},
    screen,
};
use clap::{Args, Subcommand, ValueEnum};
use maniple_api::approvals::{Approval, ApprovalPage, Choice, Decision};
use maniple_core::tool::Way;
use owo_colors::OwoColorize;

/// What runs ask of people.
#[derive(Debug, Args)]
pub struct Approvals {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List what is asked, oldest first
    Ls {
        /// In this state
        #[arg(long, value_enum, default_value_t = State::Open)]
        state: State,
        /// Of this agent
        #[arg(short, long, value_name = "NAME")]
        agent: Option<String>,
        /// Of this task
        #[arg(long)]
        task: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
        /// Where the page before ended
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one with its arguments
    Show {
        /// Its id
        id: String,
    },
    /// Agree to the call; or, of a call in doubt, say that it happened
    Approve(Say),
    /// Refuse the call; or, of a call in doubt, say that it did not happen
    Deny(Say),
}

#[derive(Debug, Args)]
struct Say {
    /// Its id
    id: String,
    /// Why; the model reads it
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Open,
    Approved,
    Denied,
    Expired,
    All,
}

impl Approvals {
    /// Does it.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let reached = self.place.reach(Need::Desk).await?;
        let shown = match &self.what {
            What::Approve(say) | What::Deny(say) => Some(format!("maniple approval show {}", say.id)),
            What::Ls { .. } | What::Show { .. } => None,
        };
        let outcome = self.what.act(&reached, as_json).await.map_err(|trouble| match (trouble.exit, shown) {
            (Exit::NotFound, _) => trouble.try_next("maniple approval ls"),
            (Exit::Conflict, Some(show)) => trouble.try_next(show),
            _ => trouble,
        });
        reached.leave().await;
        outcome
    }
}

impl What {
    async fn act(self, reached: &Reached, as_json: bool) -> Result<Exit, Trouble> {
        let client = &reached.client;
        match self {
            Self::Ls { state, agent, task, limit, cursor } => {
                let state = (!matches!(state, State::All)).then(|| format!("{state:?}").to_lowercase());
                let query = [("state", state), ("agent", agent), ("task_id", task), ("limit", Some(limit.to_string())), ("cursor", cursor)];
                let query: Vec<(&str, String)> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                list(&client.approvals(&query).await?, as_json)?;
            }
            Self::Show { id } => show(&client.approval(&id).await?, as_json)?,
            Self::Approve(say) => decide(reached, say, Choice::Approve, as_json).await?,
            Self::Deny(say) => decide(reached, say, Choice::Deny, as_json).await?,
        }
        Ok(Exit::Done)
    }
}

async fn decide(reached: &Reached, say: Say, decision: Choice, as_json: bool) -> Result<(), Trouble> {
    let approval = reached.client.decide(&say.id, &Decision { decision, reason: say.reason }, None).await?;
    if as_json {
        screen::json(&approval)?;
    } else {
        screen::answer(format!("{} is {}: task {} goes on", approval.id, state(&approval), approval.task_id))?;
    }
    if !reached.goes_on() {
        screen::remark("no node is running: it waits until one is, such as `maniple dev`");
    }
    Ok(())
}

fn list(page: &ApprovalPage, as_json: bool) -> Result<(), Trouble> {
    if as_json {
        return Ok(screen::json(page)?);
    }
    if page.approvals.is_empty() {
        screen::remark("nothing is asked");
        return Ok(());
    }
    let rows = page.approvals.iter().map(|approval| {
        let arguments = screen::one_line(&approval.arguments.to_string(), 80);
        let asked = match approval.question.as_str() {
            "did_happen" => format!("did {} happen? {arguments}", approval.tool),
            _ => format!("{} {arguments}", approval.tool),
        };
        vec![approval.id.clone(), approval.state.clone(), approval.agent.clone(), approval.expires_at.to_string(), asked]
    });
    screen::answer(screen::table(&["ID", "STATE", "AGENT", "EXPIRES", "CALL"], rows))?;
    if let Some(cursor) = &page.next_cursor {
        screen::remark(format!("more: --cursor {cursor}").dimmed());
    }
    Ok(())
}

fn state(approval: &Approval) -> String {
    match approval.state.as_str() {
        "approved" => approval.state.green().to_string(),
        "denied" | "expired" => approval.state.yellow().to_string(),
        other => other.bold().to_string(),
    }
}

/// Which arguments travel elsewhere than the method says, and where.
fn places(way: &Way) -> String {
    screen::one_line(&serde_json::to_string(&way.places).unwrap_or_default(), 1_000)
}

fn show(approval: &Approval, as_json: bool) -> Result<(), Trouble> {
    if as_json {
        return Ok(screen::json(approval)?);
    }
    let question = match approval.question.as_str() {
        "did_happen" => "nobody knows how this call went: did it happen?",
        _ => "may this call be made?",
    };
    screen::answer(format!("{} {}", "approval".bold(), approval.id.bold()))?;
    let (decision, way) = (approval.decision.as_ref(), approval.way.as_ref());
    let rows = [
        ("asks", Some(question.to_owned())),
        ("state", Some(state(approval))),
        ("task", Some(format!("{} · step {} · {}", approval.task_id, approval.step, approval.agent))),
        ("tool", Some(format!("{} {}", approval.tool, approval.version))),
        ("contract", Some(approval.contract.clone())),
        ("goes to", way.map(|way| screen::one_line(&way.to_string(), 1_000))),
        ("places", way.filter(|way| !way.places.is_empty()).map(places)),
        ("as", way.map(|way| way.credential.as_ref().map_or("nobody".to_owned(), |name| format!("credential {name}")))),
        ("asked", Some(approval.requested_at.to_string())),
        ("expires", Some(approval.expires_at.to_string())),
        ("by", decision.map(|decision| screen::one_line(&decision.by, 256))),
        ("reason", decision.and_then(|decision| decision.reason.as_ref()).map(|reason| screen::one_line(reason, 1_000))),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            screen::answer(format!("  {} {value}", format!("{name:<9}").dimmed()))?;
        }
    }
    let arguments = serde_json::to_string_pretty(&approval.arguments).unwrap_or_default();
    screen::answer(screen::clean(&arguments))?;
    Ok(())
}
