//! The backend that lets a container engine keep the guarantees: not built yet.
//!
//! Until it is, it runs nothing and says so; nothing else steps in for it.

use std::path::PathBuf;

use crate::cancel::Cancel;
use crate::error::Error;
use crate::outcome::{Outcome, Stream};
use crate::spec::Spec;

/// A container engine, and where kiln keeps what it shares with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// The engine's sockets to try, the one that was asked for alone if there is one.
    pub sockets: Vec<PathBuf>,
    /// The folder in which staging folders are made; kiln's own, readable by nobody else.
    pub staging: PathBuf,
}

/// Refuses.
///
/// # Errors
/// Always [`Error::NotBuilt`].
pub fn run(
    _spec: &Spec,
    _engine: &Engine,
    _cancel: &Cancel,
    _sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Outcome, Error> {
    Err(Error::NotBuilt { backend: "docker" })
}
