//! What the build file's reader promises: the examples of its reference, a transcript of every code,
//! the hostile cases of group H, and no panic for any bytes.

mod hostile;
mod keys;
mod meaning;
mod names;
mod yaml;

use super::{Expanded, Manifest, expand, parse};
use crate::diagnostic::{COLUMNS_DEFAULT, Code, Diagnostic, Style};
use model::platform::Platform;

/// Example A of the reference: hello in C, with the host's compiler.
const HELLO: &str = "\
kiln: 1
name: hello
environment:
  host: {packages: [gcc, libc6-dev, make]}
steps:
  - name: build
    run: make
    outputs: {hello: hello}
artifacts:
  - {file: build.hello}
";

/// Compares what is told about a build file with what should be. Both start after their first
/// newline, so that they can be read as they are.
#[track_caller]
fn check(text: &str, expected: &str) {
    let found = refused(text.strip_prefix('\n').unwrap_or(text));
    let told: Vec<String> =
        found.iter().map(|one| one.render(Style::Drawn, COLUMNS_DEFAULT)).collect();
    assert_eq!(format!("\n{}", told.join("\n")), expected);
    assert!(found.iter().all(|one| !one.help.is_empty()), "an error without a remedy");
    assert!(found.iter().all(|one| one.place.is_some()), "an error without a place");
}

/// Returns what is wrong with a build file.
#[track_caller]
fn refused(text: &str) -> Vec<Diagnostic> {
    match parse(text.as_bytes(), "kiln.yaml") {
        Ok(_) => panic!("accepted:\n{}", start_of(text)),
        Err(found) => found,
    }
}

/// Compares the codes alone.
#[track_caller]
fn check_codes(text: &str, expected: &[Code]) {
    let codes: Vec<Code> = refused(text).iter().map(|one| one.code).collect();
    assert_eq!(codes, expected, "{}", start_of(text));
}

/// Returns a build file that must be accepted.
#[track_caller]
fn accepted(text: &str) -> Manifest {
    match parse(text.as_bytes(), "kiln.yaml") {
        Ok(manifest) => manifest,
        Err(found) => panic!("{text}\n{found:#?}"),
    }
}

#[track_caller]
fn expanded(text: &str) -> Expanded {
    match expand(&accepted(text), Platform::HERE) {
        Ok(expanded) => expanded,
        Err(found) => panic!("{text}\n{found:#?}"),
    }
}

/// Returns as much of a file as a failed test shall show.
fn start_of(text: &str) -> String {
    text.chars().take(500).collect()
}

/// Returns a build file with one step that has these lines, each indented as keys of the step.
fn step(lines: &str) -> String {
    format!("kiln: 1\nname: t\nsteps:\n  - name: build\n    run: make\n{lines}")
}
