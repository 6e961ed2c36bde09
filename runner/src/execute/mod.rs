//! Running one step: what it needs, what became of it.

pub mod capture;
mod host;
pub mod local;
mod log;
mod network;
mod refusal;
mod report;

pub use host::unready;
pub use refusal::{before as refused_before, collides, engine, of_sandbox, of_sandbox_anywhere};

use std::collections::BTreeMap;

use model::digest::{Blob, Digest};
use model::isolation::Enforced;
use model::record::OutputRecord;
use model::relpath::{Ident, RelPath};
use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::junit::Cases;
use crate::report::{State, Tail};

/// What a step came to: the value of the action cache. Its key is the Action digest; outputs are kept
/// by path, because names are no part of an Action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepResult {
    /// The run that made it.
    pub run: String,
    /// Seconds since 1970.
    pub started: i64,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// What kept the guarantees.
    pub backend: String,
    /// What it wrote.
    pub log: Blob,
    /// Whether that was cut at its limit.
    pub log_cut: bool,
    /// Outputs and reports, by path below the work folder.
    pub outputs: BTreeMap<RelPath, OutputRecord>,
    /// What was enforced.
    pub enforced: Enforced,
    /// Processes that had to be killed at its end.
    pub left_processes: u32,
    /// Where it wanted to go in vain: `HOST` or `ADDRESS:PORT`, and ` by PROCESS` where that is known.
    pub network_attempts: Vec<String>,
    /// Whether it was heard where it wanted to go; else `network_attempts` says nothing. Results of
    /// earlier versions do not say so.
    #[serde(default)]
    pub network_heard: bool,
}

impl StepResult {
    /// Says whether it may stand for a step that `backend` would run here. One that was made under a filter around
    /// kiln holds what that filter refused, and stands for nothing that runs without one.
    pub fn may_stand_for(&self, backend: &sandbox::Backend) -> bool {
        let mut mechanisms = self.enforced.mechanisms.iter();
        let filtered = mechanisms.any(|one| one.mechanism == sandbox::host::OUTER_FILTER);
        self.backend == backend.name() && (!filtered || backend.is_filtered())
    }
}

/// A step with a result.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The Action digest.
    pub action: Digest,
    /// The root of its environment.
    pub environment: Blob,
    /// The Action and Command bytes and the folders that only they name, for `NAME.inputs`.
    pub sealed: std::sync::Arc<crate::plan::action::Sealed>,
    /// Its outputs, by name.
    pub outputs: BTreeMap<Ident, OutputRecord>,
    /// The result.
    pub result: StepResult,
    /// Whether it was found instead of run.
    pub cached: bool,
    /// A few words for people.
    pub note: Option<String>,
    /// What its report says, where it is a test with one.
    pub cases: Option<Cases>,
    /// The end of what it wrote, where it ran.
    pub tail: Option<Tail>,
}

/// A step without a result.
#[derive(Clone, Debug)]
pub struct StepFailure {
    /// `Failed`, `Error` or `Cancelled`.
    pub state: State,
    /// A few words for people.
    pub detail: Option<String>,
    /// What is wrong, in full.
    pub diagnostics: Vec<Diagnostic>,
    /// The end of what it wrote, where it ran.
    pub tail: Option<Tail>,
    /// All of it, in the store.
    pub log_blob: Option<Blob>,
    /// The Action digest, where it got that far.
    pub action: Option<Digest>,
    /// What its report says, where it is a test that left one.
    pub cases: Option<Cases>,
    /// How long it ran, in milliseconds; 0 where it did not.
    pub wall_ms: u64,
}
