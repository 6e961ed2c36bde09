//! The runner: decides, reads the project, owns the store and the command line, composes the rest.
//!
//! Reads as the pipeline: a build file becomes a [`manifest`], with the [`lock`] and the scanned
//! [`source`] a [`plan`]; the [`schedule`] runs its steps through [`execute`]; what was seen becomes
//! the [`evidence`], which [`sign`] hands to the attestor's own process.
//!
//! Never unsafe, never a socket to a network, never a key.
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
pub mod file_times;
pub mod history;
pub mod inputs;
pub mod interrupt;
pub mod junit;
pub mod live;
pub mod lock;
pub mod manifest;
pub mod orders;
pub mod persist;
pub mod pipeline;
pub mod plan;
pub mod program;
pub mod project;
pub mod refusal;
pub mod report;
pub mod schedule;
pub mod sign;
pub mod source;
pub mod store;
