//! The matrix: every combination of its axes' values, less those excluded.

use std::collections::BTreeMap;

use model::Ident;

use super::node::{Key, Node};
use super::reader::{
    At, Problems, brief, ident, list, map, text, unknown_name, value_span, wrong_value,
};
use crate::diagnostic::{Code, Diagnostic, Span};

/// Most combinations that run (the build file's reference, section 6).
pub const COMBINATIONS_MAX: usize = 256;
/// Most combinations that are looked at before `exclude` takes some away; bounds the work.
const CANDIDATES_MAX: usize = 4096;
/// Longest value of an axis, in bytes; it is repeated in names, paths and variables.
const VALUE_BYTES_MAX: usize = 256;
/// Most axes: eight with two values each already make 256 combinations.
const AXES_MAX: usize = 32;

/// The combinations that run: exactly one, empty, without a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    at: Span,
    axes: BTreeMap<Ident, Vec<String>>,
    combinations: Vec<Combination>,
}

/// One value for every axis.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Combination(BTreeMap<Ident, String>);

impl Matrix {
    /// Returns the matrix of a build file that has none.
    pub fn none() -> Matrix {
        Matrix {
            at: Span::default(),
            axes: BTreeMap::new(),
            combinations: vec![Combination::default()],
        }
    }

    /// Returns where it stands; the start of the file if there is none.
    pub fn at(&self) -> Span {
        self.at
    }

    /// Returns the axes and their values, as written.
    pub fn axes(&self) -> &BTreeMap<Ident, Vec<String>> {
        &self.axes
    }

    /// Returns the combinations in a fixed order: the last axis changes fastest.
    pub fn combinations(&self) -> &[Combination] {
        &self.combinations
    }
}

impl Combination {
    /// Returns the value of `axis`; empty for an axis that the matrix does not have.
    pub fn value(&self, axis: &Ident) -> &str {
        self.0.get(axis).map(String::as_str).unwrap_or_default()
    }

    /// Returns the axes with their values, sorted by axis.
    pub fn iter(&self) -> impl Iterator<Item = (&Ident, &str)> {
        self.0.iter().map(|(axis, value)| (axis, value.as_str()))
    }

    /// Returns the choice that it is, as part of the name of a step.
    pub fn choice(&self) -> BTreeMap<Ident, String> {
        self.0.clone()
    }

    /// Says whether there is no matrix.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, part: &BTreeMap<Ident, String>) -> bool {
        part.iter().all(|(axis, value)| self.0.get(axis) == Some(value))
    }
}

/// Reads `matrix`.
pub(super) fn read(node: &Node, problems: &mut Problems<'_>) -> Matrix {
    let none = Matrix::none();
    let Some(entries) = map(node, "`matrix`", problems) else { return none };
    let mut axes = BTreeMap::new();
    for (key, value) in entries.iter().filter(|(key, _)| key.text != "exclude") {
        if let Some((axis, values)) = read_axis(key, value, problems) {
            axes.insert(axis, values);
        }
    }
    if axes.len() > AXES_MAX {
        too_many(node, format!("{} axes", axes.len()), problems);
        return none;
    }
    let mut exclude = Vec::new();
    if let Some(node) = node.get("exclude") {
        for item in list(node, "`exclude` of `matrix`", problems).unwrap_or_default() {
            exclude.extend(read_exclude(item, &axes, problems));
        }
    }
    let candidates = axes
        .values()
        .try_fold(1_usize, |product, values: &Vec<String>| product.checked_mul(values.len()))
        .filter(|product| *product <= CANDIDATES_MAX);
    let Some(_) = candidates else {
        too_many(node, format!("more than {CANDIDATES_MAX} before `exclude`"), problems);
        return Matrix { axes, at: value_span(node), ..none };
    };
    let mut combinations = product(&axes);
    combinations.retain(|combination| !exclude.iter().any(|part| combination.has(part)));
    if combinations.len() > COMBINATIONS_MAX {
        too_many(node, combinations.len().to_string(), problems);
    }
    if combinations.is_empty() && !exclude.is_empty() {
        wrong_value(node, "`matrix`", "a combination that `exclude` does not take away", problems);
    }
    Matrix { at: value_span(node), axes, combinations }
}

fn too_many(node: &Node, got: String, problems: &mut Problems<'_>) {
    problems.add(
        value_span(node),
        Diagnostic::new(Code::WrongValue, "`matrix` has too many combinations")
            .expected(format!("at most {COMBINATIONS_MAX} combinations of at most {AXES_MAX} axes"))
            .got(got),
    );
}

fn read_axis(key: &Key, node: &Node, problems: &mut Problems<'_>) -> Option<(Ident, Vec<String>)> {
    let axis = ident(&key.text, key.span, "the name of an axis", problems)?;
    let label = format!("axis `{}`", axis.value);
    let items = list(node, &label, problems)?;
    if items.is_empty() {
        wrong_value(node, &label, "a list of at least one string", problems);
        return None;
    }
    let mut values: Vec<String> = Vec::new();
    for item in items {
        let Some(value) = text(item, &format!("a value of {label}"), problems) else { continue };
        if value.is_empty() || value.contains('\0') || value.len() > VALUE_BYTES_MAX {
            let expected = format!("1 to {VALUE_BYTES_MAX} bytes, none of them NUL");
            wrong_value(item, &format!("a value of {label}"), &expected, problems);
        } else if values.iter().any(|earlier| earlier == value) {
            let headline = format!("{label} has the value `{}` twice", brief(value));
            problems.add(item.span, Diagnostic::new(Code::Duplicate, headline).help("keep one"));
        } else {
            values.push(value.to_owned());
        }
    }
    Some((axis.value, values))
}

fn read_exclude(
    node: &Node,
    axes: &BTreeMap<Ident, Vec<String>>,
    problems: &mut Problems<'_>,
) -> Option<BTreeMap<Ident, String>> {
    let entries = map(node, "an item of `exclude`", problems)?;
    if entries.is_empty() {
        wrong_value(node, "an item of `exclude`", "at least one axis with its value", problems);
        return None;
    }
    let mut part = BTreeMap::new();
    for (key, node) in entries {
        let At { value: axis, span } = At::new(&key.text, key.span);
        let found = axes.iter().find(|(name, _)| name.as_str() == axis);
        let Some((axis, values)) = found else {
            let headline = format!("`exclude` names no axis: `{}`", brief(axis));
            problems.add(span, unknown_name(headline, axis, axes.keys().map(Ident::as_str)));
            continue;
        };
        let Some(value) = text(node, &format!("`{axis}` of `exclude`"), problems) else { continue };
        if values.iter().any(|known| known == value) {
            part.insert(axis.clone(), value.to_owned());
        } else {
            let headline = format!("axis `{axis}` has no value `{}`", brief(value));
            problems
                .add(node.span, unknown_name(headline, value, values.iter().map(String::as_str)));
        }
    }
    (part.len() == entries.len()).then_some(part)
}

fn product(axes: &BTreeMap<Ident, Vec<String>>) -> Vec<Combination> {
    let mut all = vec![Combination::default()];
    for (axis, values) in axes {
        let with = |combination: &Combination, value: &String| {
            let mut next = combination.clone();
            next.0.insert(axis.clone(), value.clone());
            next
        };
        all = all
            .iter()
            .flat_map(|combination| values.iter().map(move |value| with(combination, value)))
            .collect();
    }
    all
}
