//! Expectations: what a verifier wants a statement to say before it uses a file.
//!
//! ```text
//! policy.yaml ──parse──▶ Node ──read──▶ Policy ──┐
//! bundles ──verify, each alone──▶ Verified ──────┴──decide──▶ Decision, or a Refusal with a rule each
//! ```
//!
//! A policy says nothing about whom to believe: that is `trust.toml`'s alone. It narrows what is believed
//! already. All its rules about provenance must hold for one and the same attestation; a rule that is
//! not understood refuses the whole policy, since it may be the one that forbids.
//!
//! Does no I/O and reads no clock. Opens nothing that a statement names.
//! Source: SLSA v1.2, verifying artifacts, steps 2 and 3; docs/policy.md.

mod boolean;
mod cases;
mod check;
mod cost;
mod decide;
mod expression;
mod fields;
mod learn;
mod named;
mod node;
mod other;
mod parse;
mod pattern;
mod problem;
mod purl;
mod read;
mod recurse;
mod rules;
mod standing;
mod version;

pub use cases::{Case, Cases, Expect};
pub use check::{Broken, Held};
pub use decide::{Accepted, Decision, Question, decide};
pub use expression::ExpressionError;
pub use learn::{learn, queried};
pub use named::{NAMES, named};
pub use node::Span;
pub use problem::{Problem, Wrong};
pub use recurse::{Dependencies, DependenciesError, DependencyVerdict, Outcome, Tree};
pub use rules::Policy;
