//! Placeholder.
pub mod capture;
