//! One step, from its inputs to its outputs.

pub mod capture;
