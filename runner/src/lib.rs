//! Placeholder.
pub mod archive;
pub mod execute;
pub mod export;
pub mod persist;
pub mod store;
