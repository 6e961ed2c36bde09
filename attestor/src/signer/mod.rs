//! `Signer`: one way to sign each, chosen once; the signed encoding in, one signature out.
//!
//! An enum and not a trait object, since the set is closed: a hardware token, an agent or a
//! short-lived certificate is one more file here and one more arm.
//! Private to the crate: nobody outside can hold one.

mod file;

pub(crate) use file::FileSigner;

use crate::public_key::PublicKey;

/// The ways to sign.
pub(crate) enum Signer {
    /// A key from a PKCS#8 file.
    File(FileSigner),
}

impl Signer {
    /// Returns the signature over `signed_bytes`.
    pub(crate) fn sign(&self, signed_bytes: &[u8]) -> Vec<u8> {
        match self {
            Signer::File(signer) => signer.sign(signed_bytes),
        }
    }

    /// Returns the key that the signature is checked with.
    pub(crate) fn public(&self) -> &PublicKey {
        match self {
            Signer::File(signer) => signer.public(),
        }
    }
}
