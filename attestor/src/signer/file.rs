//! Signs with a key that was read from a file.
//!
//! Does not read the file: `process::keyring` does, and hands over the key.

use crate::keys::PrivateKey;
use crate::public_key::{KeyError, PublicKey};

/// A private key and its public half.
pub(crate) struct FileSigner {
    key: PrivateKey,
    public: PublicKey,
}

impl FileSigner {
    /// Returns the signer of `key`.
    pub(crate) fn new(key: PrivateKey) -> Result<FileSigner, KeyError> {
        Ok(FileSigner { public: key.public()?, key })
    }

    pub(crate) fn sign(&self, signed_bytes: &[u8]) -> Vec<u8> {
        self.key.sign(signed_bytes)
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }
}
