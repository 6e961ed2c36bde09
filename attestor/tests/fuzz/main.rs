//! Bytes that nobody wrote: everything that the verifier reads from outside, changed at random.
//!
//! ```text
//! seeds ──mutate──▶ bytes ──target──▶ outcome     a new outcome makes the bytes a seed
//! ```
//!
//! Each target is a plain `fn(&Stage, &[u8]) -> Outcome` and asserts, for any bytes at all: no panic, no
//! memory without a bound, and no acceptance but with the seed's own meaning. The bytes are mutated with
//! their structure in mind: members, brackets, lengths, numbers, words of the format.
//!
//! `KILN_FUZZ_RUNS` says how many inputs a target is given, `KILN_FUZZ_SEED` where chance begins,
//! `KILN_FUZZ_TARGET` which target alone is wanted. They are printed, and so is an input that fails; it is
//! also kept below `target/fuzz/`.
//!
//! Does not catch: what only coverage of the code would lead to. Outcomes stand in for it here, since every
//! `make test` runs this; `make fuzz` runs the same targets led by coverage (`attestor/fuzz`).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can not go on has failed"
)]

mod flips;
#[path = "../attestor/forger.rs"]
#[allow(dead_code, reason = "shared with the attestor's other tests")]
mod forger;
mod harness;
mod mutate;
mod stage;
mod strict;
#[path = "../attestor/support.rs"]
#[allow(dead_code, reason = "shared with the attestor's other tests")]
mod support;
mod targets;
