//! SCAI v0.3: one attribute for each guarantee that held in every step.
//!
//! | Guarantee | Attribute |
//! |---|---|
//! | `files` | `KILN_FILES_DECLARED` |
//! | `network` | `KILN_NETWORK_OFF` |
//! | `processes` | `KILN_PROCESSES_CONTAINED` |
//! | `identity` | `KILN_IDENTITY_FIXED` |
//! | `syscalls` | `KILN_SYSCALLS_LISTED` |
//! | `limits` | `KILN_LIMITS_SET` |
//! | `landlock` | `KILN_LANDLOCK_SET` |
//!
//! The conditions name the mechanisms that kept it, and the evidence is the payload of the provenance
//! of the same Record, by digest: it names each step's record. A guarantee that a step went without,
//! or with in part, has no attribute.
//!
//! Pure. Source: in-toto attestation, predicates/scai.md.

use std::collections::BTreeMap;

use model::Digest;
use model::isolation::{Enforced, Guarantee, Mechanism};
use model::record::Record;
use serde::Serialize;

use super::dependencies::{Descriptor, sha256};
use super::run_details;
use crate::builder::BuilderId;
use crate::dsse;

/// The predicate type.
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/scai/v0.3";

/// The predicate.
#[derive(Serialize)]
pub(crate) struct Report {
    attributes: Vec<Attribute>,
    producer: Descriptor,
}

#[derive(Serialize)]
struct Attribute {
    attribute: &'static str,
    conditions: Conditions,
    evidence: Descriptor,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    guarantee: Guarantee,
    mechanisms: Vec<MechanismOut>,
    backend: String,
    sandbox_profile: String,
    steps: usize,
}

#[derive(Serialize)]
struct MechanismOut {
    mechanism: String,
    detail: String,
}

/// Returns the predicate. `provenance` is the payload of the same Record's provenance.
pub(crate) fn scai(record: &Record, builder: &BuilderId, provenance: &[u8]) -> Report {
    let observed = &record.observed;
    let steps = &observed.run.steps;
    let mechanisms = run_details::everywhere_enforced(steps);
    let evidence = Descriptor {
        media_type: Some(dsse::PAYLOAD_TYPE.to_owned()),
        ..run_details::plain("provenance", sha256(&Digest::of(provenance)))
    };
    let attribute = |guarantee: Guarantee| Attribute {
        attribute: name(guarantee),
        conditions: Conditions {
            guarantee,
            mechanisms: of_guarantee(&mechanisms, guarantee),
            backend: observed.run.backend.clone(),
            sandbox_profile: observed.sandbox_profile.clone(),
            steps: steps.len(),
        },
        evidence: evidence.clone(),
    };
    let held = |guarantee: &Guarantee| {
        let held = steps.iter().all(|step| is_whole(&step.enforced, *guarantee));
        held && !steps.is_empty() && !record.order.waivers.contains(guarantee)
    };
    Report {
        attributes: Guarantee::ALL.into_iter().filter(held).map(attribute).collect(),
        producer: Descriptor {
            uri: Some(builder.to_string()),
            annotations: BTreeMap::from([(
                "version".to_owned(),
                observed.run.kiln_version.clone(),
            )]),
            ..run_details::plain("kiln", sha256(&observed.run.kiln_digest))
        },
    }
}

/// Says whether a guarantee was kept with nothing of it absent.
fn is_whole(enforced: &Enforced, guarantee: Guarantee) -> bool {
    enforced.keeps(guarantee) && !enforced.absent.contains_key(&guarantee)
}

fn of_guarantee(all: &[Mechanism], guarantee: Guarantee) -> Vec<MechanismOut> {
    let of = all.iter().filter(|one| one.guarantee == guarantee);
    let out = |one: &Mechanism| MechanismOut {
        mechanism: one.mechanism.clone(),
        detail: one.detail.clone(),
    };
    of.map(out).collect()
}

fn name(guarantee: Guarantee) -> &'static str {
    match guarantee {
        Guarantee::Files => "KILN_FILES_DECLARED",
        Guarantee::Network => "KILN_NETWORK_OFF",
        Guarantee::Processes => "KILN_PROCESSES_CONTAINED",
        Guarantee::Identity => "KILN_IDENTITY_FIXED",
        Guarantee::Syscalls => "KILN_SYSCALLS_LISTED",
        Guarantee::Limits => "KILN_LIMITS_SET",
        Guarantee::Landlock => "KILN_LANDLOCK_SET",
    }
}
