//! The file `STEP.KEYID.link`: a signed link as verifiers of layouts want it.
//!
//! Pure. Source: in-toto specification 0.9, 4.4; ITE-5.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::Digest;
use serde_json::json;

use super::key_id;
use crate::dsse::{self, Envelope, EnvelopeError};
use crate::public_key::PublicKey;
use crate::strict_json::{self, Caps};

/// Caps of a link as kiln writes one.
const CAPS: Caps = Caps { bytes: dsse::ENVELOPE_BYTES_MAX, depth: 16, values: 1 << 20 };

/// Returns the name of the file that holds a step's link by this key.
pub fn file_name(step: &str, key: &PublicKey) -> String {
    super::file_name(step, &key_id(key).unwrap_or_default())
}

/// Returns the file `STEP.KEYID.link` of a signed link: the same envelope, whose signature names its key,
/// as verifiers of layouts want it. The name is not signed, here as elsewhere.
///
/// # Errors
/// A line that is no envelope.
pub fn file(line: &str, key: &PublicKey) -> Result<String, EnvelopeError> {
    let shape = |error| EnvelopeError::Json(error);
    let value = strict_json::parse(line.as_bytes(), &CAPS).map_err(shape)?;
    let envelope = Envelope::from_value(value)?;
    let id = key_id(key).unwrap_or_default();
    let file = json!({
        "payload": BASE64_STANDARD.encode(envelope.unverified_payload()),
        "payloadType": envelope.payload_type(),
        "signatures": [{"keyid": id, "sig": BASE64_STANDARD.encode(envelope.signature())}],
    });
    Ok(format!("{file}\n"))
}

/// Says whether a file is a link by this key with a product of this name and digest. It is no trust
/// decision.
pub fn speaks(bytes: &[u8], key: &PublicKey, name: &str, digest: &Digest) -> bool {
    let read = |bytes: &[u8]| strict_json::parse(bytes, &CAPS).ok();
    let envelope = read(bytes).and_then(|value| Envelope::from_value(value).ok());
    envelope.is_some_and(|envelope| {
        let signed = key.check(&envelope.signed_bytes(), envelope.signature()).is_ok();
        let link = read(envelope.unverified_payload()).unwrap_or_default();
        let product = link.get("products").and_then(|all| all.get(name)?.get("sha256")?.as_str());
        signed && link.get("_type") == Some(&json!("link")) && product == Some(&*digest.hex())
    })
}
