//! The module's face in a kiln that was built without certificates: every root is refused.

use super::{Claimed, Confirmed, RootError, Signed, SigstoreError, Wanted};

/// A trusted root. There is none in this build.
#[derive(Debug)]
pub enum Root {}

/// Reads nothing.
pub fn claimed(_bundle: &[u8]) -> Claimed {
    Claimed::default()
}

impl Root {
    /// Refuses every root.
    ///
    /// # Errors
    /// [`RootError::NotBuilt`].
    pub fn parse(_bytes: &[u8]) -> Result<Root, RootError> {
        Err(RootError::NotBuilt)
    }

    /// Refuses the root of the public instance too.
    ///
    /// # Errors
    /// [`RootError::NotBuilt`].
    pub fn public() -> Result<Root, RootError> {
        Err(RootError::NotBuilt)
    }

    /// Is never reached: there is no root.
    ///
    /// # Errors
    /// None.
    pub fn check_anyone(
        &self,
        _bundle: &[u8],
        _signed: Signed<'_>,
    ) -> Result<Confirmed, SigstoreError> {
        match *self {}
    }

    /// Is never reached: there is no root.
    ///
    /// # Errors
    /// None.
    pub fn check(
        &self,
        _bundle: &[u8],
        _signed: Signed<'_>,
        _wanted: Wanted<'_>,
    ) -> Result<Confirmed, SigstoreError> {
        match *self {}
    }
}
