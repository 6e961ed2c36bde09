//! The predicates that the attestor derives from a Record, one file each.
//!
//! | Predicate | Type | File |
//! |---|---|---|
//! | SLSA provenance | [`provenance::PREDICATE_TYPE`] | `provenance.rs`, with `run_details.rs` and `dependencies.rs` |
//! | Test result | [`test_result::PREDICATE_TYPE`] | `test_result.rs` |
//! | SCAI | [`scai::PREDICATE_TYPE`] | `scai.rs` |
//! | Link | [`link::PREDICATE_TYPE`] | `link.rs` |
//! | Runtime trace | [`runtime_trace::PREDICATE_TYPE`] | `runtime_trace.rs` |
//!
//! The first is made of every signed build; the others where they are asked for: [`Further`].
//!
//! Types that are derived here, now or later, are never signed on somebody else's word:
//! [`is_derived`] lists them.

pub mod dependencies;
pub mod link;
pub mod provenance;
pub(crate) mod run_details;
pub mod runtime_trace;
pub mod scai;
pub mod test_result;
pub(crate) mod told;

use serde::{Deserialize, Serialize};

/// A predicate that is derived besides the provenance, where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Further {
    /// What the tests came to.
    TestResult,
    /// Which guarantees held.
    Scai,
    /// Materials and product.
    Link,
    /// Where the steps wanted to go on a network.
    RuntimeTrace,
}

impl Further {
    /// All of them, in the order in which they are written.
    pub const ALL: [Further; 4] =
        [Further::TestResult, Further::Scai, Further::Link, Further::RuntimeTrace];

    /// Returns its name, as the command line and file names have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Further::TestResult => "test-result",
            Further::Scai => "scai",
            Further::Link => "link",
            Further::RuntimeTrace => "runtime-trace",
        }
    }

    /// Returns its predicate type.
    pub fn predicate_type(self) -> &'static str {
        match self {
            Further::TestResult => test_result::PREDICATE_TYPE,
            Further::Scai => scai::PREDICATE_TYPE,
            Further::Link => link::PREDICATE_TYPE,
            Further::RuntimeTrace => runtime_trace::PREDICATE_TYPE,
        }
    }
}

/// The predicate types that only the attestor itself states, of any version (decision 31).
/// Lower case, without scheme: what people write otherwise is compared after folding both away.
const DERIVED: [&str; 8] = [
    "in-toto.io/attestation/link/",
    "in-toto.io/attestation/runtime-trace/",
    "in-toto.io/attestation/scai/",
    "in-toto.io/attestation/test-result/",
    "in-toto.io/link/",
    "in-toto.io/provenance/",
    "slsa.dev/provenance",
    "slsa.dev/verification_summary",
];

/// Says whether a predicate type is one that the attestor derives, in any spelling.
pub fn is_derived(predicate_type: &str) -> bool {
    let folded = predicate_type.trim().to_ascii_lowercase();
    let rest = folded.split_once("://").map_or(folded.as_str(), |(_, rest)| rest);
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    // A port, and the dot of a full name, name the same host.
    let (host, path) = rest.split_at(rest.find(['/', '#', '?']).unwrap_or(rest.len()));
    let host = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    let rest = format!("{host}/{}", path.trim_start_matches(['/', '#', '?']));
    DERIVED.iter().any(|derived| {
        rest.starts_with(derived) || rest.trim_end_matches('/') == derived.trim_end_matches('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_types_are_known_in_every_spelling() {
        for derived in [
            "https://slsa.dev/provenance/v1",
            "https://slsa.dev/provenance/v0.2",
            "HTTPS://SLSA.dev/Provenance/v1",
            "http://slsa.dev/provenance/v1",
            "https://slsa.dev/provenance",
            "https://slsa.dev:443/provenance/v1",
            "https://slsa.dev./provenance/v1",
            "https://slsa.dev#/provenance/v1",
            "https://slsa.dev/verification_summary/v1",
            "https://in-toto.io/attestation/link/v0.3",
            "https://in-toto.io/Link/v1",
            "https://in-toto.io/Provenance/v0.1",
            "https://in-toto.io/attestation/test-result/v0.1",
            "https://in-toto.io/attestation/scai/attribute-report/v0.2",
            "https://in-toto.io/attestation/scai/v0.3",
            "https://in-toto.io/attestation/runtime-trace/v0.1",
        ]
        .into_iter()
        .chain(Further::ALL.map(Further::predicate_type))
        {
            assert!(is_derived(derived), "{derived}");
        }
        for own in
            ["https://spdx.dev/Document", "https://cyclonedx.org/bom", "https://a.example/x/v1"]
        {
            assert!(!is_derived(own), "{own}");
        }
    }
}
