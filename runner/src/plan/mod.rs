//! `Plan`: what will run. Concrete steps with edges by name or digest, and the artifacts they make.
//!
//! Does no I/O. A plan is complete before the first step starts, but it may grow: nothing in it
//! refers to a position.

pub mod action;
mod artifact;
pub mod collide;
pub mod expand;
mod graph;

pub use artifact::{ArchiveFormat, Artifact, ArtifactKind, Member};
pub use graph::{PlanError, draw_dot, draw_svg, draw_text};

use std::collections::{BTreeMap, BTreeSet};

use model::step::{Step, StepId};
use serde::{Deserialize, Serialize};

/// What will run, and what is handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The project's name.
    pub name: String,
    /// The steps and tests, by name.
    pub steps: BTreeMap<StepId, Step>,
    /// The artifacts, in the order of the build file.
    pub artifacts: Vec<Artifact>,
    /// The time of archives and of `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub epoch: i64,
}

impl Plan {
    /// Returns the steps of `roots` and everything they wait for.
    pub fn closure<'a>(
        &'a self,
        roots: impl IntoIterator<Item = &'a StepId>,
    ) -> BTreeSet<&'a StepId> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&StepId> = roots.into_iter().collect();
        while let Some(id) = open.pop() {
            if let Some((id, step)) = self.steps.get_key_value(id)
                && found.insert(id)
            {
                open.extend(step.waits_for());
            }
        }
        found
    }

    /// Returns the steps in an order in which each comes after all that it waits for; among those
    /// that are free to run, by name.
    ///
    /// # Errors
    /// Names a cycle, or a step that waits for one that the plan does not have.
    pub fn order(&self) -> Result<Vec<&StepId>, PlanError> {
        graph::order(self)
    }

    /// Keeps the steps of `wanted` alone, and the artifacts that these make.
    pub fn restrict(&mut self, wanted: &BTreeSet<StepId>) {
        self.steps.retain(|id, _| wanted.contains(id));
        let steps = &self.steps;
        self.artifacts.retain(|artifact| artifact.steps().iter().all(|id| steps.contains_key(*id)));
    }
}
