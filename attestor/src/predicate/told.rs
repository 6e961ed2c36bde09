//! What the further predicates claim, in words for people. Decides nothing, and believes nothing.
//!
//! The texts are the statement's own, untrusted: whoever prints them escapes them.

use model::text::unescape;
use serde_json::Value;

use super::Further;

/// Most entries of a list that are told one by one.
const LISTED_MAX: usize = 20;

/// Returns what a predicate says, each line with its name; none where it is not one of ours.
pub(crate) fn told(predicate_type: &str, predicate: &Value) -> Option<Vec<(String, String)>> {
    let further =
        Further::ALL.into_iter().find(|further| further.predicate_type() == predicate_type)?;
    let mut lines = Vec::new();
    match further {
        Further::TestResult => {
            push(&mut lines, "result", predicate.get("result"));
            for (name, member) in
                [("passed", "passedTests"), ("warned", "warnedTests"), ("failed", "failedTests")]
            {
                each(&mut lines, name, predicate.get(member), Value::clone);
            }
            each(&mut lines, "configured", predicate.get("configuration"), |one| of(one, "/name"));
        }
        Further::Scai => {
            let attributes = predicate.get("attributes");
            each(&mut lines, "attribute", attributes, |one| of(one, "/attribute"));
            push(&mut lines, "producer", predicate.pointer("/producer/uri"));
        }
        Further::Link => {
            push(&mut lines, "step", predicate.get("name"));
            let command = predicate.get("command").map(Value::to_string);
            lines.extend(command.map(|command| ("command".to_owned(), command)));
            let materials = predicate.get("materials").and_then(Value::as_array);
            let count = materials.map_or(0, Vec::len);
            lines.push(("materials".to_owned(), count.to_string()));
        }
        Further::RuntimeTrace => {
            push(&mut lines, "monitor", predicate.pointer("/monitor/type"));
            let heard = predicate.pointer("/monitor/tracePolicy/network");
            each(&mut lines, "heard", heard, Value::clone);
            let network = predicate.pointer("/monitorLog/network");
            let attempts = network.and_then(Value::as_array).map(Vec::len);
            let words = attempts.map_or("not said".to_owned(), |count| count.to_string());
            lines.push(("attempts".to_owned(), words));
            // Kept escaped, since a process chose it; shown, it would be escaped twice.
            let raw = |one: Value| one.as_str().map(|text| Value::from(unescape(text)));
            each(&mut lines, "attempted", network, |one| {
                raw(of(one, "/attempted")).unwrap_or_default()
            });
        }
    }
    Some(lines)
}

/// Returns what a classic link or layout of in-toto says; none where it is neither.
pub(crate) fn classic(payload: &Value) -> Option<Vec<(String, String)>> {
    let kind = payload.get("_type").and_then(Value::as_str)?;
    let count = |name: &str| match payload.get(name) {
        Some(Value::Object(members)) => members.len().to_string(),
        Some(Value::Array(all)) => all.len().to_string(),
        Some(_) | None => "not said".to_owned(),
    };
    let mut lines = vec![("in-toto".to_owned(), kind.to_owned())];
    match kind {
        "link" => {
            push(&mut lines, "step", payload.get("name"));
            for name in ["materials", "products"] {
                lines.push((name.to_owned(), count(name)));
            }
        }
        "layout" => {
            push(&mut lines, "expires", payload.get("expires"));
            lines.push(("steps".to_owned(), count("steps")));
        }
        _ => return None,
    }
    Some(lines)
}

fn of(one: &Value, member: &str) -> Value {
    one.pointer(member).cloned().unwrap_or_default()
}

fn push(lines: &mut Vec<(String, String)>, name: &str, value: Option<&Value>) {
    let text = value.and_then(Value::as_str).unwrap_or("not said");
    lines.push((name.to_owned(), text.to_owned()));
}

fn each(
    lines: &mut Vec<(String, String)>,
    name: &str,
    list: Option<&Value>,
    text: impl Fn(&Value) -> Value,
) {
    let all = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for one in all.iter().take(LISTED_MAX) {
        push(lines, name, Some(&text(one)));
    }
    if all.len() > LISTED_MAX {
        lines.push((name.to_owned(), format!("and {} more", all.len() - LISTED_MAX)));
    }
}
