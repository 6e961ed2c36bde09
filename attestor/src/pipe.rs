//! What crosses the pipe between the build process and the attestor: one request, one answer.
//!
//! ```text
//! request   u32 length · u32 count of descriptors · JSON of [`Request`]   (descriptors by SCM_RIGHTS)
//! answer    u32 length · u32 zero                 · JSON of [`Answer`]
//! ```
//!
//! Both numbers are big-endian. The descriptors come with the header. A socket may carry several
//! requests, one after the other. No key, no builder.id and no statement is ever in a request.
//!
//! Pure: bytes to values and back; `client` and `process::channel` move them.

use model::Digest;
use model::digest::Blob;
use model::record::{Nonce, Order, RECORD_BYTES_MAX, Record, Subject};
use serde::{Deserialize, Serialize};

use crate::predicate::Further;
use crate::public_key::Algorithm;
use crate::strict_json::{self, Caps, JsonError};

/// Largest request, in bytes: a Record and what is around it.
pub const REQUEST_BYTES_MAX: usize = RECORD_BYTES_MAX + (1 << 20);
/// Largest answer, in bytes: bundle, line and dependency manifest, each within a JSON text.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Most descriptors of one request; the kernel takes 253 at once.
pub const DESCRIPTORS_MAX: usize = 64;
/// Most Orders that are asked about at once: a build of as many artifacts has as many requests, and a connection
/// carries no more.
pub const ORDERS_MAX: usize = 4096;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 8;
/// Largest predicate of `kiln attest`, in bytes.
pub const PREDICATE_BYTES_MAX: usize = 8 << 20;

/// Caps of a request by a user who builds, of several who share the attestor: a Record with a dozen thousand inputs,
/// and so little that all workers at once fit into memory.
pub(crate) const BUILD_CAPS: Caps = Caps { bytes: 4 << 20, depth: 32, values: 1 << 17 };
/// Caps of a request by another of those: the largest predicate, within a JSON text, has all its bytes in one value.
pub(crate) const SHARED_CAPS: Caps = Caps { bytes: 16 << 20, depth: 32, values: 1 << 17 };
const REQUEST_CAPS: Caps = Caps { bytes: REQUEST_BYTES_MAX, depth: 32, values: 16 << 20 };
const ANSWER_CAPS: Caps = Caps { bytes: ANSWER_BYTES_MAX, depth: 8, values: 4096 };

/// A further statement about the artifact of a Record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The Record, as its provenance is signed from.
    pub record: Record,
    /// What is to be stated of it.
    pub further: Further,
}

impl State {
    /// Returns the nonce of this statement: one Order has one envelope of each predicate, and so each
    /// has a nonce of its own, which the Order's fixes. All of an Order are made from the same Record.
    pub fn nonce(&self) -> Option<Nonce> {
        further_nonce(&self.record, self.further.as_str())
    }
}

/// What a classic link's nonce is made of.
pub(crate) const CLASSIC_LINK: &str = "classic-link";

/// Returns the nonce of what else is signed for a Record's Order.
pub(crate) fn further_nonce(record: &Record, what: &str) -> Option<Nonce> {
    let text = format!("kiln further statement {what} {}", record.order.nonce.as_str());
    Nonce::parse(Digest::of(text.as_bytes()).hex().get(..32)?).ok()
}

/// What the build process may ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Derive and sign the provenance of one artifact. One descriptor: the artifact.
    Sign(Box<Record>),
    /// Derive and sign a further statement about one artifact. One descriptor: the artifact.
    State(Box<State>),
    /// Derive and sign the classic link of one artifact. One descriptor: the artifact. The answer's line is
    /// its envelope.
    ClassicLink(Box<Record>),
    /// Sign a predicate that the user wrote. One descriptor for each subject, in their order.
    Attest(Attest),
    /// Verify one file and sign the verdict. One descriptor: the file.
    Summarise(Box<Summarise>),
    /// Make a key, if there is none.
    Generate {
        /// Of which kind.
        algorithm: Algorithm,
    },
    /// Say which key would sign.
    Show,
    /// Take over a key from a file, if there is none.
    Import {
        /// The file, absolute.
        path: String,
    },
    /// Make a new key and put the old one away.
    Rotate {
        /// Of which kind.
        algorithm: Algorithm,
    },
    /// Let one user's builds answer an Order until its deadline. Only on a socket.
    OpenOrder(OpenOrder),
    /// Say whether each of these Orders is open for the one who asks, and has no envelope yet: so that
    /// nobody builds for an answer that is refused. Only on a socket, and [`ORDERS_MAX`] at most; changes nothing.
    CheckOrders(Vec<Order>),
}

