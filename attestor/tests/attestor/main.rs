//! The promises of the attestor, attacked: one binary, one file for each part.

mod derive;
mod forged;
mod keys;
mod process;
mod story;
mod support;
