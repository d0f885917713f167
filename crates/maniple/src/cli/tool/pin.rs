//! `lock` and `verify`: what the tools were when somebody last looked.

use super::{everything, look::of_names};
use crate::{
    cli::{
        exit::{Exit, Trouble},
        screen,
    },
    files::{LOCK_MAX, regular},
};
use maniple_api::client::Client;
use maniple_registry::lock::{FILE_NAME, Pins};
use owo_colors::OwoColorize;
use serde_json::json;
use std::path::Path;

/// Writes all tools that somebody serves, or of these names only.
pub(super) async fn lock(client: &Client, file: &Path, names: &[String], as_json: bool) -> Result<Exit, Trouble> {
    let now = Pins::of(&of_names(client, names).await?);
    let mut pins = match names {
        [] => Pins::default(),
        _ => written(file)?.unwrap_or_default(),
    };
    for name in names {
        pins.tools.remove(name);
    }
    pins.tools.extend(now.tools.clone());
    // Beside it first: a node that reads it meanwhile sees the old one or the new one.
    let beside = file.with_extension("lock.new");
    std::fs::write(&beside, pins.print()?)?;
    std::fs::rename(&beside, file)?;
    if as_json {
        screen::json(&pins)?;
    } else {
        let versions: usize = now.tools.values().map(|versions| versions.len()).sum();
        screen::answer(format!(
            "{} pins {} of {}",
            file.display(),
            screen::count(versions as u64, "version"),
            screen::count(now.tools.len() as u64, "tool")
        ))?;
    }
    Ok(Exit::Done)
}

/// Names all that is not as it was.
pub(super) async fn verify(client: &Client, file: &Path, as_json: bool) -> Result<Exit, Trouble> {
    let Some(pins) = written(file)? else {
        let what = format!("there is no {}", file.display());
        return Err(Trouble { exit: Exit::NotFound, what, next: None }.try_next("maniple tool lock"));
    };
    let drift = pins.drift(&everything(client).await?);
    if as_json {
        screen::json(&json!({ "drift": drift }))?;
    } else if drift.is_empty() {
        screen::answer(format!("all tools are as {FILE_NAME} says"))?;
    } else {
        for line in &drift {
            screen::answer(format!("{} {}", "✗".red(), screen::one_line(line, 1_000)))?;
        }
    }
    Ok(if drift.is_empty() { Exit::Done } else { Exit::Unsuccessful })
}

fn written(file: &Path) -> Result<Option<Pins>, Trouble> {
    match regular::text(file, LOCK_MAX) {
        Ok(text) => Ok(Some(Pins::parse(&text)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Trouble::usage(format!("{} cannot be read: {error}", file.display()))),
    }
}
