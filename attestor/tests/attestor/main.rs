//! The promises of the attestor, attacked: one binary, one file for each part.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can not go on has failed"
)]

mod bounds;
mod certificates;
mod coherent;
mod dependencies;
mod derive;
mod doubt;
mod forged;
mod forger;
mod further;
mod identities;
mod keys;
mod last_word;
mod layout;
mod learned;
mod mutations;
mod policy;
mod process;
mod spoilt;
mod story;
mod summary;
mod support;
mod vectors;