/// An Order of the control plane, and who may answer it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenOrder {
    /// What is to be built.
    pub order: Order,
    /// The user whose build may answer it.
    pub builder: u32,
}

/// An Order that is open now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedOrder {
    /// Of the Order's bytes as they are kept.
    pub order: Digest,
}

/// An Order of a kind of its own (decision 31): a predicate about files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attest {
    /// Its type: an absolute URI, none that the attestor derives.
    pub predicate_type: String,
    /// A JSON object, as text.
    pub predicate: String,
    /// The files.
    pub subjects: Vec<Subject>,
    /// Names this request: one nonce, one envelope.
    pub nonce: Nonce,
    /// Seconds since 1970 after which nothing is signed for it.
    pub deadline: i64,
}

/// An Order of a kind of its own: a verdict about one file. It names evidence, policy and address; the
/// attestor verifies for itself, by its own trust and clock, and says what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summarise {
    /// The file.
    pub subject: Subject,
    /// All that speaks for it.
    pub evidence: Vec<EvidenceText>,
    /// The policy, as text.
    pub policy: String,
    /// The address that the file is to be had from.
    pub resource_uri: String,
    /// Attestations of dependencies, as texts; none if they are not to be looked at.
    pub dependencies: Option<Vec<String>>,
    /// Say that independent builders built the same, in the level's place.
    pub reproduced: bool,
    /// Names this request: one nonce, one envelope.
    pub nonce: Nonce,
    /// Seconds since 1970 after which nothing is signed for it.
    pub deadline: i64,
}

/// The content of one evidence file, and of the dependency manifest beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceText {
    /// The evidence.
    pub text: String,
    /// The manifest, where it is at hand.
    pub manifest: Option<String>,
}

/// What the attestor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// A signed statement.
    Signed(Signed),
    /// A public key: that of the key which would sign, or of the one just made.
    Key(KeyInfo),
    /// Where no key signs but the holder of a certificate: who would.
    Identity(IdentityInfo),
    /// An Order is open.
    Opened(OpenedOrder),
    /// All Orders that were asked about are open.
    Open,
    /// Nothing was signed or changed.
    Refused(RefusedAnswer),
}

/// A signed statement in both forms, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The content of `X.sigstore.json`.
    pub bundle: String,
    /// The content of `X.intoto.jsonl`.
    pub line: String,
    /// The dependency manifest, where the inputs are too many for the statement.
    pub manifest: Option<ManifestFile>,
    /// Who signed.
    pub key: SignerInfo,
    /// Of a verdict that refuses the file: why, in the order of the checks. Empty for all else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<WhyRefused>,
}

/// Why a verdict refuses a file, as the attestor that signed it tells. A summary has no place for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyRefused {
    /// The number of the message's code, such as 802 for KILN-0802.
    pub code: u16,
    /// The reason, escaped.
    pub text: String,
}

/// Who signed: a key, or the holder of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignerInfo {
    /// A key.
    Key(KeyInfo),
    /// Whom the certificate names, as a verifier finds it.
    Certificate(CertificateInfo),
}

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateInfo {
    /// The certificate's subject: a URI or a mail address.
    pub subject: String,
    /// Who vouched for it.
    pub issuer: String,
}

/// Who would sign with a certificate, as the identity token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityInfo {
    /// What the certificate will name, where that can be told before there is one.
    pub subject: Option<String>,
    /// Who vouches for it.
    pub issuer: String,
    /// The builder.id of a build with all guarantees.
    pub builder_id: String,
    /// Where certificates come from.
    pub path: String,
    /// The instance's trusted root; none for the public instance's.
    pub trusted_root: Option<String>,
}

/// A dependency manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its file name.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyInfo {
    /// `SHA256:` and base64.
    pub fingerprint: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// `BEGIN PUBLIC KEY`.
    pub pem: String,
    /// The builder.id of a build with all guarantees.
    pub builder_id: String,
    /// Where it is: its file, its token, its agent.
    pub path: String,
    /// Of a key that was just made or taken over: whether the attestor's own trust file believes it now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trusted: bool,
}

