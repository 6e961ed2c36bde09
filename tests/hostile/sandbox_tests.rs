//! Cases that no build file leads to: the sandbox's own attack tests, run as everybody.
//!
//! They are one program, which runs itself a second time as an unprivileged user. It is started once,
//! with the names of all rows that need it, and its lines are read.

use std::process::Command;
use std::sync::OnceLock;

use super::run::Verdict;
use super::{Act, cases};
use crate::support::Who;

/// Returns what came of some of them for a user.
pub fn verdict(who: Who, names: &[&str]) -> Verdict {
    let part = lines(who);
    let mut wrong = Vec::new();
    for name in names {
        let start = format!("test {name} ... ");
        match part.iter().find_map(|line| line.strip_prefix(&start)) {
            Some("ok") => {}
            Some(other) if other.starts_with("ignored, ") => {
                return Verdict::Skipped(other["ignored, ".len()..].to_owned());
            }
            other => wrong.push(format!("{name}: {other:?}\n{}", part.join("\n"))),
        }
    }
    if wrong.is_empty() { Verdict::Held } else { Verdict::Failed(wrong) }
}

/// Returns the lines that a user's run printed.
fn lines(who: Who) -> Vec<&'static str> {
    let words = if who == Who::Root { "as root" } else { "as an ordinary user" };
    let mut inside = false;
    let mut found = Vec::new();
    for line in output().lines() {
        if line.starts_with("running ") && line.contains(" tests as ") {
            inside = line.ends_with(words);
        } else if inside {
            found.push(line);
        }
    }
    found
}

fn output() -> &'static str {
    static OUTPUT: OnceLock<String> = OnceLock::new();
    OUTPUT.get_or_init(|| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "-q", "-p", "sandbox", "--test", "attacks", "--"]);
        for case in cases::all() {
            if let Act::Sandbox(names) = case.act {
                command.args(names);
            }
        }
        let output = command.output().expect("cargo can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        format!("{text}\n{}", String::from_utf8_lossy(&output.stderr))
    })
}
