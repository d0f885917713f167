//! `call`: a tool, once, on an agent's grant, by hand.

use crate::cli::{
    exit::{Exit, Trouble},
    screen,
};
use clap::Args;
use maniple_api::{
    client::{Client, TaskQuery},
    tools::{CallOutcome, CallRequest},
};
use maniple_core::{Kind, ports::RefusalKind};
use owo_colors::OwoColorize;
use serde_json::{Map, Value};
use std::io::Read;
use uuid::Uuid;

/// The most that is read from standard input.
const BYTES_MAX: u64 = 1 << 20;

/// A call.
#[derive(Debug, Args)]
pub struct Call {
    /// The tool
    name: String,
    /// Its arguments, a JSON object; `-` reads it from standard input
    #[arg(default_value = "{}", allow_hyphen_values = true)]
    arguments: String,
    /// The agent on whose grant it is called; without it the error says which agents list the tool
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
    /// A range of versions, such as ^1.2
    #[arg(long, value_name = "RANGE")]
    version: Option<String>,
    /// The Idempotency-Key: the same key and arguments is the same call [default: a new one]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Call {
    pub(super) async fn run(&self, client: &Client, as_json: bool) -> Result<Exit, Trouble> {
        let Some(agent) = &self.agent else { return Err(self.of_whom(client).await?) };
        let request = CallRequest {
            agent: agent.clone(),
            arguments: arguments(&self.arguments)?,
            version: self.version.clone(),
            ..CallRequest::default()
        };
        let key = self.key.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        match client.call_tool(&self.name, &request, Some(&key)).await? {
            Ok(answer) if as_json => screen::json(&answer)?,
            Ok(answer) => {
                screen::remark(format!("{} {} answered", answer.tool, answer.version).dimmed());
                match &answer.result {
                    Value::String(text) => screen::answer(screen::clean(text))?,
                    other => screen::answer(screen::clean(&format!("{other:#}")))?,
                }
            }
            Err(outcome) => {
                let has_agent = !is_not_granted(&outcome) || is_there(client, agent).await;
                return Err(self.told(outcome, agent, has_agent, &key));
            }
        }
        Ok(Exit::Done)
    }

    /// That an agent is missing, and which ones it could be.
    async fn of_whom(&self, client: &Client) -> Result<Trouble, Trouble> {
        let name = &self.name;
        let page = client.agents(&TaskQuery { limit: Some(200), ..TaskQuery::default() }).await?;
        let agents: Vec<&str> = page.agents.iter().filter(|agent| agent.tools.contains(name)).map(|agent| agent.name.as_str()).collect();
        Ok(match agents.as_slice() {
            [] => Trouble::usage(format!("a call is made on an agent's grant, and no agent lists `{name}`"))
                .try_next(format!("list `{name}` under `tools` of an agent")),
            [first, ..] => Trouble::usage(format!("a call is made on an agent's grant: `{name}` is listed by {}", agents.join(", ")))
                .try_next(format!("maniple tool call {name} --agent {first}")),
        })
    }

