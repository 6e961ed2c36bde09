//! What a statement of kiln's own build types has to say of itself, whoever signed it: the attestor
//! signs no other.
//!
//! The five core guarantees held in every step, or were waived by name; `network` is never waived. The
//! commit that is named as the source is the one that the source among the inputs carries.
//!
//! Pure. Does not catch: a builder that lies. Foreign build types are not judged by it.

use std::collections::BTreeMap;

use model::isolation::{Enforced, Guarantee};
use model::text::escape;
use serde_json::Value;

use crate::claims::{Dependency, Statement};
use crate::verdict::Reason;

/// What the parameter `commit` says outside git.
const NO_COMMIT: &str = "none";

/// Checks that the core guarantees held, and returns what is told of them.
///
/// # Errors
/// One or more that neither held in every step nor were waived by name, and a network that was waived in
/// whatever spelling.
pub(crate) fn guarantees(statement: &Statement) -> Result<String, Reason> {
    let waivers = statement.waivers();
    let network = Guarantee::Network.as_str();
    let waives_network = waivers.iter().any(|word| word.trim().eq_ignore_ascii_case(network));
    // An odd spelling waives nothing but the network, which makes it a refusal.
    let waived = |one: Guarantee| one != Guarantee::Network && waivers.contains(&one.as_str());
    let mut missing = claimed(statement).missing(waived);
    if waives_network && !missing.contains(&Guarantee::Network) {
        missing.push(Guarantee::Network);
    }
    if missing.is_empty() {
        let left = Guarantee::ALL.into_iter().filter(|one| one.is_core() && waived(*one));
        let left: Vec<&str> = left.map(Guarantee::as_str).collect();
        return Ok(match left.as_slice() {
            [] => "network off, all core guarantees".to_owned(),
            names => format!("network off, core guarantees but {}", names.join(", ")),
        });
    }
    let held: Vec<&str> = Guarantee::ALL
        .into_iter()
        .filter(|one| one.is_core() && !missing.contains(one) && !waived(*one))
        .map(Guarantee::as_str)
        .collect();
    let words = |list: &[&str]| match list {
        [] => "none".to_owned(),
        list => escape(list.join(", ").as_bytes()),
    };
    Err(Reason::NotEnforced {
        missing: words(&missing.iter().map(|one| one.as_str()).collect::<Vec<_>>()),
        held: words(&held),
        waived: words(&waivers),
    })
}

/// Returns what the statement says held in every step, in the words of the Record.
fn claimed(statement: &Statement) -> Enforced {
    let mut enforced = Enforced::default();
    for one in &statement.enforced {
        // A guarantee of a newer kiln is none of the five.
        if let Ok(guarantee) = one.guarantee.parse() {
            enforced.add(guarantee, one.mechanism.trim(), one.detail.clone());
        }
    }
    let absent = |one: Guarantee| match statement.run_details.get("kiln_absent") {
        None => false,
        Some(Value::Object(members)) => members.contains_key(one.as_str()),
        Some(_) => true,
    };
    let absent = Guarantee::ALL.into_iter().filter(|one| absent(*one));
    enforced.absent = absent.map(|one| (one, String::new())).collect::<BTreeMap<_, _>>();
    enforced
}

/// Checks that the commit that is named is the one that the source among the inputs carries. Where a
/// build mounts no source, nothing else carries it, and the build file's digest says what was built.
///
/// # Errors
/// A source of another commit, or sources of which none carries the one that is named.
pub(crate) fn commit(statement: &Statement) -> Result<(), Reason> {
    let named = statement.parameter("commit");
    let sources =
        statement.dependencies.iter().filter(|one| one.annotation("role") == Some("source"));
    let mut found: Vec<(&Dependency, Option<&str>)> =
        sources.map(|one| (one, one.digests.get("gitCommit").map(String::as_str))).collect();
    // Only what is the project's own is of its commit.
    let is_own = |one: &Dependency| one.annotation("kind").is_none_or(|kind| kind == "local");
    let carried = found.iter().any(|(_, id)| *id == Some(named));
    found.retain(|(one, id)| match id {
        Some(id) => is_own(one) && *id != named,
        None => named != NO_COMMIT && !carried,
    });
    let other = found.iter().find(|(_, id)| id.is_some()).or(found.first());
    match other {
        None => Ok(()),
        Some((one, id)) => Err(Reason::Commit {
            named: escape(named.as_bytes()),
            name: escape(one.name.as_bytes()),
            got: id.map_or_else(|| "no commit".to_owned(), |id| escape(id.as_bytes())),
        }),
    }
}
