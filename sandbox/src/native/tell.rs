//! Tells what a step's root is built of, for those who asked to see it: `-vv`.
//!
//! The list of operations exists before anything happens (`setup`), so it is told as it is, in its
//! order and with its numbers. Costs nothing where nobody listens.
//!
//! Tells no bytes of files. Texts that others chose are escaped here and once more where they are shown.

use model::text::escape;
use tracing::{debug, enabled, trace};

use super::order::Ordered;
use crate::outcome::Outcome;
use crate::spec::Parts;

/// Tells what will be done for a step.
pub fn ordered(parts: &Parts, ordered: &Ordered) {
    if !enabled!(tracing::Level::DEBUG) {
        return;
    }
    let root = std::iter::once(&parts.root).chain(parts.mounts.iter().map(|mount| &mount.source));
    for (number, source) in root.enumerate() {
        debug!(number, path = %escape(source.as_os_str().as_encoded_bytes()), "source");
    }
    for (number, op) in ordered.order.ops.iter().enumerate() {
        debug!(number, op = %escape(format!("{op:?}").as_bytes()), "set-up");
    }
    debug!(work = ?ordered.work, "writable space");
    let argv: Vec<String> = parts.argv.iter().map(|word| escape(word.as_bytes())).collect();
    trace!(?argv, cwd = %parts.cwd, timeout = %parts.timeout, "program");
    for (name, value) in &parts.env {
        trace!(%name, value = %escape(value.as_bytes()), "variable");
    }
}

/// Tells what came of it.
pub fn outcome(outcome: &Outcome) {
    debug!(
        exit = ?outcome.exit,
        wall = ?outcome.usage.wall,
        cpu = ?outcome.usage.cpu,
        memory_peak = outcome.usage.memory_peak.map(|peak| peak.0),
        left_processes = outcome.left_processes,
        "all processes are dead"
    );
    for held in &outcome.enforced.mechanisms {
        trace!(
            guarantee = %held.guarantee,
            mechanism = %escape(held.mechanism.as_bytes()),
            detail = %escape(held.detail.as_bytes()),
            "read back"
        );
    }
}
