//! `PublicKey`: what a signature is checked with; the key alone fixes the algorithm.
//!
//! An envelope never says how it wants to be checked, so no algorithm can be swapped for another.
//! A key is named by the SHA-256 of its SubjectPublicKeyInfo, in one canonical encoding: whichever
//! way it was written, it has one name.
//!
//! Holds no secret and does no I/O. Source: RFC 5280, section 4.1 (SPKI); RFC 5480; RFC 8410.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::Digest;
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};

/// The algorithms offered. ECDSA P-256 with SHA-256 in ASN.1 DER is what every verifier takes;
/// Ed25519 is for keys without a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[default]
    EcdsaP256,
    /// Ed25519, pure.
    Ed25519,
}

/// The name of a key: SHA-256 of its SubjectPublicKeyInfo in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

/// A public key of one of the two algorithms.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    point: Point,
    spki: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq)]
enum Point {
    P256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

/// Why something is no public key of ours.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither a P-256 nor an Ed25519 key in SubjectPublicKeyInfo form.
    #[error("is no ECDSA P-256 or Ed25519 public key in PEM (`BEGIN PUBLIC KEY`)")]
    Public,
    /// Neither a P-256 nor an Ed25519 key in unencrypted PKCS#8 form.
    #[error(
        "is no ECDSA P-256 or Ed25519 private key in unencrypted PKCS#8 PEM (`BEGIN PRIVATE KEY`)"
    )]
    Private,
    /// A P-256 key, most likely, in the form that PKCS#8 came after.
    #[error("is a key in SEC1 form (`BEGIN EC PRIVATE KEY`), not in PKCS#8 (`BEGIN PRIVATE KEY`)")]
    Sec1,
    /// Nobody is there to type a passphrase when a build is signed.
    #[error(
        "is a key under a passphrase, which kiln never asks for; its file is protected by its mode"
    )]
    Encrypted,
    /// Too slow to be worth a third kind of signature, and no verifier needs it.
    #[error("is an RSA key, which is not supported: ECDSA P-256 and Ed25519 are")]
    Rsa,
    /// P-384 and others.
    #[error("is an EC key on another curve than P-256; ECDSA P-256 and Ed25519 are supported")]
    OtherCurve,
    /// DSA, X25519 and others.
    #[error("is a key of a kind that is not supported; ECDSA P-256 and Ed25519 are")]
    OtherKind,
    /// The form of ssh's own.
    #[error("is a key in OpenSSH's form (`BEGIN OPENSSH PRIVATE KEY`), not in PKCS#8")]
    OpenSsh,
    /// No fingerprint.
    #[error("is no key fingerprint, `SHA256:` and base64 of 32 bytes")]
    Fingerprint,
}

/// A signature that this key did not make over these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not of this key over these bytes")]
pub struct BadSignature;

impl PublicKey {
    /// Reads `BEGIN PUBLIC KEY`.
    ///
    /// # Errors
    /// Refuses every other kind of PEM and every other kind of key.
    pub fn from_pem(pem: &str) -> Result<PublicKey, KeyError> {
        let pem = pem.trim();
        if let Ok(key) = p256::PublicKey::from_public_key_pem(pem) {
            return PublicKey::from_p256(&key.into());
        }
        match ed25519_dalek::VerifyingKey::from_public_key_pem(pem) {
            Ok(key) => PublicKey::from_ed25519(&key),
            Err(_) => Err(KeyError::Public),
        }
    }

    pub(crate) fn from_p256(key: &p256::ecdsa::VerifyingKey) -> Result<PublicKey, KeyError> {
        let spki = p256::PublicKey::from(*key).to_public_key_der().map_err(|_| KeyError::Public)?;
        Ok(PublicKey { point: Point::P256(*key), spki: spki.into_vec() })
    }

    pub(crate) fn from_ed25519(key: &ed25519_dalek::VerifyingKey) -> Result<PublicKey, KeyError> {
        if key.is_weak() {
            return Err(KeyError::Public);
        }
        let spki = key.to_public_key_der().map_err(|_| KeyError::Public)?;
        Ok(PublicKey { point: Point::Ed25519(*key), spki: spki.into_vec() })
    }

    /// Returns `BEGIN PUBLIC KEY`, as openssl and cosign read it.
    ///
    /// # Errors
    /// None in practice: the key was checked when it was made.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        match &self.point {
            Point::P256(key) => p256::PublicKey::from(*key).to_public_key_pem(LineEnding::LF),
            Point::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
        }
        .map_err(|_| KeyError::Public)
    }

    /// Reads the hex of an Ed25519 key's 32 bytes.
    pub(crate) fn from_ed25519_hex(hex: &str) -> Option<PublicKey> {
        let bytes = model::Digest::from_hex(&hex.to_ascii_lowercase()).ok()?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes.as_bytes()).ok()?;
        PublicKey::from_ed25519(&key).ok()
    }

    /// Returns the hex of an Ed25519 key's 32 bytes; none of another key.
    pub(crate) fn ed25519_hex(&self) -> Option<String> {
        match &self.point {
            Point::P256(_) => None,
            Point::Ed25519(key) => {
                Some(key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
            }
        }
    }

    /// Returns its name.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&self.spki))
    }

    /// Returns its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.point {
            Point::P256(_) => Algorithm::EcdsaP256,
            Point::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Checks a signature over `message`: strict ASN.1 DER for ECDSA, 64 bytes for Ed25519.
    ///
    /// # Errors
    /// Refuses everything that is not a signature of this key over these bytes; there is no other
    /// error, and no way round it.
    pub fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match &self.point {
            Point::P256(key) => {
                let signature =
                    p256::ecdsa::Signature::from_der(signature).map_err(|_| BadSignature)?;
                key.verify(message, &signature).map_err(|_| BadSignature)
            }
            Point::Ed25519(key) => {
                let signature =
                    ed25519_dalek::Signature::from_slice(signature).map_err(|_| BadSignature)?;
                key.verify_strict(message, &signature).map_err(|_| BadSignature)
            }
        }
    }
}

impl KeyId {
    /// Returns the form that stands in a bundle: base64 of the digest, with padding.
    pub fn hint(&self) -> String {
        BASE64_STANDARD.encode(self.0.as_bytes())
    }

    /// Returns the 64 hex digits: a name for files.
    pub fn hex(&self) -> String {
        self.0.hex()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SHA256:{}", self.hint())
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<KeyId, KeyError> {
        let raw = text
            .strip_prefix("SHA256:")
            .and_then(|hint| BASE64_STANDARD.decode(hint).ok())
            .ok_or(KeyError::Fingerprint)?;
        let raw: [u8; 32] = raw.try_into().map_err(|_| KeyError::Fingerprint)?;
        Ok(KeyId(Digest::from_bytes(raw)))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicKey({})", self.id())
    }
}
