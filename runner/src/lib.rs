//! Placeholder.
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod lock;
pub mod manifest;
pub mod source;
