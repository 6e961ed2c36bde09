//! Checks what the parts of a build file say about each other: names that refer to nothing, names
//! given twice, and steps that wait for each other.

use std::collections::BTreeMap;

use model::Ident;
use model::step::OutputKind;

use super::artifact::ArtifactKind;
use super::environment::EnvironmentKind;
use super::project::Manifest;
use super::reader::{At, Problems, unknown_name};
use super::reference::OutputRef;
use super::step::{Step, word_of};
use crate::diagnostic::{Code, Diagnostic, Span};

/// Most steps of a cycle that a message prints.
const CYCLE_SHOWN_MAX: usize = 12;

/// Notes everything that refers to nothing, every name given twice, and every cycle.
pub(super) fn references(manifest: &Manifest, problems: &mut Problems<'_>) {
    let mut steps: BTreeMap<&Ident, &Step> = BTreeMap::new();
    for step in &manifest.steps {
        match steps.get(&step.name.value) {
            None => {
                steps.insert(&step.name.value, step);
            }
            Some(first) => {
                let line = problems.line_of(first.name.span);
                let headline = format!("two steps are called `{}`", step.name.value);
                problems.add(
                    step.name.span,
                    Diagnostic::new(Code::Duplicate, headline)
                        .why(format!(
                            "the first stands in line {line}; names are unique over steps and tests"
                        ))
                        .help("give one of them another name"),
                );
            }
        }
    }
    for step in &manifest.steps {
        for taken in &step.from {
            let user = format!("step `{}`", step.name.value);
            output_of(&taken.output, &user, &steps, problems);
        }
        for need in step.needs.iter().filter(|need| !steps.contains_key(&need.value)) {
            let headline = format!("step `{}` needs no step: `{}`", step.name.value, need.value);
            let names = steps.keys().map(|name| name.as_str());
            problems.add(need.span, unknown_name(headline, need.value.as_str(), names));
        }
    }
    roots(manifest, &steps, problems);
    artifacts(manifest, &steps, problems);
    cycles(manifest, &steps, problems);
}

/// Finds an output by its reference, or notes that there is none.
fn output_of(
    reference: &At<OutputRef>,
    user: &str,
    steps: &BTreeMap<&Ident, &Step>,
    problems: &mut Problems<'_>,
) -> Option<OutputKind> {
    let OutputRef { step: name, output } = &reference.value;
    let Some(step) = steps.get(name) else {
        let headline = format!("{user} takes from no step: `{name}`");
        let names = steps.keys().map(|name| name.as_str());
        problems.add(reference.span, unknown_name(headline, name.as_str(), names));
        return None;
    };
    if let Some(found) = step.outputs.get(output) {
        return Some(found.kind);
    }
    let headline = match step.is_test() {
        true => format!("`{name}` is a test and has no outputs"),
        false => format!("step `{name}` has no output `{output}`"),
    };
    let names = step.outputs.keys().map(Ident::as_str);
    problems.add(reference.span, unknown_name(headline, output.as_str(), names));
    None
}

fn roots(manifest: &Manifest, steps: &BTreeMap<&Ident, &Step>, problems: &mut Problems<'_>) {
    for environment in &manifest.environments {
        let EnvironmentKind::Step(reference) = &environment.kind else { continue };
        let user = format!("environment `{}`", environment.name.value);
        let form = output_of(reference, &user, steps, problems);
        if let Some(form @ (OutputKind::File | OutputKind::Dir)) = form {
            let headline = format!("output `{}` is not a root", reference.value);
            problems.add(
                reference.span,
                Diagnostic::new(Code::WrongValue, headline)
                    .expected("an output with `as: root`")
                    .got(format!("an output with `as: {}`", word_of(form)))
                    .help(format!(
                        "in step `{}`:  outputs: {{{}: {{path: PATH, as: root}}}}",
                        reference.value.step, reference.value.output
                    )),
            );
        }
    }
}

