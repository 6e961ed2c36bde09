//! The states of a step: one vocabulary for terminal, JSON and logs.

use serde::{Deserialize, Serialize};

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for a slot or an input.
    Queued,
    /// Its inputs are on the way.
    Fetching,
    /// In the sandbox.
    Running,
    /// Same Action digest seen before.
    Cached,
    /// Exit 0 and all outputs there.
    Passed,
    /// The command, an output or a limit failed.
    Failed,
    /// kiln's fault or the host's.
    Error,
    /// Interrupted.
    Cancelled,
    /// Not selected.
    Skipped,
    /// Something before it failed.
    Blocked,
}

impl State {
    /// Every state, in the order of its life.
    pub const ALL: [State; 10] = [
        State::Queued,
        State::Fetching,
        State::Running,
        State::Cached,
        State::Passed,
        State::Failed,
        State::Error,
        State::Cancelled,
        State::Skipped,
        State::Blocked,
    ];

    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Fetching => "fetching",
            State::Running => "running",
            State::Cached => "cached",
            State::Passed => "passed",
            State::Failed => "failed",
            State::Error => "error",
            State::Cancelled => "cancelled",
            State::Skipped => "skipped",
            State::Blocked => "blocked",
        }
    }

    /// Returns its mark, in UTF-8 or ASCII.
    pub fn mark(self, utf8: bool) -> &'static str {
        let (mark, ascii) = match self {
            State::Queued => ("·", "."),
            State::Fetching => ("↓", "v"),
            State::Running => ("▸", ">"),
            State::Cached => ("=", "="),
            State::Passed => ("✓", "+"),
            State::Failed => ("✗", "x"),
            State::Error => ("!", "!"),
            State::Cancelled => ("–", "-"),
            State::Skipped => ("○", "o"),
            State::Blocked => ("▪", "#"),
        };
        if utf8 { mark } else { ascii }
    }

    /// Returns what it means, for `kiln help states`.
    pub fn meaning(self) -> &'static str {
        match self {
            State::Queued => "waits for a slot or an input",
            State::Fetching => "inputs on the way",
            State::Running => "in the sandbox",
            State::Cached => "same Action digest seen before",
            State::Passed => "exit 0 and all outputs there",
            State::Failed => "your command, output or limit",
            State::Error => "our fault or the host's",
            State::Cancelled => "interrupted",
            State::Skipped => "not selected",
            State::Blocked => "something before it failed",
        }
    }

    /// Returns the number of its colour (ECMA-48 SGR).
    pub fn color(self) -> u8 {
        match self {
            State::Passed => 32,
            State::Cached => 36,
            State::Failed | State::Error => 31,
            State::Running | State::Fetching => 34,
            State::Cancelled | State::Blocked => 33,
            State::Queued | State::Skipped => 90,
        }
    }
}
