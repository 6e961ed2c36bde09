//! A forger: holds keys of its own and signs whatever it is given.

use attestor::builder::BuilderConfig;
use attestor::dsse::{PAYLOAD_TYPE, pae};
use attestor::public_key::PublicKey;
use attestor::statement::derive;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};

use crate::support::record;

/// A key that signs whatever it is given.
pub enum Forger {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

impl Forger {
    pub fn p256(seed: u8) -> Forger {
        Forger::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub fn ed25519(seed: u8) -> Forger {
        Forger::Ed25519(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
    }

    pub fn public(&self) -> PublicKey {
        let pem = match self {
            Forger::P256(key) => {
                p256::PublicKey::from(*key.verifying_key()).to_public_key_pem(LineEnding::LF)
            }
            Forger::Ed25519(key) => key.verifying_key().to_public_key_pem(LineEnding::LF),
        };
        PublicKey::from_pem(&pem.unwrap()).unwrap()
    }

    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Forger::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(bytes);
                signature.as_bytes().to_vec()
            }
            Forger::Ed25519(key) => key.sign(bytes).to_bytes().to_vec(),
        }
    }

    /// A bundle around a payload, as it would be if this key were kiln's.
    pub fn bundle(&self, payload_type: &str, payload: &[u8]) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": self.public().id().hint()}},
            "dsseEnvelope": self.envelope(payload_type, payload),
        })
    }

    pub fn envelope(&self, payload_type: &str, payload: &[u8]) -> Value {
        json!({
            "payload": BASE64_STANDARD.encode(payload),
            "payloadType": payload_type,
            "signatures": [{"sig": BASE64_STANDARD.encode(self.sign(&pae(payload_type, payload)))}],
        })
    }
}

pub fn statement() -> Value {
    let derived = derive(&record(), &BuilderConfig::local()).unwrap();
    serde_json::from_slice(&derived.statement_bytes).unwrap()
}

/// The core guarantees, each kept: the least that a statement has to say was enforced.
pub fn core() -> Value {
    let kept = |name| json!({"guarantee": name, "mechanism": "some"});
    json!(["files", "network", "processes", "identity", "syscalls"].map(kept))
}

pub fn good_bundle(forger: &Forger) -> String {
    forger.bundle(PAYLOAD_TYPE, statement().to_string().as_bytes()).to_string()
}
