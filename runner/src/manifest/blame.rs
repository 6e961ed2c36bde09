//! Where a key of a step stands: asked only when the step has failed for what the key says.
//!
//! The text is read into its tree once more instead of keeping a span for every key in every step: a
//! failure is rare, and what is not written has no place. It was read without a fault before.
//!
//! Does no I/O.

use model::Ident;

use super::node::{Key, Node, Value};
use super::parse::tree_of;
use super::project::Manifest;
use crate::diagnostic::{Place, Span, StepKey};

impl Manifest {
    /// Returns the place of `key` of the step or test `name`: its value, or the key where that is a map
    /// or list. Where the key is not written, or none is to blame: what the step runs.
    pub fn place_in_step(&self, name: &Ident, key: Option<&StepKey>) -> Option<Place> {
        let step = self.step(name)?;
        let written = key.and_then(|key| self.written(name, key));
        Some(self.place(written.unwrap_or(step.run.span)))
    }

    fn written(&self, name: &Ident, wanted: &StepKey) -> Option<Span> {
        let tree = tree_of(&self.file, &mut Vec::new()).ok()?;
        let steps = ["steps", "tests"].into_iter().filter_map(|key| match &tree.get(key)?.value {
            Value::List(items) => Some(items),
            Value::Scalar(_) | Value::Map(_) => None,
        });
        let is_named =
            |step: &&Node| step.get("name").and_then(Node::scalar_text) == Some(name.as_str());
        let step = steps.flatten().find(is_named)?;
        let (key, node) = entry(step, wanted.key)?;
        match &wanted.below {
            None => Some(blamed(key, node)),
            // A default has no place, not even that of the map around it.
            Some(below) => entry(node, below).map(|(key, node)| blamed(key, node)),
        }
    }
}

fn entry<'n>(node: &'n Node, wanted: &str) -> Option<(&'n Key, &'n Node)> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.text == wanted).map(|(key, node)| (key, node))
}

fn blamed(key: &Key, node: &Node) -> Span {
    match node.value {
        Value::Scalar(_) => node.span,
        Value::List(_) | Value::Map(_) => key.span,
    }
}