/// Why nothing was done. Texts, since causes do not cross a pipe in any other form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedAnswer {
    /// Of what kind.
    pub kind: RefusedKind,
    /// What was attempted, and each cause below it.
    pub causes: Vec<String>,
    /// What to do about it, where one thing is.
    #[serde(default)]
    pub help: Option<String>,
}

/// The kinds of refusal; each has its own exit code at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedKind {
    /// There is no key (KILN-0701).
    NoKey,
    /// The key's file can not be used (KILN-0703).
    KeyUnreadable,
    /// The token, the agent or the key within it is not there (KILN-0701).
    SignerAbsent,
    /// The token or the agent is there and does not sign (KILN-0703).
    SignerUnusable,
    /// The configured signer's keys are not made or put away here.
    SignerKept,
    /// A service that certificates, logs or timestamps come from can not be reached (KILN-0708).
    ServiceUnreachable,
    /// Such a service refused, or what it gave does not hold (KILN-0709).
    ServiceRefused,
    /// Who asks may not ask for this.
    Role,
    /// Who asks has asked too often, or has too many connections.
    Busy,
    /// No Order of the control plane is open for this.
    NoOrder,
    /// An Order that can not be opened.
    Order,
    /// There is a key already, and none is ever overwritten.
    KeyExists,
    /// The Record contradicts its Order or itself, or comes too late.
    Record,
    /// A descriptor's bytes are not what the Record says.
    Subject,
    /// The nonce has an envelope for another request.
    Nonce,
    /// The Order has an envelope already, so nothing more is signed for it.
    Answered,
    /// The Order's deadline is past.
    Late,
    /// A predicate type that only the attestor states, or a predicate that is no object.
    Predicate,
    /// The attestor's own configuration is wrong.
    Configuration,
    /// Somebody else could have written who is believed here.
    Trust,
    /// Reading or writing the attestor's own files failed.
    Files,
    /// Its own files have no room left.
    Full,
    /// A verdict that can not be signed: the policy or the address is wrong, or it does not hold.
    Summary,
    /// More than this attestor takes of one who shares it with others.
    TooLarge,
    /// The request is not of this format.
    Protocol,
}

/// Why bytes are no request or answer.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// A header that announces more than is allowed.
    #[error("a message of {got} bytes is announced, more than {most}")]
    Length {
        /// Announced.
        got: usize,
        /// Allowed.
        most: usize,
    },
    /// A header that announces more descriptors than are allowed.
    #[error("{got} descriptors are announced, more than {DESCRIPTORS_MAX}")]
    Descriptors {
        /// Announced.
        got: usize,
    },
    /// No JSON of this shape.
    #[error("the message is not of this format")]
    Json(#[source] JsonError),
    /// It could not be written.
    #[error("write the message")]
    Write(#[source] serde_json::Error),
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the JSON.
    pub length: usize,
    /// Descriptors that come with it.
    pub descriptors: usize,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// Refuses more than `length_max` bytes and more than [`DESCRIPTORS_MAX`] descriptors.
    pub fn read(bytes: [u8; HEADER_BYTES], length_max: usize) -> Result<Header, PipeError> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let descriptors = u32::from_be_bytes([e, f, g, h]) as usize;
        if length > length_max {
            return Err(PipeError::Length { got: length, most: length_max });
        }
        if descriptors > DESCRIPTORS_MAX {
            return Err(PipeError::Descriptors { got: descriptors });
        }
        Ok(Header { length, descriptors })
    }

    fn write(self) -> Result<[u8; HEADER_BYTES], PipeError> {
        let number = |count: usize| {
            u32::try_from(count)
                .map_err(|_| PipeError::Length { got: count, most: u32::MAX as usize })
        };
        let [a, b, c, d] = number(self.length)?.to_be_bytes();
        let [e, f, g, h] = number(self.descriptors)?.to_be_bytes();
        Ok([a, b, c, d, e, f, g, h])
    }
}

