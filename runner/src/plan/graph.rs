//! The graph of a plan: its order, and drawings of it.

use std::collections::{BTreeMap, BTreeSet};

use model::step::{Input, Step, StepId};

use super::Plan;

/// Why a plan cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Steps wait for each other.
    #[error("steps wait for each other: {}", path_text(.0))]
    Cycle(Vec<StepId>),
    /// A step waits for one that is not there.
    #[error("step `{step}` waits for `{missing}`, which is not in the plan")]
    Missing {
        /// The step that waits.
        step: StepId,
        /// The one that is not there.
        missing: StepId,
    },
}

fn path_text(path: &[StepId]) -> String {
    path.iter().map(StepId::to_string).collect::<Vec<_>>().join(" -> ")
}

/// Returns the steps, each after all that it waits for; ties by name.
pub(super) fn order(plan: &Plan) -> Result<Vec<&StepId>, PlanError> {
    let mut waiting: BTreeMap<&StepId, BTreeSet<&StepId>> = BTreeMap::new();
    for (id, step) in &plan.steps {
        for before in step.waits_for() {
            if !plan.steps.contains_key(before) {
                return Err(PlanError::Missing { step: id.clone(), missing: before.clone() });
            }
        }
        waiting.insert(id, step.waits_for());
    }
    let mut order = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let Some(next) = waiting.iter().find(|(_, before)| before.is_empty()).map(|(id, _)| *id)
        else {
            return Err(PlanError::Cycle(cycle(&waiting)));
        };
        waiting.remove(next);
        for before in waiting.values_mut() {
            before.remove(next);
        }
        order.push(next);
    }
    Ok(order)
}

fn cycle(waiting: &BTreeMap<&StepId, BTreeSet<&StepId>>) -> Vec<StepId> {
    let mut path: Vec<&StepId> = waiting.keys().take(1).copied().collect();
    while let Some(next) =
        path.last().and_then(|id| waiting.get(id)).and_then(|before| before.first().copied())
    {
        if let Some(at) = path.iter().position(|seen| *seen == next) {
            path.push(next);
            return path[at..].iter().map(|id| (*id).clone()).collect();
        }
        path.push(next);
    }
    path.into_iter().cloned().collect()
}

/// Returns the edges into a step: what it waits for, and the data that comes along.
fn edges(step: &Step) -> Vec<(&StepId, String)> {
    let mut edges: Vec<(&StepId, String)> = Vec::new();
    if let Input::Output { step: from, output } = &step.environment {
        edges.push((from, format!("{output} as root")));
    }
    for mount in &step.mounts {
        if let Input::Output { step: from, output } = &mount.input {
            edges.push((from, output.to_string()));
        }
    }
    edges.extend(step.needs.iter().map(|id| (id, String::new())));
    edges.sort();
    edges
}

/// Returns the graph as lines: each step after what it waits for.
pub fn draw_text(plan: &Plan) -> String {
    let mut out = String::new();
    for id in order(plan).unwrap_or_default() {
        let Some(step) = plan.steps.get(id) else { continue };
        out.push_str(&format!("{id}{}\n", if step.test { "   (test)" } else { "" }));
        out.push_str(&format!("   in   {}\n", step.environment_name));
        for mount in &step.mounts {
            if !matches!(mount.input, Input::Output { .. }) {
                out.push_str(&format!("   <-   {} at {}\n", mount.label, mount.at));
            }
        }
        for (from, data) in edges(step) {
            out.push_str(&format!(
                "   <-   {from}{}\n",
                if data.is_empty() { String::new() } else { format!(".{data}") }
            ));
        }
        for (name, output) in &step.outputs {
            out.push_str(&format!("   ->   {name}: {}\n", output.path));
        }
    }
    for artifact in &plan.artifacts {
        let members: Vec<String> =
            artifact.members().map(|member| format!("{}.{}", member.step, member.output)).collect();
        out.push_str(&format!("artifact {} = {}\n", artifact.name, members.join(" + ")));
    }
    out
}

/// Returns the graph in Graphviz' language.
pub fn draw_dot(plan: &Plan) -> String {
    let mut out = String::from(
        "digraph kiln {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n",
    );
    for (id, step) in &plan.steps {
        let style = if step.test { ", style=dashed" } else { "" };
        out.push_str(&format!(
            "  {} [label={}{style}];\n",
            quoted(&id.to_string()),
            quoted(&id.to_string())
        ));
        for (from, data) in edges(step) {
            out.push_str(&format!(
                "  {} -> {} [label={}];\n",
                quoted(&from.to_string()),
                quoted(&id.to_string()),
                quoted(&data)
            ));
        }
    }
    for artifact in &plan.artifacts {
        let name = quoted(&format!("artifact {}", artifact.name));
        out.push_str(&format!(
            "  {name} [label={}, shape=note];\n",
            quoted(artifact.name.as_str())
        ));
        for member in artifact.members() {
            out.push_str(&format!(
                "  {} -> {name} [label={}];\n",
                quoted(&member.step.to_string()),
                quoted(member.output.as_str())
            ));
        }
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns the graph as a picture: a column per depth, boxes and lines.
pub fn draw_svg(plan: &Plan) -> String {
    const BOX: i32 = 170;
    const ROW: i32 = 56;
    const COLUMN: i32 = 230;
    let mut depth: BTreeMap<&StepId, i32> = BTreeMap::new();
    let mut rows: BTreeMap<i32, i32> = BTreeMap::new();
    let mut place: BTreeMap<&StepId, (i32, i32)> = BTreeMap::new();
    for id in order(plan).unwrap_or_default() {
        let Some(step) = plan.steps.get(id) else { continue };
        let column = step
            .waits_for()
            .iter()
            .filter_map(|before| depth.get(before))
            .max()
            .map_or(0, |deepest| deepest + 1);
        depth.insert(id, column);
        let row = rows.entry(column).or_default();
        place.insert(id, (20 + column * COLUMN, 20 + *row * ROW));
        *row += 1;
    }
    let width = 40 + (rows.keys().max().copied().unwrap_or(0) + 1) * COLUMN;
    let height = 40 + rows.values().max().copied().unwrap_or(1) * ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n"
    );
    for (id, step) in &plan.steps {
        let Some((x, y)) = place.get(id) else { continue };
        for (from, data) in edges(step) {
            let Some((from_x, from_y)) = place.get(from) else { continue };
            out.push_str(&format!(
                "  <path d=\"M{} {} L{x} {}\" stroke=\"#666\" fill=\"none\"><title>{}</title></path>\n",
                from_x + BOX, from_y + 18, y + 18, markup(&data)
            ));
        }
        let dash = if step.test { " stroke-dasharray=\"4 3\"" } else { "" };
        out.push_str(&format!(
            "  <rect x=\"{x}\" y=\"{y}\" width=\"{BOX}\" height=\"36\" rx=\"4\" fill=\"#fff\" stroke=\"#333\"{dash}/>\n  <text x=\"{}\" y=\"{}\">{}</text>\n",
            x + 10, y + 22, markup(&id.to_string())
        ));
    }
    out.push_str("</svg>\n");
    out
}

fn markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
