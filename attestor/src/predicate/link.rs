//! Link v0.3: materials and product of one artifact, in the words that in-toto layouts use.
//!
//! The step's name is the artifact's. Materials are the inputs of the provenance with the same
//! digests; their names are unique, as links want it: the build file, a lock and the dependency
//! manifest stand under their own paths, so that a layout can match them, everything else as
//! `ROLE:NAME`.
//!
//! Pure. Source: in-toto attestation, predicates/link.md.

use std::collections::{BTreeMap, BTreeSet};

use model::record::{Asked, Record, Role};
use serde::Serialize;

use super::dependencies::{self, Descriptor};
use crate::order::Refused;

/// The predicate type.
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/link/v0.3";

/// The predicate.
#[derive(Serialize)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    pub(crate) materials: Vec<Descriptor>,
    byproducts: BTreeMap<&'static str, i32>,
    environment: BTreeMap<String, String>,
}

/// Returns the predicate.
///
/// # Errors
/// Two inputs that would have one name; else none in practice.
pub(crate) fn link(record: &Record) -> Result<Link, Refused> {
    let listed = dependencies::list(record).map_err(Refused::Write)?;
    let mut names = BTreeSet::new();
    let mut materials = Vec::with_capacity(listed.entries.len());
    for one in listed.entries {
        let name = material_name(&one);
        if !names.insert(name.clone()) {
            let name = model::text::escape(name.as_bytes());
            return Err(Refused::SameName { role: "material", name });
        }
        materials.push(Descriptor { name, ..one });
    }
    let codes = record.observed.run.steps.iter().map(|step| step.exit_code);
    Ok(Link {
        name: record.observed.subject.name.clone(),
        command: command(record),
        materials,
        byproducts: BTreeMap::from([("return-value", codes.max().unwrap_or_default())]),
        environment: BTreeMap::new(),
    })
}

fn material_name(one: &Descriptor) -> String {
    let role = one.annotations.get("role").map(String::as_str).unwrap_or_default();
    let by_path = [Role::BuildFile.as_str(), Role::Lock.as_str(), dependencies::MANIFEST_ROLE];
    if by_path.contains(&role) { one.name.clone() } else { format!("{role}:{}", one.name) }
}

/// What was asked for, in words of a command line.
fn command(record: &Record) -> Vec<String> {
    match &record.order.asked {
        Asked::Build { target, .. } => vec!["kiln".into(), "build".into(), target.clone()],
        Asked::Run { command, .. } => {
            serde_json::from_str(command).unwrap_or_else(|_| vec![command.clone()])
        }
    }
}