fn artifacts(manifest: &Manifest, steps: &BTreeMap<&Ident, &Step>, problems: &mut Problems<'_>) {
    for artifact in &manifest.artifacts {
        match &artifact.kind {
            ArtifactKind::Archive { members, .. } => {
                for member in members {
                    output_of(member, "an artifact", steps, problems);
                }
            }
            ArtifactKind::File { file, .. } => {
                let form = output_of(file, "an artifact", steps, problems);
                if let Some(form @ (OutputKind::Dir | OutputKind::Root)) = form {
                    let headline = format!("output `{}` is a folder", file.value);
                    problems.add(
                        file.span,
                        Diagnostic::new(Code::WrongType, headline)
                            .expected("an output with `as: file`")
                            .got(format!("an output with `as: {}`", word_of(form)))
                            .help(format!(
                                "pack it:  {{archive: [{}], name: \"{}.tar.gz\"}}",
                                file.value, file.value.output
                            )),
                    );
                }
            }
        }
    }
}

/// Where a step stands in the walk.
#[derive(Clone, Copy, PartialEq)]
enum Walk {
    Untouched,
    OnPath,
    Done,
}

/// Walks all edges depth first, without recursion, and notes each one that closes a cycle.
fn cycles(manifest: &Manifest, steps: &BTreeMap<&Ident, &Step>, problems: &mut Problems<'_>) {
    let mut walk: BTreeMap<&Ident, Walk> =
        steps.keys().map(|name| (*name, Walk::Untouched)).collect();
    for start in &manifest.steps {
        if walk.get(&start.name.value) != Some(&Walk::Untouched) {
            continue;
        }
        let mut path = vec![(start, waits_for(manifest, start))];
        walk.insert(&start.name.value, Walk::OnPath);
        while let Some((step, edges)) = path.last_mut() {
            let Some((next, span)) = edges.pop() else {
                walk.insert(&step.name.value, Walk::Done);
                path.pop();
                continue;
            };
            let Some(next) = steps.get(next) else { continue };
            match walk.get(&next.name.value) {
                Some(Walk::Untouched) => {
                    walk.insert(&next.name.value, Walk::OnPath);
                    path.push((next, waits_for(manifest, next)));
                }
                Some(Walk::OnPath) => {
                    let names: Vec<&Ident> =
                        path.iter().map(|(step, _)| &step.name.value).collect();
                    problems.add(span, cycle(&names, &next.name.value));
                }
                Some(Walk::Done) | None => {}
            }
        }
    }
}

/// Returns the steps that `step` waits for, last written first, each with its place.
fn waits_for<'m>(manifest: &'m Manifest, step: &'m Step) -> Vec<(&'m Ident, Span)> {
    let environment = manifest.environment(&step.environment.value);
    let root = environment.and_then(|environment| match &environment.kind {
        EnvironmentKind::Step(root) => Some((&root.value.step, root.span)),
        EnvironmentKind::Host(_) => None,
    });
    let from = step.from.iter().map(|taken| (&taken.output.value.step, taken.output.span));
    let needs = step.needs.iter().map(|need| (&need.value, need.span));
    let mut all: Vec<(&Ident, Span)> = root.into_iter().chain(from).chain(needs).collect();
    all.reverse();
    all
}

fn cycle(path: &[&Ident], closing: &Ident) -> Diagnostic {
    let start = path.iter().position(|name| *name == closing).unwrap_or_default();
    let around = &path[start..];
    let headline = match around {
        [only] => format!("step `{only}` waits for itself"),
        _ => {
            let shown: Vec<&str> =
                around.iter().take(CYCLE_SHOWN_MAX).map(|name| name.as_str()).collect();
            let more = if around.len() > CYCLE_SHOWN_MAX { " -> …" } else { "" };
            format!("steps wait for each other: {}{more} -> {closing}", shown.join(" -> "))
        }
    };
    Diagnostic::new(Code::Cycle, headline)
        .why("`from`, `needs` and an environment made by a step each wait for another step")
        .help("remove one of these edges, or split a step in two")
}
