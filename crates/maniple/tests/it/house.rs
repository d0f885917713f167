//! The house stays as drawn: every crate knows core, only the binary knows everyone, and two small ones, the contract and what is done aside, are stood on.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::BTreeSet;

fn metadata() -> Metadata {
    // For this platform only: what others need is not downloaded.
    let rustc = std::process::Command::new("rustc").arg("-vV").output().expect("rustc answers").stdout;
    let about = String::from_utf8(rustc).expect("UTF-8");
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let options = ["--locked", "--offline", "--filter-platform", host].map(str::to_owned).to_vec();
    MetadataCommand::new().other_options(options).exec().expect("cargo metadata answers")
}

fn is_ours(name: &str) -> bool {
    name == "maniple" || name.starts_with("maniple-")
}

fn uses(package: &Package) -> Vec<&str> {
    package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal).map(|d| d.name.as_str()).collect()
}

#[test]
fn siblings_do_not_know_each_other() {
    let metadata = metadata();
    let ours: Vec<&Package> = metadata.packages.iter().filter(|package| is_ours(&package.name)).collect();
    assert!(ours.len() >= 10, "the workspace is incomplete: {}", ours.len());
    for package in ours {
        let knows: BTreeSet<&str> = uses(package).into_iter().filter(|name| is_ours(name)).collect();
        match package.name.as_str() {
            "maniple-core" => assert!(knows.is_empty(), "core knows {knows:?}"),
            "maniple" => assert!(!knows.contains(&"maniple-testkit"), "the binary knows the testkit"),
            "maniple-registry" => assert_eq!(knows, ["maniple-aside", "maniple-contract", "maniple-core"].into(), "the registry"),
            "maniple-runtime" => assert_eq!(knows, ["maniple-aside", "maniple-core"].into(), "the runtime"),
            sibling => assert_eq!(knows, ["maniple-core"].into(), "{sibling} knows more than core"),
        }
    }
}

#[test]
fn core_and_the_contract_have_no_runtime_no_client_no_store_and_no_dice() {
    let metadata = metadata();
    for pure in ["maniple-core", "maniple-contract"] {
        let package = metadata.packages.iter().find(|package| *package.name == pure).expect("it is in the workspace");
        for banned in ["tokio", "reqwest", "hyper", "axum", "rusqlite", "fastrand", "rand", "tracing", "metrics"] {
            assert!(!uses(package).contains(&banned), "{pure} uses {banned}");
        }
    }
}

#[test]
fn there_is_one_cryptographic_library_and_openssl_only_below_kafkas_client() {
    // What `cargo tree` shows: the lock file, and with it the metadata, also knows what no feature asks for.
    let tree = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO"));
        command.args(["tree", "--workspace", "--edges", "normal,build", "--prefix", "none", "--locked", "--offline"]).args(more);
        String::from_utf8(command.output().expect("cargo tree answers").stdout).expect("UTF-8")
    };
    let all = tree(&[]);
    assert!(all.contains("aws-lc-rs v"), "the tree is incomplete");
    for banned in ["native-tls v", "ring v"] {
        assert!(!all.lines().any(|line| line.starts_with(banned)), "{banned} is in the graph");
    }
    let above = tree(&["--invert", "openssl-sys", "--depth", "1"]);
    let above: Vec<&str> = above.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(above, ["rdkafka-sys"], "who stands on OpenSSL");
}
