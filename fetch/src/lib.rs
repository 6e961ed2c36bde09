//! Brings in exactly what a build is allowed to see, or fails.
//!
//! Everything that dials out or reads inputs from outside the project lives here, so that no other
//! crate needs the right to. Nothing that is brought in is ever run by this crate, and nothing is
//! handed on that differs from what was promised.
//!
//! | Kind | Where | Promise |
//! |---|---|---|
//! | `host` | [`host`] | exactly the files of the declared packages and paths, named before they are read |
//!
//! This crate never touches the store and holds no key: it says which files there are, the runner
//! hashes and stores them.
#![forbid(unsafe_code)]

pub mod checksum;
pub mod host;
