//! One request, one answer: the steps from a Record to a signed statement.
//!
//! 1. The state folder is locked: one request at a time on this machine.
//! 2. The journal is asked. The same request gets the same bytes, another one under its nonce none.
//! 3. The deadline and the run's times are compared with this process' own clock.
//! 4. The subjects are hashed from their descriptors.
//! 5. The statement is derived, for `kiln attest` written around the given predicate, or for a verdict
//!    made by verifying the file here.
//! 6. It is signed, once.
//! 7. The journal's entry is made durable, and only then the answer leaves.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use model::Digest;
use model::record::Nonce;
use serde_json::value::RawValue;

use super::channel::Received;
use super::files::{self, FileError};
use super::journal::{Journal, JournalError, Known};
use super::keyring::{Keyring, KeyringError};
use super::subjects::{self, SubjectError};
use super::summarise::{self, SummariseError};
use crate::bundle;
use crate::envelope;
use crate::order::{Refused, check_clock, check_deadline, check_name};
use crate::pipe::{
    Answer, Attest, ManifestFile, PREDICATE_BYTES_MAX, PipeError, RefusedAnswer, RefusedKind,
    Request, Signed,
};
use crate::predicate;
use crate::statement::{self, Derived};
use crate::strict_json::{self, Caps, JsonError};

/// Where the attestor's own files are.
pub(super) struct Places {
    pub(super) config: PathBuf,
    pub(super) state: PathBuf,
}

