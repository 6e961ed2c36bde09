//! Keys: from Record to Envelope, and back to a verdict.
//!
//! ```text
//! Record ──statement::derive──▶ bytes ──envelope::sign──▶ Envelope ──bundle──▶ X.sigstore.json, X.intoto.jsonl
//!                    (only in the attestor's own process)
//! file's digest + those files + trust + time ──verify::verify──▶ Verified<Statement> or a Refusal
//! the same + expectations ──policy::decide──▶ Decision or a Refusal   (and from there a summary: vsa)
//! those files ──story::inspect──▶ Story   (told, not believed)
//! ```
//!
//! The library is pure: bytes in, verdict out, with time and trust as arguments. Signing happens
//! only behind [`process`], in a process of its own; the build process speaks with it through
//! [`client`] and never holds a key. `keys` and `signer` are private, and no public function
//! returns what they hold.
//!
//! ```
//! use attestor::{trust::Trust, verify::{Artifact, Evidence, Expected, verify}};
//!
//! let artifact = Artifact { name: "hello", digest: model::Digest::of(b"hello") };
//! let evidence = Evidence { bytes: b"", manifest: None };
//! let expected = Expected { trust: &Trust::default(), key: None, identity: None, root: None, source: None };
//! // Nothing speaks for the file, so it is refused, with a reason.
//! let refusal = verify(&artifact, &evidence, &expected, 0).unwrap_err();
//! assert_eq!(refusal.reasons().next().unwrap().code().to_string(), "KILN-0805");
//! ```
//!
//! Verifying is for every system. Signing is for Linux: its process, and what only that uses, is not
//! compiled elsewhere.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "what only the signing process calls")
)]

#[cfg(target_os = "linux")]
mod access;
pub mod builder;
pub mod bundle;
pub mod claims;
#[cfg(target_os = "linux")]
pub mod client;
mod coherent;
#[cfg(target_os = "linux")]
mod config;
mod credentials;
pub mod dsse;
#[cfg(target_os = "linux")]
mod envelope;
pub mod expected_source;
#[cfg(target_os = "linux")]
mod keys;
pub mod links;
mod order;
pub mod pipe;
pub mod policy;
pub mod predicate;
#[cfg(target_os = "linux")]
pub mod process;
pub mod public_key;
mod remedy;
mod signed_by;
#[cfg(target_os = "linux")]
mod signer;
pub mod sigstore;
pub mod statement;
pub mod story;
pub mod strict_json;
pub mod trust;
pub mod verdict;
pub mod verify;
pub mod vsa;

pub use order::Refused;
pub use strict_json::JsonError;
