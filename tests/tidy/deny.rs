//! `deny.toml` held against what is really in the graph: licences, sources and banned crates.
//!
//! `cargo deny` asks more and better, but is not installed everywhere; what a new dependency breaks most
//! easily is asked here each time. A licence expression is read as SPDX writes it, `/` as `OR`.

use std::process::Command;

use serde_json::Value;

use super::{refuse, top};

/// Returns the texts of a list of `deny.toml`: what stands between quotes after `name = [`.
fn list(deny: &str, name: &str) -> Vec<String> {
    let start = deny.find(&format!("\n{name} = [")).unwrap_or_else(|| panic!("no list {name}"));
    let rest = &deny[start..];
    let end = rest.find("\n]").unwrap_or_else(|| panic!("{name} has no end"));
    rest[..end].split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Says whether an expression can be met with these licences: `OR` binds less than `AND`.
fn met(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let (answer, end) = any(&words, 0, allowed);
    answer && end == words.len()
}

fn any(words: &[&str], at: usize, allowed: &[String]) -> (bool, usize) {
    let (mut answer, mut at) = all(words, at, allowed);
    while words.get(at) == Some(&"OR") {
        let (other, end) = all(words, at + 1, allowed);
        (answer, at) = (answer || other, end);
    }
    (answer, at)
}

fn all(words: &[&str], at: usize, allowed: &[String]) -> (bool, usize) {
    let (mut answer, mut at) = one(words, at, allowed);
    while words.get(at) == Some(&"AND") {
        let (other, end) = one(words, at + 1, allowed);
        (answer, at) = (answer && other, end);
    }
    (answer, at)
}

fn one(words: &[&str], at: usize, allowed: &[String]) -> (bool, usize) {
    let Some(word) = words.get(at) else { return (false, at) };
    if *word == "(" {
        let (answer, end) = any(words, at + 1, allowed);
        return (answer && words.get(end) == Some(&")"), end + 1);
    }
    let (name, end) = match (words.get(at + 1), words.get(at + 2)) {
        (Some(&"WITH"), Some(exception)) => (format!("{word} WITH {exception}"), at + 3),
        _ => ((*word).to_owned(), at + 1),
    };
    (allowed.contains(&name), end)
}

#[test]
fn every_crate_has_a_licence_a_source_and_a_name_that_are_allowed() {
    let deny = std::fs::read_to_string(top().join("deny.toml")).expect("it is there");
    let allowed = list(&deny, "allow");
    let banned: Vec<&str> = deny
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split('"').next())
        .collect();
    assert!(allowed.len() > 4 && banned.len() > 2, "deny.toml is not read");
    let filter = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]
        .map(|target| format!("--filter-platform={target}"));
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version=1", "--offline", "--all-features"]).args(filter);
    let told = command.current_dir(top()).output().expect("cargo can be started");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let packages = told["packages"].as_array().expect("a list");
    assert!(packages.len() > 100, "{} packages", packages.len());
    let (mut breaches, mut sources) = (Vec::new(), std::collections::BTreeSet::new());
    // Without a source it is one of ours, by path.
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let text = |name: &str| package[name].as_str().unwrap_or_default();
        let name = format!("{} {}", text("name"), text("version"));
        if !met(text("license"), &allowed) {
            breaches.push(format!("{name}: licence {:?}", text("license")));
        }
        sources.insert(text("source").to_owned());
        if banned.contains(&text("name")) {
            breaches.push(format!("{name} is banned"));
        }
    }
    // One index, and no repository of anybody's.
    if sources.len() != 1 || !sources.iter().all(|one| one.starts_with("registry+")) {
        breaches.push(format!("crates come from {sources:?}"));
    }
    refuse("what deny.toml does not allow", &breaches);
}

#[test]
fn a_licence_expression_is_met_by_what_is_allowed_alone() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for (expression, wanted) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("", false),
        ("MIT OR GPL-3.0-only", true),
        ("MIT/GPL-3.0-only", true),
        ("MIT AND GPL-3.0-only", false),
        ("ISC AND (MIT OR GPL-3.0-only)", true),
        ("ISC AND (LGPL-2.1 OR GPL-3.0-only)", false),
        ("GPL-3.0-only OR ISC AND MIT", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("MIT GPL-3.0-only", false),
        ("(MIT", false),
    ] {
        assert_eq!(met(expression, &allowed), wanted, "{expression}");
    }
}
