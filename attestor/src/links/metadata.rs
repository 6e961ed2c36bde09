//! Reading layouts and links of in-toto: signatures over the original bytes, then what they say.
//!
//! Both envelopes are read: DSSE, whose signature is over the payload's bytes as they stand, and the
//! older Metablock, whose signature is over the canonical JSON of `signed`, with every member that
//! stands there. Strict JSON, so nobody reads another member than was signed.
//!
//! Pure. Source: in-toto specification 0.9, 4.2 to 4.4; ITE-5.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::canonical;
use crate::dsse;
use crate::public_key::PublicKey;
use crate::strict_json::{self, Caps, JsonError};

/// Caps of a layout or link.
const CAPS: Caps = Caps { bytes: dsse::ENVELOPE_BYTES_MAX, depth: 32, values: 1 << 20 };
/// Most signatures of one file.
const SIGNATURES_MAX: usize = 64;

/// Why a file is no metadata of in-toto.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// No strict JSON of this shape.
    #[error("the file")]
    Json(#[from] JsonError),
    /// A signature or payload in no encoding that is read, or too many of them.
    #[error("`{member}` can not be read")]
    Member {
        /// Which member.
        member: &'static str,
    },
    /// Another kind of metadata.
    #[error("it is `{got}`, not `{expected}`")]
    Kind {
        /// What it should be.
        expected: &'static str,
        /// What it is, escaped.
        got: String,
    },
}

/// A file whose signatures have not been checked yet.
pub(super) struct Unchecked {
    signed_bytes: Vec<u8>,
    signatures: Vec<(String, Vec<u8>)>,
    content: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DsseIn {
    payload: String,
    payload_type: String,
    signatures: Vec<SignatureIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetablockIn {
    signed: Value,
    signatures: Vec<SignatureIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureIn {
    keyid: String,
    sig: String,
}

/// A layout.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layout {
    #[serde(rename = "_type")]
    _kind: String,
    pub(super) expires: String,
    #[serde(rename = "readme", default)]
    _readme: String,
    pub(super) keys: BTreeMap<String, Value>,
    pub(super) steps: Vec<Step>,
    pub(super) inspect: Vec<Value>,
}

/// A step of a layout.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    #[serde(rename = "_type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) threshold: u32,
    pub(super) pubkeys: Vec<String>,
    pub(super) expected_materials: Vec<Vec<String>>,
    pub(super) expected_products: Vec<Vec<String>>,
    #[serde(rename = "expected_command", default)]
    _expected_command: Vec<String>,
}

/// Path to the digests of its content.
pub(super) type Artifacts = BTreeMap<String, BTreeMap<String, String>>;

/// A link.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    #[serde(rename = "_type")]
    _kind: String,
    pub(super) name: String,
    pub(super) materials: Artifacts,
    pub(super) products: Artifacts,
    #[serde(rename = "command")]
    _command: Vec<String>,
    #[serde(rename = "byproducts")]
    _byproducts: BTreeMap<String, Value>,
    #[serde(rename = "environment")]
    _environment: BTreeMap<String, Value>,
}

impl Unchecked {
    pub(super) fn read(bytes: &[u8]) -> Result<Unchecked, MetadataError> {
        let value = strict_json::parse(bytes, &CAPS)?;
        let shape = |error| MetadataError::Json(JsonError::Shape(error));
        let member = |member| MetadataError::Member { member };
        let read = if value.get("payload").is_some() {
            let wire: DsseIn = serde_json::from_value(value).map_err(shape)?;
            if wire.payload_type != dsse::PAYLOAD_TYPE {
                return Err(member("payloadType"));
            }
            let payload = BASE64_STANDARD.decode(&wire.payload).map_err(|_| member("payload"))?;
            let decode = |one: SignatureIn| {
                let bytes = BASE64_STANDARD.decode(&one.sig).map_err(|_| member("sig"))?;
                Ok::<_, MetadataError>((one.keyid, bytes))
            };
            let signatures = wire.signatures.into_iter().map(decode).collect::<Result<_, _>>()?;
            let content = strict_json::parse(&payload, &CAPS)?;
            Unchecked { signed_bytes: dsse::pae(dsse::PAYLOAD_TYPE, &payload), signatures, content }
        } else {
            let wire: MetablockIn = serde_json::from_value(value).map_err(shape)?;
            let decode = |one: SignatureIn| {
                let bytes = hex(&one.sig).ok_or_else(|| member("sig"))?;
                Ok::<_, MetadataError>((one.keyid, bytes))
            };
            let signatures = wire.signatures.into_iter().map(decode).collect::<Result<_, _>>()?;
            let signed_bytes = canonical::encode(&wire.signed).map_err(|_| member("signed"))?;
            Unchecked { signed_bytes, signatures, content: wire.signed }
        };
        let mut ids = BTreeSet::new();
        let distinct = read.signatures.iter().all(|(id, _)| ids.insert(id));
        if !distinct || read.signatures.len() > SIGNATURES_MAX {
            return Err(member("signatures"));
        }
        Ok(read)
    }

    /// Says whether `key` signed this under the name `key_id`.
    pub(super) fn is_signed(&self, key: &PublicKey, key_id: &str) -> bool {
        let named = self.signatures.iter().find(|(id, _)| id == key_id);
        named.is_some_and(|(_, signature)| key.check(&self.signed_bytes, signature).is_ok())
    }

    /// Reads what was signed.
    pub(super) fn content<T: serde::de::DeserializeOwned>(
        self,
        kind: &'static str,
    ) -> Result<T, MetadataError> {
        match self.content.get("_type").and_then(Value::as_str) {
            Some(got) if got == kind => serde_json::from_value(self.content)
                .map_err(|error| MetadataError::Json(JsonError::Shape(error))),
            other => Err(MetadataError::Kind {
                expected: kind,
                got: model::text::escape(other.unwrap_or_default().as_bytes()),
            }),
        }
    }
}

/// Reads hex digits, two a byte.
fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?))
        .collect()
}