/// Caps of a predicate that the user wrote.
const PREDICATE_CAPS: Caps = Caps { bytes: PREDICATE_BYTES_MAX, depth: 64, values: 1 << 20 };
/// Longest predicate type, in bytes.
const PREDICATE_TYPE_BYTES_MAX: usize = 512;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("read the request")]
    Protocol(#[source] PipeError),
    #[error("lock the attestor's state")]
    Lock(#[source] FileError),
    #[error("keep the journal")]
    Journal(#[source] JournalError),
    #[error("this nonce has an envelope for another request")]
    Nonce,
    #[error("the record is refused")]
    Record(#[source] Refused),
    #[error("the subjects are refused")]
    Subject(#[source] SubjectError),
    #[error("use the signing key")]
    Key(#[source] KeyringError),
    #[error("predicate type `{got}` is stated by the attestor alone")]
    Derived { got: String },
    #[error("`{got}` is no predicate type: an absolute https URI of plain letters")]
    PredicateType { got: String },
    #[error("the predicate is no JSON object")]
    Predicate,
    #[error("the predicate")]
    PredicateJson(#[source] JsonError),
    #[error("an attestation needs at least one subject, each with a file name of its own")]
    Subjects,
    #[error("the verdict is not signed")]
    Summary(#[source] SummariseError),
    #[error("write the envelope")]
    Write(#[source] serde_json::Error),
    #[error("a dependency manifest is no text")]
    Manifest(#[source] std::string::FromUtf8Error),
}

/// Serves one request. `now` is in seconds since 1970.
pub(super) fn answer(places: &Places, received: Received, now: i64) -> Answer {
    let result = match received.request {
        Ok(request) => serve(places, request, &received.descriptors, now),
        Err(error) => Err(ServeError::Protocol(error)),
    };
    result.unwrap_or_else(|error| Answer::Refused(refused(&error)))
}

fn serve(
    places: &Places,
    request: Request,
    descriptors: &[OwnedFd],
    now: i64,
) -> Result<Answer, ServeError> {
    // 1. One at a time.
    files::private_folder(&places.state).map_err(ServeError::Lock)?;
    let _lock = files::lock(&places.state.join("lock")).map_err(ServeError::Lock)?;
    let keyring = Keyring::new(&places.config);
    if request.blobs().len() != descriptors.len() {
        let (claimed, came) = (request.blobs().len(), descriptors.len());
        return Err(ServeError::Subject(SubjectError::Count { claimed, came }));
    }
    let key = |result: Result<_, KeyringError>| result.map(Answer::Key).map_err(ServeError::Key);
    match request {
        Request::Sign(_) | Request::Attest(_) | Request::Summarise(_) => {
            sign(places, &keyring, &request, descriptors, now).map(Answer::Signed)
        }
        Request::Generate { algorithm } => key(keyring.generate(algorithm, now)),
        Request::Rotate { algorithm } => key(keyring.rotate(algorithm, now)),
        Request::Import { path } => key(keyring.import(Path::new(&path), now)),
        Request::Show => key(keyring.signer().and_then(|signer| keyring.info(signer.public()))),
    }
}

fn sign(
    places: &Places,
    keyring: &Keyring,
    request: &Request,
    descriptors: &[OwnedFd],
    now: i64,
) -> Result<Signed, ServeError> {
    let Some(nonce) = nonce(request) else { return Err(ServeError::Nonce) };
    let identity = Digest::of(&serde_json::to_vec(request).map_err(ServeError::Write)?);
    // 2. What was answered before.
    let journal = Journal::open(&places.state).map_err(ServeError::Journal)?;
    match journal.look_up(nonce, &identity).map_err(ServeError::Journal)? {
        Known::Same(signed) => return Ok(*signed),
        Known::Other => return Err(ServeError::Nonce),
        Known::New => {}
    }
    // 3. In time, by our own clock.
    check_time(request, now).map_err(ServeError::Record)?;
    // 4. The bytes themselves.
    subjects::check(&request.blobs(), descriptors).map_err(ServeError::Subject)?;
    // 5. What is claimed.
    let derived = derive(keyring, request, now)?;
    // 6. Sworn to, once.
    let signer = keyring.signer().map_err(ServeError::Key)?;
    let envelope = envelope::sign(derived.statement_bytes, &signer);
    let manifest = match derived.dependency_manifest {
        None => None,
        Some(manifest) => {
            let text = String::from_utf8(manifest.bytes).map_err(ServeError::Manifest)?;
            Some(ManifestFile { name: manifest.name, text })
        }
    };
    let signed = Signed {
        bundle: bundle::to_bundle(&envelope, &signer.public().id()).map_err(ServeError::Write)?,
        line: envelope.to_line().map_err(ServeError::Write)?,
        manifest,
        key: keyring.info(signer.public()).map_err(ServeError::Key)?,
    };
    // 7. Durable, then out.
    journal.append(nonce, identity, &signed).map_err(ServeError::Journal)?;
    Ok(signed)
}

fn nonce(request: &Request) -> Option<&Nonce> {
    match request {
        Request::Sign(record) => Some(&record.order.nonce),
        Request::Attest(attest) => Some(&attest.nonce),
        Request::Summarise(summarise) => Some(&summarise.nonce),
        Request::Generate { .. }
        | Request::Show
        | Request::Import { .. }
        | Request::Rotate { .. } => None,
    }
}

fn check_time(request: &Request, now: i64) -> Result<(), Refused> {
    match request {
        Request::Sign(record) => {
            check_deadline(record.order.deadline, now)?;
            check_clock(record, now)
        }
        Request::Attest(attest) => check_deadline(attest.deadline, now),
        Request::Summarise(summarise) => check_deadline(summarise.deadline, now),
        Request::Generate { .. }
        | Request::Show
        | Request::Import { .. }
        | Request::Rotate { .. } => Ok(()),
    }
}

fn derive(keyring: &Keyring, request: &Request, now: i64) -> Result<Derived, ServeError> {
    match request {
        Request::Sign(record) => {
            let builder = keyring.builder().map_err(ServeError::Key)?;
            statement::derive(record, &builder).map_err(ServeError::Record)
        }
        Request::Attest(attest) => {
            let statement_bytes = foreign(attest)?;
            Ok(Derived { statement_bytes, dependency_manifest: None })
        }
        Request::Summarise(asked) => {
            let builder = keyring.builder().map_err(ServeError::Key)?;
            let (_, trust) = keyring.trust().map_err(ServeError::Key)?;
            let statement_bytes =
                summarise::statement(asked, &builder, &trust, now).map_err(ServeError::Summary)?;
            Ok(Derived { statement_bytes, dependency_manifest: None })
        }
        Request::Generate { .. }
        | Request::Show
        | Request::Import { .. }
        | Request::Rotate { .. } => Err(ServeError::Nonce),
    }
}

/// Writes a statement around a predicate that the user wrote, if its type is none of ours.
fn foreign(attest: &Attest) -> Result<Vec<u8>, ServeError> {
    let got = || model::text::escape(attest.predicate_type.as_bytes());
    if predicate::is_derived(&attest.predicate_type) {
        return Err(ServeError::Derived { got: got() });
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:#".contains(&byte);
    let rest = attest.predicate_type.strip_prefix("https://").unwrap_or_default();
    let is_plain = !rest.is_empty()
        && attest.predicate_type.len() <= PREDICATE_TYPE_BYTES_MAX
        && rest.bytes().all(plain)
        && !rest.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    if !is_plain {
        return Err(ServeError::PredicateType { got: got() });
    }
    let value = strict_json::parse(attest.predicate.as_bytes(), &PREDICATE_CAPS)
        .map_err(ServeError::PredicateJson)?;
    let raw: &RawValue = match value.is_object() {
        true => serde_json::from_str(&attest.predicate).map_err(|_| ServeError::Predicate)?,
        false => return Err(ServeError::Predicate),
    };
    let mut names = std::collections::BTreeSet::new();
    let good = |name: &str| check_name(name).is_ok();
    let named = attest.subjects.iter().all(|one| good(&one.name) && names.insert(&one.name));
    if attest.subjects.is_empty() || !named {
        return Err(ServeError::Subjects);
    }
    statement::write_foreign(&attest.subjects, &attest.predicate_type, raw)
        .map_err(ServeError::Record)
}

fn refused(error: &ServeError) -> RefusedAnswer {
    let kind = match error {
        ServeError::Protocol(_) => RefusedKind::Protocol,
        ServeError::Nonce => RefusedKind::Nonce,
        ServeError::Record(_) => RefusedKind::Record,
        ServeError::Subject(_) | ServeError::Subjects => RefusedKind::Subject,
        ServeError::Summary(_) => RefusedKind::Summary,
        ServeError::Derived { .. }
        | ServeError::PredicateType { .. }
        | ServeError::Predicate
        | ServeError::PredicateJson(_) => RefusedKind::Predicate,
        ServeError::Lock(_)
        | ServeError::Journal(_)
        | ServeError::Write(_)
        | ServeError::Manifest(_) => RefusedKind::Files,
        ServeError::Key(error) => match error {
            KeyringError::NoKey { .. } => RefusedKind::NoKey,
            KeyringError::Exists { .. } => RefusedKind::KeyExists,
            KeyringError::Config { .. } | KeyringError::Trust { .. } => RefusedKind::Configuration,
            KeyringError::Key { .. } => RefusedKind::KeyUnreadable,
            KeyringError::File(
                FileError::NotPrivate { .. }
                | FileError::NotPlain { .. }
                | FileError::Open { .. }
                | FileError::Read { .. },
            ) => RefusedKind::KeyUnreadable,
            KeyringError::File(_) | KeyringError::Random(_) => RefusedKind::Files,
        },
    };
    let mut causes = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(one) = cause {
        causes.push(one.to_string());
        cause = one.source();
    }
    RefusedAnswer { kind, causes }
}
