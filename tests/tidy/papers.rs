//! Documents that must not say what is not so: README, ARCHITECTURE, error codes, examples.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, files, refuse, top};

fn read(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns what stands between backticks in a line.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Returns the names of all tests of the workspace.
fn tests(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        for (before, after) in file.text.lines().zip(file.text.lines().skip(1)) {
            if let Some(rest) = after.trim().strip_prefix("fn ")
                && before.trim().starts_with("#[")
                && let Some((name, _)) = rest.split_once('(')
            {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// Returns the lines of a list below a heading.
fn items<'a>(text: &'a str, heading: &str) -> Vec<(usize, &'a str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            inside = line.trim_start_matches('#').trim() == heading;
        } else if inside && (line.starts_with("- ") || line.starts_with("| ")) {
            found.push((index + 1, line));
        }
    }
    found
}

/// Refuses items of a list that name no test which exists.
fn items_name_tests(paper: &str, heading: &str) {
    let names = tests(&files());
    let text = read(paper);
    let found = items(&text, heading);
    assert!(!found.is_empty(), "{paper} has no list under {heading}");
    let breaches: Vec<String> = found
        .iter()
        .filter(|(_, line)| !quoted(line).iter().any(|word| names.contains(*word)))
        .map(|(number, line)| format!("{paper}:{number}: {line}"))
        .collect();
    refuse("a promise without a test of its name", &breaches);
}

#[test]
fn every_promise_of_the_readme_is_a_test() {
    items_name_tests("README.md", "Promises");
}

#[test]
fn the_counts_in_the_security_policy_are_those_counted() {
    let rows =
        read("docs/hostile-cases.md").lines().filter(|line| line.starts_with("| S-")).count();
    let table = read("sandbox/src/native/seccomp/expected_x86_64.txt");
    let answers = table.lines().filter(|line| !line.starts_with('#'));
    let answers: Vec<&str> = answers.filter_map(|line| line.split(' ').nth(2)).collect();
    let let_through = answers.iter().filter(|answer| ["allow", "wait"].contains(*answer)).count();
    let policy = read("SECURITY.md");
    for told in [
        format!("- {rows} cases of attack "),
        format!("- {let_through} of {} system calls ", answers.len()),
    ] {
        assert!(policy.contains(&told), "SECURITY.md does not say {told:?}");
    }
}

#[test]
fn every_invariant_is_a_test() {
    items_name_tests("ARCHITECTURE.md", "Invariants");
}

#[test]
fn architecture_names_only_what_exists() {
    let mut breaches = Vec::new();
    for paper in ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/threat-model.md", "docs/formats.md"] {
        for (index, line) in read(paper).lines().enumerate() {
            for word in quoted(line) {
                let path = word.trim_end_matches('/');
                let is_path =
                    [".rs", ".md", ".toml", ".sh", ".py"].iter().any(|end| path.ends_with(end))
                        || word.ends_with('/');
                let plain = path.chars().all(|l| l.is_ascii_alphanumeric() || "/._-".contains(l));
                let ours =
                    !path.starts_with('.') && !path.starts_with('/') && !path.contains("kiln-out");
                // `lib.rs` and `mod.rs` stand for those of every folder.
                let one = !["lib.rs", "mod.rs"].contains(&path);
                if is_path && plain && ours && one && !top().join(path).exists() {
                    breaches.push(format!("{paper}:{}: `{word}`", index + 1));
                }
            }
        }
    }
    refuse("a path that does not exist", &breaches);
}

#[test]
fn every_hop_is_a_function() {
    let text = read("ARCHITECTURE.md");
    let mut breaches = Vec::new();
    let hops = items(&text, "Hops");
    assert!(hops.len() >= 8, "the hops are not listed");
    for (number, line) in hops {
        let words = quoted(line);
        let [path, function, ..] = words.as_slice() else {
            breaches.push(format!("ARCHITECTURE.md:{number}: no path and function: {line}"));
            continue;
        };
        let found = std::fs::read_to_string(top().join(path))
            .is_ok_and(|code| code.contains(&format!("fn {function}")));
        if !found {
            breaches.push(format!("ARCHITECTURE.md:{number}: no `{function}` in `{path}`"));
        }
    }
    refuse("a hop that is gone", &breaches);
}

#[test]
fn hostile_cases_on_paper_are_those_that_run() {
    refuse("a page that is stale; KILN_BLESS=1 writes it", &crate::hostile::table_breaches());
}

#[test]
fn forgeries_on_paper_are_those_that_run() {
    refuse("a page that is stale; KILN_BLESS=1 writes it", &crate::forgeries::page_breaches());
}

/// Returns every code of the form `KILN-` and four digits in the text.
fn codes(text: &str) -> BTreeSet<&str> {
    let found = text.match_indices("KILN-").filter_map(|(at, _)| text.get(at..at + 9));
    found.filter(|code| code[5..].bytes().all(|byte| byte.is_ascii_digit())).collect()
}

#[test]
fn every_error_code_is_explained_once() {
    let mut used: BTreeMap<&str, &str> = BTreeMap::new();
    let files = files();
    for file in files.iter().filter(|file| file.ships()) {
        used.extend(codes(&file.text).into_iter().map(|code| (code, file.path.as_str())));
    }
    let explained = read("docs/errors.md");
    let entries: Vec<&str> =
        explained.lines().filter_map(|line| line.strip_prefix("### KILN-")).collect();
    let mut breaches = Vec::new();
    for (code, path) in used {
        let count = entries.iter().filter(|entry| entry.starts_with(&code[5..])).count();
        if count != 1 {
            breaches.push(format!("{path}: {code} has {count} entries in docs/errors.md"));
        }
    }
    refuse("an error code that is not explained exactly once", &breaches);
}

#[test]
fn examples_are_complete() {
    let files = files();
    let mut breaches = Vec::new();
    let mut count = 0;
    for file in &files {
        let Some(folder) = file.path.strip_suffix("/kiln.yaml") else { continue };
        if !folder.starts_with("examples/") {
            continue;
        }
        count += 1;
        for needed in ["README.md", "kiln.lock"] {
            if !files.iter().any(|other| other.path == format!("{folder}/{needed}")) {
                breaches.push(format!("{folder}: no {needed}"));
            }
        }
        let readme = files.iter().find(|other| other.path == format!("{folder}/README.md"));
        if readme.is_some_and(|readme| {
            readme.text.lines().count() > 45 || !readme.text.contains("**Exercise.**")
        }) {
            breaches.push(format!("{folder}/README.md: over one screen, or no exercise"));
        }
    }
    assert!(count >= 3, "the examples are gone");
    refuse("an example that others cannot copy", &breaches);
}

#[test]
fn the_changelog_has_a_place_for_the_next_line() {
    assert!(read("CHANGELOG.md").contains("\n## [Unreleased]\n"));
}
