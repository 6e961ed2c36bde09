//! The build file: what people wrote, with the line and column of each value.
//!
//! Bytes become a tree of values that know their places ([`parse()`] tells the story), the tree
//! becomes a typed [`Manifest`] by tables of keys, and the matrix makes [`Instance`]s of it
//! ([`expand`]). Everything that is wrong is told at once, as
//! [`Diagnostic`](crate::diagnostic::Diagnostic)s that point at a letter.
//!
//! Reads no file and asks nothing of the host: whether a path exists, a package is installed or a
//! folder is a home is answered later. Kinds of sources and environments that this kiln does not
//! build yet are checked like the others and then refused, so no later stage meets one.
//!
//! The reference is `build-file.md`; `schema` holds it for editors, and a test compares the keys.

mod address;
mod artifact;
pub mod beside;
mod blame;
mod check;
mod environment;
mod expand;
mod instance;
mod matrix;
mod node;
mod parse;
mod placeholder;
mod project;
mod reader;
mod reference;
mod resources;
mod run;
pub mod schema;
mod source;
mod step;
mod template;
mod yaml;

pub use artifact::{Artifact, ArtifactKind, FileMode};
pub use environment::{EnvName, Environment, EnvironmentKind, Host};
pub use expand::{EXPANDED_BYTES_MAX, INSTANCES_MAX, expand};
pub use instance::{
    ArchiveFormat, ArtifactInstance, ArtifactInstanceKind, Expanded, Instance, InstanceRole,
    MountAt, OutputAt, OutputOf, TakenAt,
};
pub use matrix::{COMBINATIONS_MAX, Combination, Matrix};
pub use parse::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX};
pub use placeholder::{Template, Values};
pub use project::{Epoch, Manifest, no_build_file, parse, parse_made, unreadable};
pub use reader::At;
pub use reference::OutputRef;
pub use run::{RUN_STEP, Rendered, RunOutput, RunPart, RunRequest, render_run};
pub use source::{Source, SourceKind};
pub use step::{Mount, Output, Role, SHELL_DEFAULT, Step, Taken};
pub use template::{Starter, UnknownStarter, ident_of};

#[cfg(test)]
mod tests;
