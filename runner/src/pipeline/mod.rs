//! The pipeline: from a build file to signed artifacts, in numbered steps.
//!
//! 1. Read the build file and its lock, and ask whether this host can do what they want.
//! 2. Look at the sources, and decide about signing.
//! 3. Bring the environments in, and make the plan. Nothing is fetched later.
//! 4. Run the plan.
//! 5. Hand over: artifacts, Records, signatures, files.
//!
//! What can be refused is refused before the third step: until then the store gets nothing.
//!
//! Each step has a type of its own and none goes back.

mod before;
mod beside;
mod build;
mod freshness;
mod further;
mod hand_over;
mod out_folder;
mod own_output;
mod pins;
mod prepare;
mod ready;
mod select;
mod signing;
mod survey;
mod sworn;

pub use build::{AskedFor, Failed, Finished, FinishedArtifact, Mode, Signature, Wish, build};
pub use pins::{GENERATED_BY, lock};
pub use prepare::Prepared;
pub use ready::{Readiness, asked_of_any, not_kept};
pub use select::present;
pub use signing::{Signing, check_revoked};
pub use survey::{Source, read_manifest, sketch};
