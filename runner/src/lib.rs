//! Placeholder.
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod manifest;
pub mod source;
