//! Placeholder.
#![forbid(unsafe_code)]

pub mod archive;
pub mod diagnostic;
pub mod execute;
pub mod export;
pub mod lock;
pub mod manifest;
pub mod persist;
pub mod source;
pub mod store;
