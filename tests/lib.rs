//! What kiln promises, tested from outside: one binary, each file a promise.
//!
//! The end-to-end tests start the `kiln` binary as its users do, as root and as an unprivileged
//! user where the tests themselves run as root, each in a scratch world of its own ([`support`]).
//! They link `model` alone: to read digests and trees with, never to build by another way in.
//!
//! `tidy` reads the sources and refuses what the house rules refuse.
#![cfg(test)]
#![allow(clippy::disallowed_methods, reason = "tests start programs and write scratch files")]

mod backends;
mod confined;
mod conformance;
mod examples;
mod failure_messages;
mod forgeries;
mod guards;
mod hermetic;
mod hostile;
mod key_files;
mod limits;
mod linkage;
mod named;
mod offline;
mod policy;
mod principal;
mod provenance;
mod ready;
mod reproducible;
mod signers;
mod statements;
mod support;
mod telling;
mod tidy;
mod together;
mod words;
