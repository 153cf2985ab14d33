//! The dependency graph of ARCHITECTURE.md holds, and the pure crates stay pure.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Every edge that the house allows between packages of the workspace (development edges aside).
const ALLOWED: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("rules", &["event"]),
    ("ingest", &["event"]),
    ("storage", &["event"]),
    ("forward", &["event"]),
    ("simulate", &["event"]),
    ("correlate", &["event", "rules"]),
    ("respond", &["event", "rules"]),
    ("server", &["event", "ingest", "storage", "correlate", "respond", "forward", "rules", "simulate"]),
];

/// What a pure crate must not know: Kafka, HTTP, files through a runtime, threads of a runtime.
const IMPURE: &[&str] =
    &["tokio", "rdkafka", "axum", "reqwest", "rusqlite", "fjall", "object_store", "datafusion"];
const PURE: &[&str] = &["event", "rules", "correlate"];

fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata runs");
    let normal = |p: &cargo_metadata::Package| {
        p.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal).map(|d| d.name.clone()).collect()
    };
    metadata.packages.iter().map(|p| (p.name.to_string(), normal(p))).collect()
}

#[test]
fn dependencies_point_down_only() {
    let edges = edges();
    let members: BTreeSet<&String> = edges.keys().collect();
    for (package, allowed) in ALLOWED {
        let own = edges[*package].iter().filter(|d| members.contains(d));
        let forbidden: Vec<&String> = own.filter(|d| !allowed.contains(&d.as_str())).collect();
        assert!(forbidden.is_empty(), "{package} must not depend on {forbidden:?}");
    }
}

#[test]
fn pure_crates_know_no_io() {
    let edges = edges();
    for package in PURE {
        let impure: Vec<&&str> = IMPURE.iter().filter(|d| edges[*package].contains(**d)).collect();
        assert!(impure.is_empty(), "{package} is pure and must not depend on {impure:?}");
    }
}

#[test]
fn every_package_is_in_the_house() {
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(p, _)| *p).chain(["benches", "xtask", "fuzz"]).collect();
    for package in edges().keys() {
        assert!(known.contains(package.as_str()), "{package} has no place in ARCHITECTURE.md");
    }
}

/// Every package that a build holds, with its features.
fn features(selection: &[&str]) -> BTreeSet<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p}|{f}"])
        .args(selection)
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    lines.map(|(package, features)| (package.to_owned(), features.to_owned())).collect()
}

#[test]
fn the_binary_is_built_with_the_features_of_the_tests() {
    let tests = features(&["--workspace", "--edges", "normal,build,dev"]);
    let binary = features(&["--package", "server", "--edges", "normal,build"]);
    let others: Vec<&(String, String)> = binary.difference(&tests).collect();
    assert!(others.is_empty(), "compiled once more for the binary alone: {others:?}");
    // A package may be built twice, for build scripts and for itself; then the binary must not lack one of both.
    let only_in_tests = tests.difference(&binary).filter(|(p, _)| binary.iter().any(|(b, _)| b == p));
    let lacking: Vec<&(String, String)> = only_in_tests.collect();
    assert!(lacking.is_empty(), "compiled otherwise for the tests: {lacking:?}");
}
