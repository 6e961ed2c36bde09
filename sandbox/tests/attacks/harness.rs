//! A small test runner with the usual output, and the second run as an ordinary user.
#![allow(clippy::disallowed_methods, reason = "tests start programs: themselves")]

use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};

use crate::place::{Place, copy_of_this_program};

/// How a test ended, if it did not fail.
pub enum Done {
    Passed,
    /// Cannot run here, and why.
    Ignored(&'static str),
}

/// A promise and how it is attacked.
pub type Test = (&'static str, fn(&Place) -> Done);

/// Id of the ordinary user of the second run.
const ORDINARY: u32 = 1000;

/// Runs all tests whose name holds the words of the command line, here and as an ordinary user.
pub fn run(tests: &[Test]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<&Test> = tests
        .iter()
        .filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(*word)))
        .collect();
    let here = run_here(&chosen, tests.len());
    // A caller that starts the second run itself, in a place of its own, says so.
    let once = std::env::var_os("KILN_ATTACKS_ONCE").is_some();
    let there = if is_root() && !once { run_as_ordinary_user(&arguments) } else { true };
    if here && there { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says whether this run is root's.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run_here(chosen: &[&Test], all: usize) -> bool {
    let who = if is_root() { "root" } else { "an ordinary user" };
    println!("\nrunning {} tests as {who}", chosen.len());
    let place = Place::make();
    let (mut passed, mut failed, mut ignored) = (0, Vec::new(), 0);
    for (name, test) in chosen {
        match catch_unwind(AssertUnwindSafe(|| test(&place))) {
            Ok(Done::Passed) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Ok(Done::Ignored(why)) => {
                ignored += 1;
                println!("test {name} ... ignored, {why}");
            }
            Err(_) => {
                failed.push(name);
                println!("test {name} ... FAILED");
            }
        }
    }
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    failed.iter().for_each(|name| println!("failed as {who}: {name}"));
    println!(
        "\ntest result: {result}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {} filtered out\n",
        failed.len(),
        all - chosen.len()
    );
    failed.is_empty()
}

/// Runs this program again as the ordinary user, from a copy that the user may read.
fn run_as_ordinary_user(arguments: &[String]) -> bool {
    let folder = tempfile::Builder::new().prefix("kiln-attacks-").tempdir().expect("a folder");
    let copy = copy_of_this_program(folder.path());
    std::os::unix::fs::chown(folder.path(), Some(ORDINARY), Some(ORDINARY)).expect("a new owner");
    let id = ORDINARY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(&copy).args(arguments);
    command.env_remove("HOME").env("TMPDIR", folder.path()).current_dir("/");
    match command.arg0("setpriv").status() {
        Ok(status) => status.success(),
        Err(cause) => {
            println!("the run as an ordinary user is impossible: setpriv: {cause}");
            false
        }
    }
}
