//! The backend for containers that refuse namespaces: chosen by name, not built yet.
//!
//! Until it is, it runs nothing and says so; nothing else steps in for it.

use crate::cancel::Cancel;
use crate::error::Error;
use crate::outcome::{Outcome, Stream};
use crate::spec::Spec;

/// Refuses.
///
/// # Errors
/// Always [`Error::NotBuilt`].
pub fn run(
    _spec: &Spec,
    _cancel: &Cancel,
    _sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Outcome, Error> {
    Err(Error::NotBuilt { backend: "confined" })
}
