//! `Step`: one command with its inputs and outputs, fully concrete.
//!
//! A step of a Plan holds no placeholder and no wish: every input is a tree or file named by digest,
//! or the output of another step named by step and output. So edges are by name or digest, never by
//! index, and a Plan can grow (decision 27).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Blob;
use crate::isolation::Guarantee;
use crate::limits::{Limits, Millis};
use crate::relpath::{AbsPath, Ident, RelPath};

/// The work folder of every step.
pub const WORK_FOLDER: &str = "/build";
/// Where a script of a string `run` lies in the step (decision 32).
pub const SCRIPT_PATH: &str = "/kiln/script";
/// The version of the sandbox's profile: everything that a step can notice of it. It stands in every
/// Action, so a change of the profile is a change of the key (decision 6).
pub const SANDBOX_PROFILE: &str = "kiln/1";

/// The name of a step in a plan: its identifier, and its matrix choice if there is one, as in
/// `build[axis=a,other=c]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The name in the build file.
    pub name: Ident,
    /// The matrix choice, axis to value.
    pub choice: BTreeMap<Ident, String>,
}

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// A folder, by its root message.
    Tree(Blob),
    /// One file.
    File {
        /// Its content.
        blob: Blob,
        /// Whether it may be executed.
        executable: bool,
    },
    /// An output of a step of the same plan.
    Output {
        /// The step.
        step: StepId,
        /// Its output.
        output: Ident,
    },
}

/// How an input appears in the step (decision 2). Part of the Action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountMode {
    /// A private writable view: what the step writes there nobody else sees.
    View,
    /// Read-only.
    ReadOnly,
}

/// The time that the files of an input carry (decision 1). Part of the Action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Epoch {
    /// T0: environments and `from` inputs.
    Base,
    /// T0 + 2 s: sources.
    Source,
}

/// One input at its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepMount {
    /// Where it appears.
    pub at: AbsPath,
    /// What appears.
    pub input: Input,
    /// Whether the step may write there.
    pub mode: MountMode,
    /// What time its files carry.
    pub epoch: Epoch,
    /// The source's name, or `step.output`: for messages and for the record.
    pub label: String,
}

/// What a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Run {
    /// A program and its arguments, without a shell.
    Argv(Vec<String>),
    /// A script, which lies at [`SCRIPT_PATH`] and is handed to `shell`.
    Script {
        /// The interpreter and its arguments.
        shell: Vec<String>,
        /// The text.
        text: String,
    },
}

/// What an output has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// One regular file.
    File,
    /// A folder.
    Dir,
    /// A folder that can serve as the root of a step: absolute links resolve inside it.
    Root,
}

/// One declared output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Where it lies, relative to the work folder.
    pub path: RelPath,
    /// What it has to be.
    pub kind: OutputKind,
}

/// Options that each widen exactly one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Widen {
    /// Namespaces inside the step.
    pub nested: bool,
    /// Inner root with file capabilities only.
    pub fakeroot: bool,
    /// 32-bit programs.
    pub abi32: bool,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name in the plan.
    pub id: StepId,
    /// Whether it is a test: it ships nothing and must pass before anything is shipped.
    pub test: bool,
    /// Its root file system: a tree, or a `root` output of another step.
    pub environment: Input,
    /// The environment's name, for messages and for the record.
    pub environment_name: String,
    /// What is mounted, parents before children.
    pub mounts: Vec<StepMount>,
    /// Steps that come first although nothing of theirs is mounted.
    pub needs: BTreeSet<StepId>,
    /// The complete environment variables.
    pub env: BTreeMap<String, String>,
    /// What runs.
    pub run: Run,
    /// What is taken out.
    pub outputs: BTreeMap<Ident, Output>,
    /// JUnit reports of a test, name to path.
    pub reports: BTreeMap<Ident, RelPath>,
    /// Its limits.
    pub limits: Limits,
    /// Its wall time.
    pub timeout: Millis,
    /// Processors it may use, where it says so.
    pub cpus: Option<NonZeroU32>,
    /// What it widens.
    pub widen: Widen,
    /// Guarantees that the user allowed to be absent, by name.
    pub waived: BTreeSet<Guarantee>,
}

impl StepId {
    /// Returns the id of a step without a matrix.
    pub fn plain(name: Ident) -> StepId {
        StepId { name, choice: BTreeMap::new() }
    }

    /// Reads the printed form.
    pub fn parse(text: &str) -> Option<StepId> {
        let (name, choice) = match text.split_once('[') {
            None => (text, ""),
            Some((name, choice)) => (name, choice.strip_suffix(']')?),
        };
        let mut id = StepId::plain(Ident::new(name).ok()?);
        for part in choice.split(',').filter(|part| !part.is_empty()) {
            let (axis, value) = part.split_once('=')?;
            id.choice.insert(Ident::new(axis).ok()?, unescaped(value)?);
        }
        Some(id)
    }
}

/// Returns a matrix value as it stands in a step's name: safe to show, and without the letters that
/// would make two choices look alike.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for letter in crate::text::escape(value.as_bytes()).chars() {
        match letter {
            ',' | '[' | ']' | ' ' => out.push_str(&format!("\\x{:02x}", letter as u32)),
            _ => out.push(letter),
        }
    }
    out
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        let (code, after) = if let Some(after) = after.strip_prefix('\\') {
            (u32::from('\\'), after)
        } else if let Some(after) = after.strip_prefix("u{") {
            let (hex, after) = after.split_once('}')?;
            (u32::from_str_radix(hex, 16).ok()?, after)
        } else {
            let after = after.strip_prefix('x')?;
            (u32::from_str_radix(after.get(..2)?, 16).ok()?, after.get(2..)?)
        };
        out.push(char::from_u32(code)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

impl fmt::Display for StepId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name.as_str())?;
        for (index, (axis, value)) in self.choice.iter().enumerate() {
            write!(out, "{}{axis}={}", if index == 0 { "[" } else { "," }, escaped(value))?;
        }
        out.write_str(if self.choice.is_empty() { "" } else { "]" })
    }
}

impl Serialize for StepId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StepId, D::Error> {
        let text = String::deserialize(deserializer)?;
        StepId::parse(&text).ok_or_else(|| serde::de::Error::custom("no name of a step"))
    }
}

impl Step {
    /// Returns the steps that must have ended before this one starts.
    pub fn waits_for(&self) -> BTreeSet<&StepId> {
        let environment = std::iter::once(&self.environment);
        let inputs = environment.chain(self.mounts.iter().map(|mount| &mount.input));
        inputs
            .filter_map(|input| match input {
                Input::Output { step, .. } => Some(step),
                Input::Tree(_) | Input::File { .. } => None,
            })
            .chain(&self.needs)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_names_go_round() {
        for text in
            ["build", "build[axis=a]", "build[axis=a,other=c\\x20d\\x5d]", "b[a=\\u{202e}\\\\]"]
        {
            assert_eq!(StepId::parse(text).map(|id| id.to_string()), Some(text.to_owned()));
        }
        let odd = StepId {
            name: Ident::new("b").unwrap(),
            choice: BTreeMap::from([(Ident::new("a").unwrap(), "x,y] \\z=\u{1b}é".to_owned())]),
        };
        assert_eq!(StepId::parse(&odd.to_string()), Some(odd));
        for text in ["", "Build", "build[", "build[axis]"] {
            assert_eq!(StepId::parse(text), None, "{text}");
        }
    }
}
