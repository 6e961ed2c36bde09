//! Isolation as guarantees, each kept by mechanisms (decision 7).
//!
//! A guarantee is what is promised; a mechanism is how one backend keeps it. Backends differ in
//! mechanisms and never in guarantees, so a record can be read without knowing the backend.
//! The five core guarantees must all hold or nothing runs; the two extra ones are used where the
//! host has them and named where it has not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What isolation promises about a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Guarantee {
    /// Sees its declared inputs only and changes nothing but its private views.
    Files,
    /// Has a private loopback and nothing else.
    Network,
    /// Sees and signals only its own processes; none outlives the step.
    Processes,
    /// Has one fixed user and host name, and no privilege.
    Identity,
    /// Reaches only the listed system calls.
    Syscalls,
    /// Is bounded in time, memory, processes and disk. Extra.
    Limits,
    /// Has Landlock as a second line for `files`. Extra.
    Landlock,
}

/// How one guarantee was kept: the mechanism and what it was set to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mechanism {
    /// The guarantee it serves.
    pub guarantee: Guarantee,
    /// The mechanism, in the field's own word: `net-namespace`, `seccomp`, `cgroup-v2`, …
    pub mechanism: String,
    /// What it was set to, for people: `lo only`, `ABI 7`, `312 calls allowed`.
    pub detail: String,
}

/// What was enforced for one step: every mechanism that was applied and read back, and a note for
/// each extra guarantee or default limit that the host could not keep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enforced {
    /// The mechanisms, in the order of their guarantees.
    pub mechanisms: BTreeSet<Mechanism>,
    /// What is absent although kiln would use it, by guarantee, with the reason.
    pub absent: BTreeMap<Guarantee, String>,
}

/// A word that names no guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is none of files, network, processes, identity, syscalls, limits, landlock")]
pub struct UnknownGuarantee;

impl Guarantee {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Guarantee; 7] = [
        Guarantee::Files,
        Guarantee::Network,
        Guarantee::Processes,
        Guarantee::Identity,
        Guarantee::Syscalls,
        Guarantee::Limits,
        Guarantee::Landlock,
    ];

    /// Says whether nothing runs without it.
    pub fn is_core(self) -> bool {
        match self {
            Guarantee::Files
            | Guarantee::Network
            | Guarantee::Processes
            | Guarantee::Identity
            | Guarantee::Syscalls => true,
            Guarantee::Limits | Guarantee::Landlock => false,
        }
    }

    /// Returns its name, as the command line and the provenance write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Guarantee::Files => "files",
            Guarantee::Network => "network",
            Guarantee::Processes => "processes",
            Guarantee::Identity => "identity",
            Guarantee::Syscalls => "syscalls",
            Guarantee::Limits => "limits",
            Guarantee::Landlock => "landlock",
        }
    }
}

impl Enforced {
    /// Adds one mechanism.
    pub fn add(&mut self, guarantee: Guarantee, mechanism: &str, detail: impl Into<String>) {
        self.mechanisms.insert(Mechanism {
            guarantee,
            mechanism: mechanism.to_owned(),
            detail: detail.into(),
        });
    }

    /// Says whether at least one mechanism, with a name, keeps `guarantee`, and nothing says that it
    /// is absent. `limits` may hold in part.
    pub fn keeps(&self, guarantee: Guarantee) -> bool {
        let named = |mechanism: &Mechanism| {
            mechanism.guarantee == guarantee && !mechanism.mechanism.is_empty()
        };
        let contradicted = guarantee.is_core() && self.absent.contains_key(&guarantee);
        self.mechanisms.iter().any(named) && !contradicted
    }

    /// Returns the core guarantees that are neither kept nor waived. Whoever signs and whoever verifies
    /// asks by this: with one of them nothing runs, and nothing is believed.
    pub fn missing(&self, is_waived: impl Fn(Guarantee) -> bool) -> Vec<Guarantee> {
        let core = Guarantee::ALL.into_iter().filter(|one| one.is_core());
        core.filter(|one| !is_waived(*one) && !self.keeps(*one)).collect()
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Guarantee {
    type Err = UnknownGuarantee;

    fn from_str(text: &str) -> Result<Guarantee, UnknownGuarantee> {
        Guarantee::ALL
            .into_iter()
            .find(|guarantee| guarantee.as_str() == text)
            .ok_or(UnknownGuarantee)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_round_and_five_are_core() {
        for guarantee in Guarantee::ALL {
            assert_eq!(guarantee.as_str().parse(), Ok(guarantee));
        }
        assert_eq!(Guarantee::ALL.into_iter().filter(|guarantee| guarantee.is_core()).count(), 5);
        assert_eq!("disk".parse::<Guarantee>(), Err(UnknownGuarantee));
    }
}
