//! Decides: reads the project, owns the store, runs the steps, hands over what came of them.
#![forbid(unsafe_code)]

pub mod archive;
pub mod execute;
pub mod export;
pub mod persist;
pub mod store;
