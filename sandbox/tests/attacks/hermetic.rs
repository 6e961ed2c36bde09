//! Later.
pub const TESTS: &[crate::harness::Test] = &[];
