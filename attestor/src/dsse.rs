//! DSSE: an [`Envelope`] with exactly one signature, and the encoding that is signed.
//!
//! The format allows many signatures and a key id. Both are left out on purpose: two signatures
//! invite counting one signer twice, and a key id is not signed, so nothing may rest on it. Here a
//! second signature is an error and a key id is read past.
//!
//! No bytes are serialised again: an envelope keeps the payload it was made from or read with, and
//! what is signed or checked is always [`Envelope::signed_bytes`] of those.
//!
//! Source: DSSE 1.0.2, protocol.md and envelope.md.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::strict_json::{Caps, JsonError};

/// The one payload type: an in-toto statement. It is part of the signed bytes.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Most bytes of one envelope or bundle, 32 MiB: twice the largest predicate a forge accepts.
pub const ENVELOPE_BYTES_MAX: usize = 32 << 20;

/// Caps of envelopes and bundles: they nest five deep and hold a handful of values.
pub(crate) const CAPS: Caps = Caps { bytes: ENVELOPE_BYTES_MAX, depth: 16, values: 4096 };

/// Reads the URL-safe alphabet, with or without padding.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A payload, its type, and one signature over both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Why something is no envelope of ours.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON of the envelope's shape.
    #[error("the envelope {0}")]
    Json(JsonError),
    /// Not exactly one signature.
    #[error("the envelope has {got} signatures, not one")]
    Signatures {
        /// How many it has.
        got: usize,
    },
    /// A signature of no bytes.
    #[error("the signature is empty")]
    EmptySignature,
    /// The payload is no base64.
    #[error("the payload is no base64")]
    Payload(#[source] base64::DecodeError),
    /// The signature is no base64.
    #[error("the signature is no base64")]
    Signature(#[source] base64::DecodeError),
}

/// The envelope as JSON, for writing. Member `keyid` is present and empty: some readers want it
/// there, and every reader takes an empty one for none.
#[derive(Serialize)]
struct WireOut<'a> {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: &'a str,
    signatures: [WireSignatureOut; 1],
}

#[derive(Serialize)]
struct WireSignatureOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    keyid: Option<&'static str>,
    sig: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireIn {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignatureIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignatureIn {
    sig: String,
    /// Unsigned, so read past.
    #[serde(rename = "keyid")]
    _keyid: Option<String>,
}

/// Returns the bytes that are signed: `DSSEv1`, type and payload, each with its length in bytes.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    let mut bytes = Vec::with_capacity(head.len() + payload.len());
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Returns the envelope of a statement and the signature over [`pae`] of it.
    pub(crate) fn new(payload: Vec<u8>, signature: Vec<u8>) -> Envelope {
        Envelope { payload_type: PAYLOAD_TYPE.to_owned(), payload, signature }
    }

    /// Reads an envelope from strictly parsed JSON.
    ///
    /// # Errors
    /// Refuses unknown members, any count of signatures but one, an empty signature, bad base64.
    pub(crate) fn from_value(value: Value) -> Result<Envelope, EnvelopeError> {
        let wire: WireIn = serde_json::from_value(value)
            .map_err(|error| EnvelopeError::Json(JsonError::Shape(error)))?;
        let [signature] = wire.signatures.as_slice() else {
            return Err(EnvelopeError::Signatures { got: wire.signatures.len() });
        };
        let signature = decode(&signature.sig).map_err(EnvelopeError::Signature)?;
        if signature.is_empty() {
            return Err(EnvelopeError::EmptySignature);
        }
        let payload = decode(&wire.payload).map_err(EnvelopeError::Payload)?;
        Ok(Envelope { payload_type: wire.payload_type, payload, signature })
    }

    /// Returns the payload type, which nobody has checked.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// Returns the payload, which nobody has checked.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the signature: ASN.1 DER for ECDSA, 64 bytes for Ed25519.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Returns the bytes that the signature is over.
    pub fn signed_bytes(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// Returns the envelope as one line of JSON with its newline: the content of `X.intoto.jsonl`.
    ///
    /// # Errors
    /// None in practice: the members are texts.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        let mut line = serde_json::to_string(&self.wire(Some("")))?;
        line.push('\n');
        Ok(line)
    }

    /// Returns the envelope as it stands in a bundle: without a key id.
    pub(crate) fn to_bundle_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self.wire(None))
    }

    fn wire(&self, keyid: Option<&'static str>) -> WireOut<'_> {
        WireOut {
            payload: BASE64_STANDARD.encode(&self.payload),
            payload_type: &self.payload_type,
            signatures: [WireSignatureOut { keyid, sig: BASE64_STANDARD.encode(&self.signature) }],
        }
    }
}

/// Reads base64 in the standard alphabet with its padding, and nothing else.
pub fn standard_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

/// Reads base64 in either alphabet, never in both at once: standard with its padding, URL-safe with
/// or without.
fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    if text.contains(['-', '_']) { URL_SAFE.decode(text) } else { BASE64_STANDARD.decode(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_bytes_are_those_of_the_protocol() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        // Lengths count bytes, not letters.
        assert_eq!(pae("é", "ü€".as_bytes()), "DSSEv1 2 é 5 ü€".as_bytes());
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn an_envelope_goes_round_with_its_empty_key_id() {
        let envelope = Envelope::new(b"{}".to_vec(), vec![0xfb, 0xff, 0xfe]);
        let line = envelope.to_line().unwrap();
        assert_eq!(
            line,
            "{\"payload\":\"e30=\",\"payloadType\":\"application/vnd.in-toto+json\",\
             \"signatures\":[{\"keyid\":\"\",\"sig\":\"+//+\"}]}\n"
        );
        let back = Envelope::from_value(serde_json::from_str(&line).unwrap()).unwrap();
        assert_eq!(back, envelope);
    }

    #[test]
    fn both_alphabets_are_read_but_never_mixed() {
        let with = |sig: &str| {
            Envelope::from_value(serde_json::json!({
                "payload": "e30=", "payloadType": PAYLOAD_TYPE, "signatures": [{"sig": sig}],
            }))
        };
        for good in ["+//+", "-__-", "+/8=", "-_8=", "-_8"] {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in ["+/_-", "+/8", "", "=", "+/9=", "a", "+//+\n", "+//+ "] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_count_of_signatures_but_one_is_refused() {
        let one = serde_json::json!({"sig": "AA=="});
        for (signatures, got) in [(vec![], 0), (vec![one.clone(), one], 2)] {
            let value = serde_json::json!({
                "payload": "e30=", "payloadType": PAYLOAD_TYPE, "signatures": signatures,
            });
            let error = Envelope::from_value(value).unwrap_err();
            assert!(matches!(error, EnvelopeError::Signatures { got: n } if n == got), "{error}");
        }
    }
}