impl Request {
    /// Returns the Record that it is about, where it is about one.
    pub(crate) fn record(&self) -> Option<&Record> {
        match self {
            Request::Sign(record) | Request::ClassicLink(record) => Some(record),
            Request::State(state) => Some(&state.record),
            Request::Attest(_)
            | Request::Summarise(_)
            | Request::Generate { .. }
            | Request::Show
            | Request::Import { .. }
            | Request::Rotate { .. }
            | Request::OpenOrder(_)
            | Request::CheckOrders(_) => None,
        }
    }

    /// Returns header and JSON.
    ///
    /// # Errors
    /// Refuses a request larger than [`REQUEST_BYTES_MAX`].
    pub fn encode(&self, descriptors: usize) -> Result<([u8; HEADER_BYTES], Vec<u8>), PipeError> {
        encode(self, descriptors, REQUEST_BYTES_MAX)
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// Refuses a member that stands twice and every other shape.
    pub fn decode(json: &[u8]) -> Result<Request, PipeError> {
        strict_json::read_as(json, &REQUEST_CAPS).map_err(PipeError::Json)
    }

    /// Returns until when it may be signed, where it asks for that. Source: seconds since 1970.
    pub(crate) fn deadline(&self) -> Option<i64> {
        match self {
            Request::Sign(record) | Request::ClassicLink(record) => Some(record.order.deadline),
            Request::State(state) => Some(state.record.order.deadline),
            Request::Attest(attest) => Some(attest.deadline),
            Request::Summarise(summarise) => Some(summarise.deadline),
            Request::Generate { .. }
            | Request::Show
            | Request::Import { .. }
            | Request::Rotate { .. }
            | Request::OpenOrder(_)
            | Request::CheckOrders(_) => None,
        }
    }

    /// Reads the JSON of somebody who shares the attestor with others.
    pub(crate) fn decode_within(json: &[u8], caps: &Caps) -> Result<Request, PipeError> {
        strict_json::read_as(json, caps).map_err(PipeError::Json)
    }

    /// Returns the nonce of the envelope that the request asks for, if it asks for one.
    pub(crate) fn nonce(&self) -> Option<Nonce> {
        match self {
            Request::Sign(record) => Some(record.order.nonce.clone()),
            Request::State(state) => state.nonce(),
            Request::ClassicLink(record) => further_nonce(record, CLASSIC_LINK),
            Request::Attest(attest) => Some(attest.nonce.clone()),
            Request::Summarise(summarise) => Some(summarise.nonce.clone()),
            Request::Generate { .. }
            | Request::Show
            | Request::Import { .. }
            | Request::Rotate { .. }
            | Request::OpenOrder(_)
            | Request::CheckOrders(_) => None,
        }
    }

    /// Returns what the request says its descriptors are.
    pub fn blobs(&self) -> Vec<Blob> {
        match self {
            Request::Sign(record) | Request::ClassicLink(record) => {
                vec![record.observed.subject.blob]
            }
            Request::State(state) => vec![state.record.observed.subject.blob],
            Request::Attest(attest) => attest.subjects.iter().map(|one| one.blob).collect(),
            Request::Summarise(summarise) => vec![summarise.subject.blob],
            Request::Generate { .. }
            | Request::Show
            | Request::Import { .. }
            | Request::Rotate { .. }
            | Request::OpenOrder(_)
            | Request::CheckOrders(_) => Vec::new(),
        }
    }
}

impl Answer {
    /// Returns header and JSON.
    ///
    /// # Errors
    /// Refuses an answer larger than [`ANSWER_BYTES_MAX`].
    pub fn encode(&self) -> Result<([u8; HEADER_BYTES], Vec<u8>), PipeError> {
        encode(self, 0, ANSWER_BYTES_MAX)
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// Refuses a member that stands twice and every other shape.
    pub fn decode(json: &[u8]) -> Result<Answer, PipeError> {
        strict_json::parse_as(json, &ANSWER_CAPS).map_err(PipeError::Json)
    }
}

fn encode<T: Serialize>(
    message: &T,
    descriptors: usize,
    most: usize,
) -> Result<([u8; HEADER_BYTES], Vec<u8>), PipeError> {
    let json = serde_json::to_vec(message).map_err(PipeError::Write)?;
    if json.len() > most {
        return Err(PipeError::Length { got: json.len(), most });
    }
    Ok((Header { length: json.len(), descriptors }.write()?, json))
}
