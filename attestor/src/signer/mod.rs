//! `Signer`: one way to sign each, chosen once; the signed encoding in, one signature out.
//!
//! An enum and not a trait object, since the set is closed: a hardware token or an agent is one more
//! file here and one more arm. Private to the crate: nobody outside can hold one.
//!
//! Signing with a short-lived certificate is configured here and done in `sigstore::keyless`: there is no
//! key to hold, and what comes back is a whole bundle.
//!
//! Every signature is checked with the public key before it leaves [`Signer::sign`]: a token or an
//! agent that signs other bytes, or with another key, is refused here and not by whoever verifies.
//! No error holds a PIN, a key or the bytes that were to be signed.

mod config;
mod file;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod ssh_agent;

#[cfg(feature = "pkcs11")]
pub(crate) use config::PinPlace;
#[cfg(feature = "keyless")]
pub(crate) use config::{Ci, KeylessConfig, TokenPlace};
pub(crate) use config::{SignerConfig, SignerConfigError, SignerIn, known_variables};
pub(crate) use file::FileSigner;
#[cfg(feature = "pkcs11")]
pub(crate) use pkcs11::{Pkcs11Signer, TokenError};
pub(crate) use ssh_agent::{AgentError, SshAgentSigner};

use crate::public_key::PublicKey;

/// The ways to sign.
pub(crate) enum Signer {
    /// A key from a PKCS#8 file.
    File(FileSigner),
    /// A key in a token, which never leaves it.
    #[cfg(feature = "pkcs11")]
    Pkcs11(Box<Pkcs11Signer>),
    /// A key that an agent of ssh holds.
    SshAgent(SshAgentSigner),
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// The token gave none.
    #[cfg(feature = "pkcs11")]
    #[error("have the token sign")]
    Token(#[source] TokenError),
    /// The agent gave none.
    #[error("have the ssh agent sign")]
    Agent(#[source] AgentError),
    /// What came is no signature of this key over these bytes.
    #[error("what came back is no signature by the key that was asked for; nothing leaves")]
    Wrong,
}

impl Signer {
    /// Returns the signature over `signed_bytes`, checked with [`Signer::public`].
    pub(crate) fn sign(&self, signed_bytes: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = match self {
            Signer::File(signer) => signer.sign(signed_bytes),
            #[cfg(feature = "pkcs11")]
            Signer::Pkcs11(signer) => signer.sign(signed_bytes).map_err(SignError::Token)?,
            Signer::SshAgent(signer) => signer.sign(signed_bytes).map_err(SignError::Agent)?,
        };
        match self.public().check(signed_bytes, &signature) {
            Ok(()) => Ok(signature),
            Err(_) => Err(SignError::Wrong),
        }
    }

    /// Returns the key that the signature is checked with.
    pub(crate) fn public(&self) -> &PublicKey {
        match self {
            Signer::File(signer) => signer.public(),
            #[cfg(feature = "pkcs11")]
            Signer::Pkcs11(signer) => signer.public(),
            Signer::SshAgent(signer) => signer.public(),
        }
    }
}