    /// What came of it instead of a result, and what to try.
    fn told(&self, outcome: CallOutcome, agent: &str, has_agent: bool, key: &str) -> Trouble {
        let name = &self.name;
        let (exit, next) = match &outcome {
            CallOutcome::Failed { .. } => (Exit::Unsuccessful, None),
            CallOutcome::NotSent { .. } => (Exit::Busy, Some(format!("maniple tool show {name}"))),
            CallOutcome::Wait { wait_ms, .. } => (Exit::Busy, Some(format!("the same again in {} s", wait_ms.div_ceil(1_000)))),
            CallOutcome::Unknown { .. } => {
                (Exit::Unsuccessful, Some(format!("the same with --key {key}: it is not sent twice unless it may be")))
            }
            CallOutcome::Refused { reason, .. } => match reason {
                RefusalKind::Arguments => (Exit::Usage, Some(format!("maniple tool show {name}"))),
                RefusalKind::KeyReused => (Exit::Usage, Some("leave --key out, or use a new one".to_owned())),
                RefusalKind::NotGranted if !has_agent => (Exit::NotFound, Some("maniple agent ls".to_owned())),
                RefusalKind::NotGranted => (Exit::Refused, Some(format!("list `{name}` under `tools` in agents/{agent}.md"))),
                RefusalKind::NeedsApproval => (Exit::Refused, Some(format!("maniple run --agent {agent} \"…\""))),
                RefusalKind::Forbidden => (Exit::Refused, Some("`egress.allow` and the credential's `hosts` in maniple.yaml".to_owned())),
                RefusalKind::NotFound => (Exit::NotFound, None),
                RefusalKind::Quarantined => (Exit::Conflict, Some("maniple tool verify".to_owned())),
            },
        };
        Trouble { exit, what: outcome.problem().detail, next }
    }
}

/// Whether an agent is there: one that is not was granted nothing either.
async fn is_there(client: &Client, agent: &str) -> bool {
    !client.tools_of(agent).await.is_err_and(|error| error.kind == Kind::NotFound)
}

fn is_not_granted(outcome: &CallOutcome) -> bool {
    matches!(outcome, CallOutcome::Refused { reason: RefusalKind::NotGranted, .. })
}

fn arguments(text: &str) -> Result<Map<String, Value>, Trouble> {
    let mut read = String::new();
    let text = match text {
        "-" => {
            std::io::stdin().take(BYTES_MAX).read_to_string(&mut read)?;
            read.as_str()
        }
        text => text,
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(Trouble::usage("the arguments must be a JSON object, such as '{\"city\": \"Oslo\"}'")),
        Err(error) => {
            Err(Trouble::usage(format!("the arguments are no JSON: {error}")).try_next("'{\"city\": \"Oslo\"}', or - to read them"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn how_a_call_went_decides_the_exit_code() {
        let call = Call { name: "pay".into(), arguments: "{}".into(), agent: None, version: None, key: None };
        let refused = |reason| CallOutcome::Refused { reason, message: "no".into() };
        let table = [
            (CallOutcome::Failed { result: json!({ "status": 500, "body": "broken" }) }, Exit::Unsuccessful),
            (CallOutcome::NotSent { message: "down".into() }, Exit::Busy),
            (CallOutcome::Wait { message: "often".into(), wait_ms: 1_500 }, Exit::Busy),
            (CallOutcome::Unknown { message: "cut".into() }, Exit::Unsuccessful),
            (refused(RefusalKind::Arguments), Exit::Usage),
            (refused(RefusalKind::KeyReused), Exit::Usage),
            (refused(RefusalKind::NotGranted), Exit::Refused),
            (refused(RefusalKind::NeedsApproval), Exit::Refused),
            (refused(RefusalKind::Forbidden), Exit::Refused),
            (refused(RefusalKind::NotFound), Exit::NotFound),
            (refused(RefusalKind::Quarantined), Exit::Conflict),
        ];
        for (outcome, exit) in table {
            assert_eq!(call.told(outcome.clone(), "a", true, "k").exit, exit, "{outcome:?}");
        }
        assert_eq!(call.told(refused(RefusalKind::NotGranted), "a", false, "k").exit, Exit::NotFound, "there is no such agent");
        let doubt = call.told(CallOutcome::Unknown { message: "cut".into() }, "a", true, "k-7");
        assert!(doubt.next.is_some_and(|next| next.contains("--key k-7")));
    }

    #[test]
    fn arguments_are_an_object_or_the_reason_why_not() {
        assert_eq!(Value::Object(arguments("{\"a\": 1}").unwrap()), json!({ "a": 1 }));
        for text in ["[1]", "7", "{", "a=1", ""] {
            assert_eq!(arguments(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }
}
