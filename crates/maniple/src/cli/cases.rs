//! `maniple agent test`: plays cases and tells what is not as expected.
//!
//! [`format`] reads them, [`play`] runs them through the real runtime, [`compare`] tells the differences.

mod compare;
pub mod format;
mod play;

use super::{
    check,
    exit::{Exit, Trouble},
    screen,
};
use compare::Difference;
use format::Case;
use maniple_core::{ports::TaskStore, task::AgentResult};
use maniple_registry::{Egress, Registry};
use owo_colors::OwoColorize;
use play::Stage;
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The most files of cases that are played by one command.
const FILES_MAX: usize = 10_000;

/// What became of a case.
#[derive(Debug, Serialize)]
struct Verdict {
    case: String,
    file: String,
    passed: bool,
    differences: Vec<Difference>,
    result: Option<AgentResult>,
}

/// Plays the cases of `paths`, or of the project's `cases/`.
pub async fn test(dir: &Path, paths: &[PathBuf], as_json: bool) -> Result<Exit, Trouble> {
    let files = files(dir, paths)?;
    let stage = stage(dir)?;
    let mut verdicts = Vec::new();
    for file in &files {
        let store = play::store();
        match format::read(file) {
            Ok(cases) => {
                for case in &cases {
                    verdicts.push(verdict(&stage, case, file, &store).await);
                }
            }
            Err(problem) => verdicts.push(unplayed(file, "(the file)".into(), problem.to_string())),
        }
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.passed).count();
    if as_json {
        screen::json(&serde_json::json!({ "cases": verdicts, "passed": verdicts.len() - failed, "failed": failed }))?;
    } else {
        tell(&verdicts, failed)?;
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Unsuccessful })
}

fn stage(dir: &Path) -> Result<Stage, Trouble> {
    let checked = check::project(dir).map_err(|problems| {
        let all = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n");
        Trouble { exit: Exit::Unsuccessful, what: all, next: Some("maniple agent check".into()) }
    })?;
    let tools = Arc::new(Registry::new(checked.catalog, Egress::new(&[])?));
    Ok(Stage { agents: checked.project.agents, tools, limits: checked.limits })
}

async fn verdict(stage: &Stage, case: &Case, file: &Path, store: &Arc<dyn TaskStore>) -> Verdict {
    match stage.play(case, store).await {
        Ok(played) => {
            let differences = compare::differences(&case.expect, &played);
            let (case, file) = (case.name.clone(), file.display().to_string());
            Verdict { case, file, passed: differences.is_empty(), differences, result: Some(played.result) }
        }
        Err(error) => unplayed(file, case.name.clone(), error.to_string()),
    }
}

fn unplayed(file: &Path, case: String, why: String) -> Verdict {
    let differences = vec![Difference { what: "case", expected: "one that can be played".into(), got: why }];
    Verdict { case, file: file.display().to_string(), passed: false, differences, result: None }
}

fn tell(verdicts: &[Verdict], failed: usize) -> Result<(), Trouble> {
    let rows = verdicts.iter().map(|verdict| {
        let of = |number: fn(&AgentResult) -> String| verdict.result.as_ref().map(number).unwrap_or_default();
        vec![
            if verdict.passed { "ok".into() } else { "FAILED".into() },
            screen::one_line(&verdict.case, 60),
            of(|result| result.agent.to_string()),
            of(|result| result.steps_used.to_string()),
            of(|result| result.tool_calls.to_string()),
            of(|result| screen::duration(Duration::from_millis(result.duration_ms))),
        ]
    });
    screen::answer(screen::table(&["", "CASE", "AGENT", "STEPS", "CALLS", "TOOK"], rows))?;
    for verdict in verdicts.iter().filter(|verdict| !verdict.passed) {
        screen::answer(format!("\n{} {} {}", "✗".red(), verdict.case.bold(), format!("({})", verdict.file).dimmed()))?;
        for Difference { what, expected, got } in &verdict.differences {
            screen::answer(format!("    {what}\n      {} {}", "expected".green(), screen::clean(expected)))?;
            screen::answer(format!("      {}      {}", "got".red(), screen::clean(got)))?;
        }
    }
    let passed = verdicts.len() - failed;
    Ok(screen::answer(match failed {
        0 => format!("\n{}", format!("{} passed", screen::count(passed as u64, "case")).green()),
        _ => format!("\n{}, {passed} passed", format!("{} failed", screen::count(failed as u64, "case")).red()),
    })?)
}

/// The files to play, in the order of their names.
fn files(dir: &Path, paths: &[PathBuf]) -> Result<Vec<PathBuf>, Trouble> {
    let given =
        if paths.is_empty() { vec![if dir == Path::new(".") { "cases".into() } else { dir.join("cases") }] } else { paths.to_vec() };
    let mut files = Vec::new();
    for path in &given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).map_err(|e| Trouble::usage(format!("{} cannot be read: {e}", path.display())))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_yaml(path)).collect();
        found.sort();
        files.extend(found);
    }
    if let Some(missing) = files.iter().find(|file| !file.exists()) {
        return Err(
            Trouble::usage(format!("there are no cases at {}", missing.display())).try_next("maniple new NAME shows a project with cases")
        );
    }
    if files.is_empty() {
        let folders = given.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Trouble::usage(format!("there is no case in {folders}")).try_next("maniple new NAME shows a project with cases"));
    }
    if files.len() > FILES_MAX {
        return Err(Trouble::usage(format!("{} files of cases are too many: at most {FILES_MAX} are played at once", files.len())));
    }
    Ok(files)
}

/// Whether a file is YAML by its name.
pub fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}
