//! The pipeline: from a build file to signed artifacts, in numbered steps.
//!
//! 1. Read the build file and its lock.
//! 2. Bring the inputs in: scan the sources, import the environments. Nothing is fetched later.
//! 3. Make the plan.
//! 4. Decide about signing, before anything runs.
//! 5. Run the plan.
//! 6. Hand over: artifacts, Records, signatures, files.
//!
//! Each step has a type of its own and none goes back.

mod build;
mod freshness;
mod hand_over;
mod pins;
mod prepare;
mod select;
mod signing;

pub use build::{AskedFor, Failed, Finished, FinishedArtifact, Mode, Wish, build};
pub use pins::{GENERATED_BY, lock};
pub use prepare::{Prepared, Source, prepare, read_manifest, sketch};
pub use select::present;
pub use signing::Signing;
