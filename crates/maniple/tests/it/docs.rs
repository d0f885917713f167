//! The documentation says what the program does: keys, defaults, metrics, events, routes, commands, links, examples.

mod settings;
mod tables;

use clap::CommandFactory;
use maniple::{
    cli::Cli,
    config::Config,
    files::{Project, Sources},
};
use maniple_api::openapi::TABLE;
use maniple_core::event::EventKind;
use maniple_core::{model::ModelName, task::TaskLimits};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tables::{code_blocks, first_cells, rows};

/// The repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// README, CHANGELOG and so on, and every page below docs/ and examples/.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned(), root().join("docs"), root().join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let below_docs = folder != root();
            if entry.is_dir() && below_docs {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "md") {
                found.push(entry);
            }
        }
    }
    found
}

/// Both ways: what the program has and the page does not tell of, and the other way round.
fn agree(page: &str, documented: &BTreeSet<String>, known: &BTreeSet<String>) {
    let missing: Vec<_> = known.difference(documented).collect();
    let made_up: Vec<_> = documented.difference(known).collect();
    assert!(missing.is_empty() && made_up.is_empty(), "{page} does not tell of {missing:?}, and tells of {made_up:?}, which there is not");
}

/// Every source file of the crates.
fn sources() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("sources").flatten().map(|entry| entry.path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                found.push(fs::read_to_string(&entry).expect("UTF-8"));
            }
        }
    }
    found
}

/// What stands in quotes right after one of these openings, in every source file.
fn in_sources(openings: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for text in sources() {
        for opening in openings {
            let after = text.split(opening).skip(1).map(str::trim_start).filter_map(|after| after.strip_prefix('"'));
            found.extend(after.filter_map(|after| after.split_once('"')).map(|(name, _)| name.to_owned()));
        }
    }
    found
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let documented: BTreeSet<String> = first_cells(&page("docs/reference/metrics.md"), "metric").into_iter().collect();
    let known: BTreeSet<String> =
        in_sources(&["counter!(", "gauge!(", "histogram!("]).into_iter().filter(|name| name.starts_with("maniple_")).collect();
    assert!(!known.is_empty());
    agree("docs/reference/metrics.md", &documented, &known);
}

#[test]
fn every_event_is_documented() {
    let page = page("docs/reference/events.md");
    for name in EventKind::ALL.iter().map(|kind| kind.name()) {
        assert!(page.contains(&format!("`{name}`")), "docs/reference/events.md does not tell of {name}");
    }
}

#[test]
fn every_route_is_documented() {
    let page = page("docs/reference/http-api.md");
    for operation in TABLE {
        let call = format!("{} {}", operation.method.to_uppercase(), operation.path);
        assert!(page.contains(&call), "docs/reference/http-api.md does not tell of {call}");
    }
}

#[test]
fn every_command_and_flag_is_documented() {
    fn check(command: &clap::Command, path: &str, page: &str, missing: &mut Vec<String>) {
        let flags = command.get_arguments().filter_map(|argument| argument.get_long()).filter(|flag| !["help", "version"].contains(flag));
        missing.extend(flags.filter(|flag| !page.contains(&format!("--{flag}"))).map(|flag| format!("{path} --{flag}")));
        let mut below = command.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set()).peekable();
        if below.peek().is_none() && !page.contains(path) {
            missing.push(path.to_owned());
        }
        below.for_each(|command| check(command, &format!("{path} {}", command.get_name()), page, missing));
    }
    let mut missing = Vec::new();
    check(&Cli::command(), "maniple", &page("docs/reference/cli.md"), &mut missing);
    assert!(missing.is_empty(), "docs/reference/cli.md does not tell of {missing:?}");
}

#[test]
fn every_documented_command_exists() {
    let documented = first_cells(&page("docs/reference/cli.md"), "command");
    assert!(documented.len() > 10, "{documented:?}");
    for line in documented {
        let mut at = Cli::command();
        for word in line.split(' ').skip(1).take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())) {
            at = at.find_subcommand(word).unwrap_or_else(|| panic!("there is no `{line}`")).clone();
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for file in pages() {
        let text = fs::read_to_string(&file).expect("UTF-8");
        let links = text.split("](").skip(1).filter_map(|after| after.split_once(')')).map(|(target, _)| target);
        for target in links.filter(|target| !target.contains("://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let at = if path.is_empty() { file.clone() } else { file.parent().expect("a folder").join(path) };
            let headings = fs::read_to_string(&at).unwrap_or_default();
            let headings: Vec<String> = headings.lines().filter(|line| line.starts_with('#')).map(tables::anchor).collect();
            if !at.exists() || !anchor.is_empty() && !headings.iter().any(|heading| heading == anchor) {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let rows = rows(&page("README.md"), "fault");
    let named: BTreeSet<&str> = rows.iter().flat_map(|row| row["test"].split('`')).filter(|name| name.contains('_')).collect();
    assert!(named.len() >= 10, "{named:?}");
    let sources = sources();
    let missing: Vec<&&str> = named.iter().filter(|name| !sources.iter().any(|text| text.contains(&format!("fn {name}(")))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A block whose opening line names a file (` ```yaml tools/pay.yaml `) is that file of a project.
#[test]
fn every_example_of_an_agent_or_a_tool_can_be_read() {
    let mut examples = 0;
    for file in pages() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = fs::read_to_string(&file).expect("UTF-8");
        for (path, content) in code_blocks(&text) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, content).expect("a file");
            examples += 1;
        }
        checked(folder.path(), &file);
    }
    assert!(examples >= 4, "only {examples} examples were found");
    checked(&root().join("scripts/demo_shop"), Path::new("scripts/demo_shop"));
}

fn checked(project: &Path, of: &Path) {
    let sources = Sources { agent_folders: vec![project.join("agents")], agent_files: vec![], tool_folders: vec![project.join("tools")] };
    let model = ModelName::parse("demo/demo").expect("a name");
    let config = project.join("maniple.yaml");
    if config.exists() {
        Config::load_with(&config, |_| Some("x".into()), std::iter::empty()).unwrap_or_else(|e| panic!("{}: {e:#}", of.display()));
    }
    if let Err(problems) = Project::load(&sources, &TaskLimits::default(), &model) {
        panic!("{}:\n{}", of.display(), problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
}
