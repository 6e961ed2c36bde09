//! Amounts of time, space and processors that a step asks for.

use model::limits::{Bytes, Count, Limit, Limits, MilliCpus, Millis, TIMEOUT_MAX};

use super::node::{Node, Type};
use super::reader::{Fields, Problems, Table, integer, wrong_type, wrong_value};

pub(super) const KEYS: Table = Table {
    noun: "resources",
    keys: &["cpu", "disk", "files", "idle", "log", "memory", "pids"],
    reserved: &[],
};

/// Most processors that can be asked for; Linux counts to 8192 (`CONFIG_NR_CPUS`).
pub(super) const CPUS_MAX: u64 = 8192;
/// Most processes or open files that can be asked for: the kernel's `PID_MAX_LIMIT`.
const COUNT_MAX: u64 = 4_194_304;

/// Reads `resources`: what is written is asked for, the rest keeps its default.
pub(super) fn read(node: &Node, owner: &str, problems: &mut Problems<'_>) -> Limits {
    let mut limits = Limits::default();
    let label = format!("`resources` of {owner}");
    let Some(fields) = Fields::read(node, &KEYS, label, problems) else { return limits };
    if let Some(node) = fields.get("cpu") {
        limits.cpu = cpu(node, &fields.label("cpu"), problems).map(Limit::asked);
    }
    let size = |key: &str, problems: &mut Problems<'_>| {
        fields.get(key).and_then(|node| bytes(node, &fields.label(key), problems)).map(Limit::asked)
    };
    limits.memory = size("memory", problems);
    limits.disk = size("disk", problems).unwrap_or(limits.disk);
    limits.log = size("log", problems).unwrap_or(limits.log);
    let count = |key: &str, problems: &mut Problems<'_>| {
        let found = integer(fields.get(key)?, &fields.label(key), 1..=COUNT_MAX, problems)?;
        Some(Limit::asked(Count(found)))
    };
    limits.pids = count("pids", problems).unwrap_or(limits.pids);
    limits.files = count("files", problems).unwrap_or(limits.files);
    if let Some(node) = fields.get("idle") {
        limits.idle = duration(node, &fields.label("idle"), problems).map(Limit::asked);
    }
    limits
}

/// Reads a span of time of at most [`TIMEOUT_MAX`].
pub(super) fn duration(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<Millis> {
    let text = amount(node, label, "a time such as 90s, 20m or 2h", problems)?;
    let found = Millis::parse(text).ok().filter(|span| *span <= TIMEOUT_MAX);
    if found.is_none() {
        let expected = format!("a time such as 90s, 20m or 2h, at most {TIMEOUT_MAX}");
        wrong_value(node, label, &expected, problems);
    }
    found
}

fn bytes(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<Bytes> {
    let expected = "a size such as 512Mi or 4Gi";
    let text = amount(node, label, expected, problems)?;
    let found = Bytes::parse(text).ok();
    if found.is_none() {
        wrong_value(node, label, expected, problems);
    }
    found
}

fn cpu(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<MilliCpus> {
    let expected = format!("a number above 0 and at most {CPUS_MAX}, such as 4 or 1.5");
    let text = amount(node, label, &expected, problems)?;
    let found = thousandths(text).filter(|amount| (1..=CPUS_MAX * 1000).contains(amount));
    if found.is_none() {
        wrong_value(node, label, &expected, problems);
    }
    found.map(MilliCpus)
}

fn amount<'n>(
    node: &'n Node,
    label: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n str> {
    match node.kind() {
        Type::Text | Type::Integer | Type::Number => node.scalar_text(),
        Type::Null | Type::Boolean | Type::List | Type::Map => {
            wrong_type(node, label, expected, problems);
            None
        }
    }
}

/// Reads digits with at most three after a point, as thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 6 || part.len() > 3 || !digits(whole) || !digits(part) {
        return None;
    }
    let part = format!("{part:0<3}");
    Some(whole.parse::<u64>().ok()? * 1000 + part.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_in_thousandths() {
        for (text, amount) in [("4", 4000), ("1.5", 1500), ("0.125", 125), ("2.", 2000)] {
            assert_eq!(thousandths(text), Some(amount), "{text}");
        }
        for text in ["", ".5", "-1", "1e3", "NaN", "0.0001", "9999999", "1.-5"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }
}
