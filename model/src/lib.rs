//! The nouns of kiln: values with one canonical form.
//!
//! A build goes through six nouns. The `Manifest` is what people wrote; the `Lock` is what it was
//! pinned to; the `Plan` is what will run, a graph of [`step::Step`]s; the [`record::Record`] is
//! what it did; the `Statement` is what is claimed of it; the `Envelope` is what is sworn to.
//! Each is made from the one before by one function, and none has a field that "comes later".
//!
//! This crate does no I/O, reads no clock and no randomness, and depends on nothing that does.
//!
//! # Glossary
//!
//! | Word | Means |
//! |---|---|
//! | digest | a SHA-256, [`digest::Digest`]; the only one |
//! | blob | bytes named by digest and size, [`digest::Blob`] (REAPI `Digest`) |
//! | tree | a folder as a REAPI v2 `Directory` Merkle tree, [`tree::Tree`] |
//! | step | one command with its inputs and outputs, [`step::Step`] |
//! | action | the digest of everything a step can notice: its cache key, [`reapi`] |
//! | guarantee | what isolation promises, [`isolation::Guarantee`]; kept by mechanisms |
//! | order | what was asked for, [`record::Order`] |
//! | observed | what was seen, [`record::Observed`] |
#![forbid(unsafe_code)]

pub mod address;
pub mod digest;
pub mod isolation;
pub mod limits;
pub mod platform;
pub mod reapi;
pub mod record;
pub mod relpath;
pub mod step;
pub mod text;
pub mod tree;

pub use digest::{Blob, Digest, Hasher};
pub use relpath::{AbsPath, Ident, Name, RelPath};
pub use tree::{Directory, Tree};

/// T0: the time of environments and of `from` inputs, and the default `SOURCE_DATE_EPOCH`,
/// in seconds since 1970. It is 1980-02-01, which ZIP can express in every time zone (decision 1).
pub const T0_SECONDS: i64 = 318_211_200;

/// The time of `sources`, two seconds after [`T0_SECONDS`], so that a stale build folder brought in
/// by `from` is never taken for fresh (decision 1).
pub const SOURCE_SECONDS: i64 = T0_SECONDS + 2;

/// The time of last access of everything that steps are given: 2100-01-01. With `relatime`, the kernel's
/// default, reading moves an access time that is not after the last change or is a day old; a step that
/// could move it would leave a mark for later steps that see the same file. One in the future stays.
pub const ACCESSED_SECONDS: i64 = 4_102_444_800;
