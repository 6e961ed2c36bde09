//! Private keys in memory: made from given random bytes, read from PKCS#8, wiped when dropped.
//!
//! Nothing here reads a file or the kernel's randomness, that is `process::keyring`'s. Nothing
//! outside this crate can name these types, and no public function returns what they hold.
//!
//! What it does not catch: copies that the kernel makes (a core dump, swap); `process` forbids the
//! first. Source: RFC 5958 (PKCS#8), RFC 5915, RFC 8410.

use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, LineEnding, ObjectIdentifier, PrivateKeyInfoRef,
    SecretDocument,
};
use zeroize::Zeroizing;

use crate::public_key::{Algorithm, KeyError, PublicKey};

/// Returns a key that everybody knows: what it signs is nobody's.
pub(crate) fn known() -> Option<PrivateKey> {
    PrivateKey::from_random(Algorithm::EcdsaP256, &Zeroizing::new([1; 32]))
}

/// A private key. Both kinds wipe themselves when dropped.
pub(crate) enum PrivateKey {
    P256(p256::ecdsa::SigningKey),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl PrivateKey {
    /// Returns the key that these 32 random bytes name, or none if they name no P-256 key, which
    /// happens once in 2^32: then draw again.
    pub(crate) fn from_random(
        algorithm: Algorithm,
        random: &Zeroizing<[u8; 32]>,
    ) -> Option<PrivateKey> {
        match algorithm {
            Algorithm::EcdsaP256 => {
                p256::ecdsa::SigningKey::from_slice(random.as_slice()).ok().map(PrivateKey::P256)
            }
            Algorithm::Ed25519 => {
                Some(PrivateKey::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(random))))
            }
        }
    }

    /// Reads `BEGIN PRIVATE KEY`.
    pub(crate) fn from_pem(pem: &str) -> Result<PrivateKey, KeyError> {
        let pem = pem.trim();
        if let Ok(key) = p256::SecretKey::from_pkcs8_pem(pem) {
            return Ok(PrivateKey::P256(key.into()));
        }
        match ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
            Ok(key) => Ok(PrivateKey::Ed25519(Box::new(key))),
            Err(_) => Err(what_it_is(pem)),
        }
    }

    /// Returns `BEGIN PRIVATE KEY`. Version 1 of PKCS#8 for both kinds, since openssl 3.0 does not
    /// read version 2.
    pub(crate) fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        match self {
            PrivateKey::P256(key) => p256::SecretKey::from(key).to_pkcs8_pem(LineEnding::LF),
            PrivateKey::Ed25519(key) => {
                ed25519_dalek::pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None }
                    .to_pkcs8_pem(LineEnding::LF)
            }
        }
        .map_err(|_| KeyError::Private)
    }

    /// Returns the public half.
    pub(crate) fn public(&self) -> Result<PublicKey, KeyError> {
        match self {
            PrivateKey::P256(key) => PublicKey::from_p256(key.verifying_key()),
            PrivateKey::Ed25519(key) => PublicKey::from_ed25519(&key.verifying_key()),
        }
    }

    /// Signs `message`: ASN.1 DER for ECDSA (deterministic, RFC 6979), 64 bytes for Ed25519.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            PrivateKey::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
            PrivateKey::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        }
    }
}

/// Says what a text is that is none of our keys, as far as its labels and its algorithm tell.
fn what_it_is(pem: &str) -> KeyError {
    /// `rsaEncryption`, RFC 8017.
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    /// `id-ecPublicKey`, RFC 5480.
    const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    let is = |label: &str| pem.contains(&format!("-----BEGIN {label}-----"));
    if is("RSA PRIVATE KEY") {
        return KeyError::Rsa;
    }
    if is("ENCRYPTED PRIVATE KEY") || pem.contains("\nProc-Type: 4,ENCRYPTED") {
        return KeyError::Encrypted;
    }
    if is("EC PRIVATE KEY") {
        return KeyError::Sec1;
    }
    if is("OPENSSH PRIVATE KEY") {
        return KeyError::OpenSsh;
    }
    // What was decoded is wiped when dropped.
    let Ok((_, document)) = SecretDocument::from_pem(pem) else { return KeyError::Private };
    match document.decode_msg::<PrivateKeyInfoRef<'_>>().map(|info| info.algorithm.oid) {
        Ok(RSA) => KeyError::Rsa,
        Ok(EC) => KeyError::OtherCurve,
        Ok(_) => KeyError::OtherKind,
        Err(_) => KeyError::Private,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: Algorithm, seed: u8) -> PrivateKey {
        PrivateKey::from_random(algorithm, &Zeroizing::new([seed; 32])).unwrap()
    }

    #[test]
    fn keys_go_round_through_pem_and_sign_the_same() {
        for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
            let first = key(algorithm, 7);
            let pem = first.to_pem().unwrap();
            assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
            let again = PrivateKey::from_pem(&pem).unwrap();
            let public = first.public().unwrap();
            assert_eq!(public.algorithm(), algorithm);
            assert_eq!(again.sign(b"x"), first.sign(b"x"));
            assert_eq!(public.check(b"x", &again.sign(b"x")), Ok(()));
            assert_eq!(PublicKey::from_pem(&public.to_pem().unwrap()).unwrap(), public);
            assert_eq!(
                public.id().to_string().parse::<crate::public_key::KeyId>().unwrap(),
                public.id()
            );
        }
    }

    #[test]
    fn no_key_takes_a_signature_of_the_other_algorithm_or_of_another_form() {
        let p256 = key(Algorithm::EcdsaP256, 1);
        let ed25519 = key(Algorithm::Ed25519, 1);
        let (der, raw) = (p256.sign(b"m"), ed25519.sign(b"m"));
        let p256_raw = p256::ecdsa::Signature::from_der(&der).unwrap().to_bytes().to_vec();
        for (key, signature) in [
            (&p256, raw.clone()),
            (&ed25519, der.clone()),
            (&p256, p256_raw),
            (&p256, vec![]),
            (&ed25519, vec![]),
            (&ed25519, vec![0; 64]),
            (&p256, [der.as_slice(), &[0]].concat()),
            (&p256, vec![0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00]),
            (&ed25519, [raw.as_slice(), &[0]].concat()),
        ] {
            assert!(key.public().unwrap().check(b"m", &signature).is_err(), "{signature:?}");
        }
        assert!(key(Algorithm::EcdsaP256, 2).public().unwrap().check(b"m", &der).is_err());
    }

    #[test]
    fn other_pem_is_no_key() {
        let public = key(Algorithm::EcdsaP256, 3).public().unwrap().to_pem().unwrap();
        assert!(PrivateKey::from_pem(&public).is_err());
        let private = key(Algorithm::EcdsaP256, 3).to_pem().unwrap();
        assert!(PublicKey::from_pem(&private).is_err());
        assert!(
            PrivateKey::from_random(Algorithm::EcdsaP256, &Zeroizing::new([0xff; 32])).is_none()
        );
        for text in ["", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", "x"] {
            assert!(PublicKey::from_pem(text).is_err() && PrivateKey::from_pem(text).is_err());
        }
    }
}
