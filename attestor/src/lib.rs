//! From Record to Envelope and back.
#![forbid(unsafe_code)]

pub mod builder;
pub mod bundle;
mod credentials;
pub mod dsse;
mod envelope;
mod keys;
mod order;
pub mod predicate;
pub mod public_key;
mod signer;
pub mod statement;
mod strict_json;
