//! Classic in-toto metadata: links that kiln writes, and layouts that it checks by its own rules.
//!
//! | File | Does |
//! |---|---|
//! | `canonical.rs` | the canonical JSON that key ids are made of |
//! | `derive.rs` | from a Record to a link, by the `in-toto` crate |
//! | `classic.rs` | the file of a signed link |
//! | `metadata.rs` | reads layouts and links, signatures over the original bytes |
//! | `rules.rs`, `glob.rs` | artifact rules and their patterns |
//! | `layout.rs` | the decision |
//!
//! A link is no statement: its payload has no `predicateType`, so that no reader of statements takes it
//! for one, though its payload type is the same.

pub(crate) mod canonical;
pub mod classic;
#[cfg(feature = "classic-links")]
pub(crate) mod derive;
mod glob;
pub mod layout;
pub mod metadata;
pub mod rules;

use model::Digest;
use serde_json::{Value, json};

use crate::public_key::{KeyError, PublicKey};

/// Returns the key's name in in-toto metadata: SHA-256 of the canonical JSON of the key, in hex. It is
/// not the name that kiln and Sigstore use.
///
/// # Errors
/// None in practice: the key was read.
pub fn key_id(key: &PublicKey) -> Result<String, KeyError> {
    let (kind, scheme, public) = match key.ed25519_hex() {
        Some(hex) => ("ed25519", "ed25519", hex),
        None => ("ecdsa", "ecdsa-sha2-nistp256", key.to_pem()?),
    };
    let key: Value = json!({"keytype": kind, "scheme": scheme, "keyval": {"public": public}});
    let bytes = canonical::encode(&key).map_err(|_| KeyError::Public)?;
    Ok(Digest::of(&bytes).hex())
}

/// Returns the name of the file that holds a step's link by this key.
pub fn file_name(step: &str, key_id: &str) -> String {
    format!("{step}.{}.link", key_id.get(..8).unwrap_or(key_id))
}
