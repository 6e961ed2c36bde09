//! The members of a bundle, by name: one that is not known is refused.
//!
//! The crates pass over a member that they do not know. A member whose name was changed would be passed
//! over so too, and with it the check that it was there for.
//!
//! Spec: protobuf-specs, `sigstore_bundle.proto`, `sigstore_rekor.proto`, `sigstore_common.proto`.

use serde_json::Value;

/// What a member holds.
enum Shape {
    /// A text, or bytes as one.
    Text,
    /// A whole number, as one or as a text, in the one form that it has.
    Number,
    List(&'static Shape),
    /// Members by name. Of those that are marked, one at most.
    Object(&'static [(&'static str, bool, Shape)]),
}

use Shape::{List, Number, Object, Text};

const CERTIFICATE: Shape = Object(&[("rawBytes", false, Text)]);

const PROOF: Shape = Object(&[
    ("logIndex", false, Number),
    ("rootHash", false, Text),
    ("treeSize", false, Number),
    ("hashes", false, List(&Text)),
    ("checkpoint", false, Object(&[("envelope", false, Text)])),
]);

const ENTRY: Shape = Object(&[
    ("logIndex", false, Number),
    ("logId", false, Object(&[("keyId", false, Text)])),
    ("kindVersion", false, Object(&[("kind", false, Text), ("version", false, Text)])),
    ("integratedTime", false, Number),
    ("inclusionPromise", false, Object(&[("signedEntryTimestamp", false, Text)])),
    ("inclusionProof", false, PROOF),
    ("canonicalizedBody", false, Text),
]);

const STAMP: Shape = Object(&[("signedTimestamp", false, Text)]);

const MATERIAL: Shape = Object(&[
    ("publicKey", true, Object(&[("hint", false, Text)])),
    ("x509CertificateChain", true, Object(&[("certificates", false, List(&CERTIFICATE))])),
    ("certificate", true, CERTIFICATE),
    ("tlogEntries", false, List(&ENTRY)),
    ("timestampVerificationData", false, Object(&[("rfc3161Timestamps", false, List(&STAMP))])),
]);

const ENVELOPE: Shape = Object(&[
    ("payload", false, Text),
    ("payloadType", false, Text),
    ("signatures", false, List(&Object(&[("sig", false, Text), ("keyid", false, Text)]))),
]);

const MESSAGE: Shape = Object(&[
    ("messageDigest", false, Object(&[("algorithm", false, Text), ("digest", false, Text)])),
    ("signature", false, Text),
]);

const BUNDLE: Shape = Object(&[
    ("mediaType", false, Text),
    ("verificationMaterial", false, MATERIAL),
    ("messageSignature", true, MESSAGE),
    ("dsseEnvelope", true, ENVELOPE),
]);

/// Decides whether a bundle has members that are known, each of its kind, and says which is not.
pub(super) fn check(bundle: &Value) -> Result<(), String> {
    below(bundle, &BUNDLE, "the bundle")
}

fn below(value: &Value, shape: &Shape, name: &str) -> Result<(), String> {
    match (shape, value) {
        // As if it was not there.
        (_, Value::Null) | (Text, Value::String(_)) => Ok(()),
        (Number, Value::Number(number)) if number.is_u64() => Ok(()),
        (Number, Value::String(text)) if is_plain(text) => Ok(()),
        (List(each), Value::Array(list)) => list.iter().try_for_each(|one| below(one, each, name)),
        (Object(known), Value::Object(members)) => {
            let one_of = known.iter().filter(|(name, one_of, _)| {
                *one_of && members.get(*name).is_some_and(|value| !value.is_null())
            });
            if one_of.count() > 1 {
                return Err(format!("{name} has two members of which it can have one"));
            }
            members.iter().try_for_each(|(member, value)| {
                match known.iter().find(|(name, ..)| name == member) {
                    Some((name, _, shape)) => below(value, shape, name),
                    None => Err(format!("{name} has a member that is not known, `{member}`")),
                }
            })
        }
        _ => Err(format!("{name} is of another kind than it has to be")),
    }
}

/// Decides whether a number is written in the one way: digits, without a zero before them.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && !text.is_empty()
        && (text == "0" || !text.starts_with('0'))
}
