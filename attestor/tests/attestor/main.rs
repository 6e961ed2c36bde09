//! The promises of the attestor, attacked: one binary, one file for each part.

mod process;
mod support;
