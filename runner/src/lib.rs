//! Decides: reads the project, owns the store, runs the steps, hands over what came of them.
#![forbid(unsafe_code)]

pub mod archive;
pub mod artifacts;
pub mod claims;
pub mod cli;
pub mod config;
pub mod context;
pub mod diagnostic;
pub mod environment;
pub mod evidence;
pub mod execute;
pub mod export;
pub mod history;
pub mod inputs;
pub mod interrupt;
pub mod lock;
pub mod manifest;
pub mod persist;
pub mod pipeline;
pub mod plan;
pub mod project;
pub mod refusal;
pub mod report;
pub mod schedule;
pub mod sign;
pub mod source;
pub mod store;
