//! The two files beside an artifact: `X.sigstore.json`, a Sigstore bundle v0.3, and
//! `X.intoto.jsonl`, bare envelopes a line each. Both hold the same envelope.
//!
//! ```text
//! X.sigstore.json   {"mediaType": …, "verificationMaterial": {"publicKey": {"hint": …}}, "dsseEnvelope": …}
//! X.intoto.jsonl    {"payload": …, "payloadType": …, "signatures": [{"keyid": "", "sig": …}]}
//! ```
//!
//! The line rule: every line that is not empty is one envelope or one bundle, as `gh attestation download`
//! writes those; one bad line refuses the whole file. Each envelope is judged alone.
//!
//! Of a bundle only the envelope is believed, and only after its signature holds. The hint says
//! which key to try first and nothing else. Certificates, log entries and timestamps are not read
//! here: a bundle that has some keeps its bytes, and [`crate::sigstore`] reads those.
//!
//! Source: Sigstore protobuf-specs, `sigstore_bundle.proto`; in-toto attestation, spec/v1/bundle.md.

use model::text::escape;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claims;
use crate::dsse::{self, Envelope, EnvelopeError};
use crate::public_key::KeyId;
use crate::strict_json::{self, JsonError};

/// The media type that is written.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The older spelling of the same version, read as well.
const BUNDLE_MEDIA_TYPE_OLD: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// Most envelopes in one line file: what verifiers allow of log entries.
pub const LINES_MAX: usize = 32;
/// The formats that are read, in words.
const FORMATS: &str = "a Sigstore bundle (mediaType, verificationMaterial, dsseEnvelope) or a DSSE envelope (payload, \
                       payloadType, signatures): one, or one a line";
/// Members by which a document is evidence, however it is spoilt.
const MARKS: [&str; 4] = ["dsseEnvelope", "payload", "payloadType", "verificationMaterial"];
/// Most members that a message names.
const NAMED_MAX: usize = 4;

/// One envelope as it was found, and what stood around it. Nothing of it is checked.
#[derive(Clone, Debug)]
pub struct Attestation {
    /// The envelope.
    pub envelope: Envelope,
    /// Which key to try first, where a bundle says so. Unsigned.
    pub(crate) hint: Option<String>,
    /// Whether a certificate names the signer, and no plain key does.
    pub(crate) certificate: bool,
    /// The bundle's bytes, where something in it is for [`crate::sigstore`] to read.
    pub(crate) whole: Option<Vec<u8>>,
    logged: bool,
}

