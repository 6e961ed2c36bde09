//! Ratios: kiln against what people would use without it, with where the time goes. One run, no limits.
//!
//! Each figure is a ratio measured in the same run, kiln and the other in turn, so that a slow or
//! busy machine changes both. Whoever reads it decides; a test that fails on a slow day teaches
//! people to ignore tests.
//!
//!     benches all SCRATCH LUA-SOURCES        benches start|commands|signing|hashing SCRATCH …
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "measures programs, and stops where something cannot be measured"
)]

mod commands;
mod end;
mod engine;
mod hashing;
mod measure;
mod signing;
mod start;

use std::path::Path;

fn main() {
    sandbox::enter_child_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["hash-one", file] => hashing::hash_one(Path::new(file)),
        ["start", scratch] => start::measure(Path::new(scratch)),
        ["signing", scratch] => signing::measure(Path::new(scratch)),
        ["hashing", scratch] => hashing::measure(Path::new(scratch)),
        ["commands", scratch, lua] => commands::measure(Path::new(scratch), Path::new(lua)),
        ["all", scratch, lua] => {
            start::measure(Path::new(scratch));
            commands::measure(Path::new(scratch), Path::new(lua));
            signing::measure(Path::new(scratch));
            hashing::measure(Path::new(scratch));
        }
        _ => {
            eprintln!(
                "usage: benches all|commands SCRATCH LUA-SOURCES | start|signing|hashing SCRATCH"
            );
            std::process::exit(2);
        }
    }
}