/// Why a file is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// No bytes, or only white space.
    #[error("the file is empty")]
    Empty,
    /// Not JSON of a bundle's or an envelope's shape.
    #[error("the file is neither a bundle nor an envelope, nor lines of them")]
    Json(#[source] JsonError),
    /// JSON that is something else.
    #[error("line {line} holds neither a bundle nor an envelope")]
    Other {
        /// The line, from 1; a single document counts as one.
        line: usize,
        /// What it holds, escaped.
        got: String,
    },
    /// A line of several that is no evidence.
    #[error("line {line} is refused")]
    Line {
        /// The line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: Box<EvidenceError>,
    },
    /// A bundle of another version.
    #[error("the bundle's media type is `{got}`, not `{BUNDLE_MEDIA_TYPE}`")]
    MediaType {
        /// What it says, escaped.
        got: String,
    },
    /// A bundle whose signer is neither a plain key nor one certificate.
    #[error("the bundle names neither one public key nor one certificate as its signer")]
    Material,
    /// The envelope is bad; in a line file, with its line.
    #[error("the envelope in line {line} is refused")]
    Envelope {
        /// The line, from 1; a bundle counts as one.
        line: usize,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
    /// More envelopes than [`LINES_MAX`].
    #[error("the file has more than {LINES_MAX} lines")]
    Lines,
}

impl EvidenceError {
    /// Returns what was expected and what was got, where two values were compared.
    pub fn compared(&self) -> Option<(String, String)> {
        let pair = |expected: &str, got: &str| Some((expected.to_owned(), got.to_owned()));
        match self {
            EvidenceError::Empty => pair(FORMATS, "no bytes"),
            EvidenceError::Json(error) => pair(FORMATS, &format!("a file that {error}")),
            EvidenceError::Other { got, .. } => pair(FORMATS, got),
            EvidenceError::MediaType { got } => pair(BUNDLE_MEDIA_TYPE, got),
            EvidenceError::Material => pair(
                "one of the members publicKey and certificate",
                "both, none, or a chain of certificates",
            ),
            EvidenceError::Envelope { source, .. } => {
                let members = "payload, payloadType and signatures with exactly one";
                pair(&format!("an envelope with {members}"), &source.to_string())
            }
            EvidenceError::Lines => {
                pair(&format!("at most {LINES_MAX} lines"), &format!("more than {LINES_MAX}"))
            }
            EvidenceError::Line { source, .. } => source.compared(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BundleOut {
    media_type: &'static str,
    verification_material: MaterialOut,
    dsse_envelope: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MaterialOut {
    public_key: HintOut,
}

#[derive(Serialize)]
struct HintOut {
    hint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BundleIn {
    media_type: String,
    verification_material: MaterialIn,
    dsse_envelope: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MaterialIn {
    public_key: Option<HintIn>,
    certificate: Option<Value>,
    x509_certificate_chain: Option<Value>,
    #[serde(default)]
    tlog_entries: Vec<Value>,
    #[serde(rename = "timestampVerificationData")]
    timestamps: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HintIn {
    #[serde(default)]
    hint: String,
}

impl Attestation {
    /// Says whether the bundle carries a log entry. A check with a plain key does not read it.
    pub fn has_log_entry(&self) -> bool {
        self.logged
    }

    /// Returns the predicate type that the payload claims. Nothing is checked.
    pub fn claimed_type(&self) -> Option<String> {
        self.claimed("predicateType")
    }

    /// Says whether the payload claims to be a classic link. Nothing is checked.
    pub fn claims_link(&self) -> bool {
        self.claimed("_type").as_deref() == Some("link")
    }

    fn claimed(&self, member: &str) -> Option<String> {
        let payload = self.envelope.unverified_payload();
        let read: serde_json::Value = serde_json::from_slice(payload).ok()?;
        read.get(member)?.as_str().map(str::to_owned)
    }

    /// Says whether the payload claims to be a statement of this predicate type. Nothing is checked.
    pub fn claims_type(&self, predicate_type: &'static str) -> bool {
        claims::read_subjects(self.envelope.unverified_payload(), predicate_type).is_ok()
    }
}

/// Returns the content of `X.sigstore.json`. Its envelope has no key id, so no reader can find it
/// different from the hint.
///
/// # Errors
/// None in practice: the members are texts.
pub fn to_bundle(envelope: &Envelope, key: &KeyId) -> Result<String, serde_json::Error> {
    let bundle = BundleOut {
        media_type: BUNDLE_MEDIA_TYPE,
        verification_material: MaterialOut { public_key: HintOut { hint: key.hint() } },
        dsse_envelope: envelope.to_bundle_value()?,
    };
    let mut text = serde_json::to_string(&bundle)?;
    text.push('\n');
    Ok(text)
}

/// Reads either file. Tells them apart by their content, not by their name.
///
/// # Errors
/// Refuses an empty file, any envelope that is not ours, a bundle with neither one plain key nor one
/// certificate, two documents in one line, and more than [`LINES_MAX`] lines.
pub fn read(bytes: &[u8]) -> Result<Vec<Attestation>, EvidenceError> {
    if bytes.trim_ascii().is_empty() {
        return Err(EvidenceError::Empty);
    }
    let whole = match strict_json::parse(bytes, &dsse::CAPS) {
        Ok(value) => value,
        Err(error) => return read_lines(bytes, error),
    };
    document(whole, bytes, 1).map(|attestation| vec![attestation])
}

/// Says whether bytes claim to be evidence, well formed or not: then they are refused and not passed over, if
/// they are none.
pub fn claims_to_be(bytes: &[u8]) -> bool {
    let is_marked = |value: &Value| MARKS.iter().any(|mark| value.get(mark).is_some());
    if let Ok(value) = strict_json::parse(bytes, &dsse::CAPS) {
        return is_marked(&value);
    }
    // No strict JSON: such a text tells by its letters.
    let holds = |mark: &&str| {
        let quoted = format!("\"{mark}\"");
        bytes.windows(quoted.len()).any(|window| window == quoted.as_bytes())
    };
    ["dsseEnvelope", "payloadType"].iter().any(holds)
}

/// Reads one document: a bundle or an envelope.
fn document(whole: Value, bytes: &[u8], line: usize) -> Result<Attestation, EvidenceError> {
    strict_json::exact(&whole).map_err(EvidenceError::Json)?;
    let has = |member: &str| whole.get(member).is_some();
    if has("dsseEnvelope") || has("verificationMaterial") {
        return read_bundle(whole, bytes, line);
    }
    if has("payload") || has("payloadType") {
        return bare(whole, line);
    }
    Err(EvidenceError::Other { line, got: described(&whole) })
}

/// Says what a document is that is no evidence, as far as its members tell; escaped.
fn described(value: &Value) -> String {
    let members = match value {
        Value::Object(members) => members,
        Value::Array(items) => return format!("a list of {} values", items.len()),
        Value::String(_) => return "a text".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => return "a single value".to_owned(),
    };
    let has = |name: &str| members.contains_key(name);
    if has("attestations") {
        return "an answer of GitHub's API; the bundles in its `attestations` are read, one a line, as gh attestation \
                download writes them"
            .to_owned();
    }
    if has("_type") {
        return "a statement without an envelope, which nobody signed".to_owned();
    }
    if has("signed") && has("signatures") {
        return "classic metadata of in-toto or TUF".to_owned();
    }
    if has("messageSignature") {
        return "a bundle over a file's own bytes, which states nothing".to_owned();
    }
    let names: Vec<&str> = members.keys().take(NAMED_MAX).map(String::as_str).collect();
    let more = if members.len() > NAMED_MAX { " and others" } else { "" };
    match names.as_slice() {
        [] => "an object without members".to_owned(),
        names => format!("an object with {}{more}", escape(names.join(", ").as_bytes())),
    }
}

fn read_bundle(whole: Value, bytes: &[u8], line: usize) -> Result<Attestation, EvidenceError> {
    if whole.get("messageSignature").is_some() && whole.get("dsseEnvelope").is_none() {
        return Err(EvidenceError::Other { line, got: described(&whole) });
    }
    let wire: BundleIn = serde_json::from_value(whole)
        .map_err(|error| EvidenceError::Json(JsonError::Shape(error)))?;
    if wire.media_type != BUNDLE_MEDIA_TYPE && wire.media_type != BUNDLE_MEDIA_TYPE_OLD {
        return Err(EvidenceError::MediaType { got: escape(wire.media_type.as_bytes()) });
    }
    let material = wire.verification_material;
    if material.x509_certificate_chain.is_some() {
        return Err(EvidenceError::Material);
    }
    let (hint, certificate) = match (material.public_key, material.certificate) {
        (Some(key), None) => (Some(key.hint), false),
        (None, Some(_)) => (None, true),
        (None, None) | (Some(_), Some(_)) => return Err(EvidenceError::Material),
    };
    let mut attestation = bare(wire.dsse_envelope, line)?;
    let logged = !material.tlog_entries.is_empty();
    let vouched = certificate || logged || material.timestamps.is_some();
    attestation.whole = vouched.then(|| bytes.to_vec());
    attestation.hint = hint;
    attestation.certificate = certificate;
    attestation.logged = logged;
    Ok(attestation)
}

/// Reads a line file; `error` is why the file is not one document.
fn read_lines(bytes: &[u8], error: JsonError) -> Result<Vec<Attestation>, EvidenceError> {
    let is_full = |(_, line): &(usize, &[u8])| !line.trim_ascii().is_empty();
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(is_full);
    let count = lines.clone().take(LINES_MAX + 1).count();
    if count < 2 || matches!(error, JsonError::TooLarge { .. }) {
        return Err(EvidenceError::Json(error));
    }
    if count > LINES_MAX {
        return Err(EvidenceError::Lines);
    }
    lines
        .map(|(index, line)| {
            let at = index + 1;
            let read = strict_json::parse(line, &dsse::CAPS).map_err(EvidenceError::Json);
            read.and_then(|value| document(value, line, at)).map_err(|error| match error {
                // These say the line themselves.
                EvidenceError::Envelope { .. } | EvidenceError::Other { .. } => error,
                other => EvidenceError::Line { line: at, source: Box::new(other) },
            })
        })
        .collect()
}

fn bare(value: Value, line: usize) -> Result<Attestation, EvidenceError> {
    let envelope =
        Envelope::from_value(value).map_err(|source| EvidenceError::Envelope { line, source })?;
    Ok(Attestation { envelope, hint: None, certificate: false, whole: None, logged: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public_key::KeyId;

    fn envelope() -> Envelope {
        Envelope::new(b"{}".to_vec(), vec![1, 2, 3])
    }

    fn bundle() -> String {
        let id: KeyId = format!("SHA256:{}=", "A".repeat(43)).parse().unwrap();
        to_bundle(&envelope(), &id).unwrap()
    }

    #[test]
    fn both_files_hold_the_same_envelope() {
        assert_eq!(
            bundle(),
            format!(
                "{{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\",\
                 \"verificationMaterial\":{{\"publicKey\":{{\"hint\":\"{}=\"}}}},\
                 \"dsseEnvelope\":{{\"payload\":\"e30=\",\
                 \"payloadType\":\"application/vnd.in-toto+json\",\
                 \"signatures\":[{{\"sig\":\"AQID\"}}]}}}}\n",
                "A".repeat(43)
            )
        );
        let line = envelope().to_line().unwrap();
        assert_eq!(read(bundle().as_bytes()).unwrap()[0].envelope, envelope());
        assert_eq!(read(line.as_bytes()).unwrap()[0].envelope, envelope());
        let three = read(format!("{line}\n{line}{line}").as_bytes()).unwrap();
        assert_eq!(three.len(), 3);
    }

    #[test]
    fn one_bad_line_refuses_the_file_and_so_does_a_second_document() {
        let line = envelope().to_line().unwrap();
        for text in [
            String::new(),
            " \n".into(),
            format!("{line}{{}}\n"),
            format!("{line}x"),
            format!("{}{}", bundle().trim(), bundle()),
            format!("{}{line}", bundle().trim()),
            format!("{}x", bundle()),
            bundle().repeat(LINES_MAX + 1),
            format!("[{}]", line.trim()),
            line.repeat(LINES_MAX + 1),
            "null".into(),
            "[]".into(),
            "{}".into(),
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:.60}");
        }
    }

    #[test]
    fn lines_may_be_bundles_and_envelopes() {
        let line = envelope().to_line().unwrap();
        let named = bundle().replace(&"A".repeat(43), &"B".repeat(43));
        let all = read(format!("{}\n{line}{named}", bundle()).as_bytes()).unwrap();
        let hints: Vec<_> = all.iter().map(|one| one.hint.as_deref()).collect();
        let [first, second] = ["A", "B"].map(|letter| format!("{}=", letter.repeat(43)));
        assert_eq!(hints, [Some(first.as_str()), None, Some(second.as_str())]);
        // Each keeps its own bytes, and none of another's.
        let logged = |name: &str| {
            bundle()
                .replace("\"publicKey\"", &format!("\"tlogEntries\":[\"{name}\"],\"publicKey\""))
        };
        let two = read(format!("{}{}", logged("x"), logged("y")).as_bytes()).unwrap();
        for (one, own) in two.iter().zip([logged("x"), logged("y")]) {
            assert_eq!(one.whole.as_deref(), Some(own.trim_end().as_bytes()));
        }
        let error = read(format!("{line}{}", bundle().replace("v0.3", "v0.4")).as_bytes());
        assert_eq!(error.unwrap_err().to_string(), "line 2 is refused");
    }

    #[test]
    fn what_is_no_evidence_is_told_by_what_it_is() {
        for (text, got) in [
            (r#"{"attestations":[]}"#, "GitHub"),
            (r#"{"_type":"https://in-toto.io/Statement/v1"}"#, "nobody signed"),
            (r#"{"signed":{},"signatures":[]}"#, "classic"),
            (r#"{"b":1,"a":2,"c":3,"d":4,"e":5}"#, "an object with a, b, c, d and others"),
            (r#"{"verificationMaterial":{},"messageSignature":{}}"#, "own bytes"),
            ("[1,2]", "a list of 2 values"),
            ("{}", "without members"),
        ] {
            let (expected, said) = read(text.as_bytes()).unwrap_err().compared().unwrap();
            assert!(expected.contains("DSSE envelope") && said.contains(got), "{text}: {said}");
            assert!(read(format!("{text}\n{text}").as_bytes()).is_err());
        }
        let line = envelope().to_line().unwrap();
        for text in [&line, &bundle(), "{\"payload\":1}", &format!("x{line}"), &line.repeat(3)] {
            assert!(claims_to_be(text.as_bytes()), "{text}");
        }
        for text in ["{\"bomFormat\":\"x\"}", "[]", "", "x", "{\"a\":{\"payload\":1}}"] {
            assert!(!claims_to_be(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_bundle_of_another_version_or_with_two_signers_is_refused() {
        let text = bundle();
        for (from, to) in [
            ("v0.3+json", "v0.4+json"),
            ("\"publicKey\":{", "\"certificate\":{\"rawBytes\":\"AA==\"},\"publicKey\":{"),
            ("\"publicKey\":{\"hint\"", "\"x509CertificateChain\":{\"rawBytes\""),
            ("\"publicKey\":", "\"tlogEntries\":[],\"none\":"),
            ("\"mediaType\"", "\"mediaType\":\"x\",\"mediaType\""),
            ("\"dsseEnvelope\"", "\"messageSignature\":{},\"dsseEnvelope\""),
            ("[{\"sig\":\"AQID\"}]", "[{\"sig\":\"AQID\"},{\"sig\":\"AQID\"}]"),
            ("\"payload\":\"e30=\"", "\"payload\":\"e30=\",\"payload\":\"e30=\""),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            assert!(read(changed.as_bytes()).is_err(), "{to}");
        }
    }
}
