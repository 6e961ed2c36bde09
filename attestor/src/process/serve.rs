//! One request, one answer: the steps from a Record to a signed statement.
//!
//! 1. Whoever asks may ask for this.
//! 2. What a crash left is cleared away, and the journal asked. The same request gets the same bytes, another one
//!    under its nonce none.
//! 3. The deadline and the run's times are compared with this process' own clock; on a socket, the
//!    Order must be one that the control plane opened for this user.
//! 4. The subjects are hashed from their descriptors; a verdict is made by verifying the file here.
//! 5. The state folder is locked for all that follows, and the journal asked again; what was signed under the
//!    same Order before must have been made from the same Record.
//! 6. The statement is derived, or for `kiln attest` written around the given predicate.
//! 7. It is signed, once.
//! 8. The journal's entry and the line of the log are made durable, and only then the answer leaves.
//!
//! Nothing slow that the asker decides about happens under the lock, so nobody can make others wait.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use model::Digest;
use model::record::{Nonce, Order, Record};
use serde_json::value::RawValue;

use super::channel::Files;
use super::files::{self, FileError};
use super::journal::{Journal, JournalError, Known};
use super::keyring::{Keyring, KeyringError};
use super::one_story::OneStory;
use super::orders::{OrderError, Orders};
use super::refusal::refused;
use super::signed_log::{LogError, SignedLog};
use super::subjects::{self, SubjectError, Wait};
use super::summarise::{self, Believed, Passed, SummariseError};
use super::swear::{self, SwearError};
use crate::access::{Access, NoRole, Peer, Role};
use crate::builder::BuilderConfig;
use crate::order::{Refused, check_clock, check_deadline, check_name, check_reference};
use crate::pipe::{
    Answer, Attest, BUILD_CAPS, ManifestFile, ORDERS_MAX, OpenOrder, OpenedOrder,
    PREDICATE_BYTES_MAX, PipeError, Request, SHARED_CAPS, Signed, Summarise,
};
use crate::predicate;
use crate::public_key::PublicKey;
use crate::sigstore::Root;
use crate::statement::{self, Derived};
use crate::strict_json::{self, Caps, JsonError};
use crate::trust::Trust;

/// Where the attestor's own files are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) config: PathBuf,
    pub(super) state: PathBuf,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker<'a> {
    /// The process that started this one, by the pipe: it orders for itself.
    Starter,
    /// A user at the other end of a socket, with the one role that the configuration gives.
    User { uid: u32, role: Role, access: &'a Access },
}

impl<'a> Asker<'a> {
    /// Returns who is at the other end of a socket.
    pub(super) fn user(access: &'a Access, peer: Peer) -> Result<Asker<'a>, NoRole> {
        let role = access.role(peer, own_uid())?;
        Ok(Asker::User { uid: peer.uid, role, access })
    }

    /// Returns how large a request may be: of a build, only a Record is.
    pub(super) fn caps(self) -> Caps {
        match self {
            Asker::User { role: Role::Build | Role::Admin, .. } => BUILD_CAPS,
            Asker::User { role: Role::Control, .. } | Asker::Starter => SHARED_CAPS,
        }
    }

    /// Returns what to do about a request that is larger than that.
    pub(super) fn less(self) -> &'static str {
        match self {
            Asker::User { role: Role::Build, .. } => {
                "build in parts: what an artifact's Record names are the inputs and steps of its whole build"
            }
            Asker::User { role: Role::Control | Role::Admin, .. } | Asker::Starter => {
                "say less at once: a smaller predicate, fewer files"
            }
        }
    }

    fn uid(self) -> u32 {
        match self {
            Asker::Starter => own_uid(),
            Asker::User { uid, .. } => uid,
        }
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Caps of a predicate that the user wrote.
const PREDICATE_CAPS: Caps = Caps { bytes: PREDICATE_BYTES_MAX, depth: 64, values: 1 << 20 };
/// Longest predicate type, in bytes.
const PREDICATE_TYPE_BYTES_MAX: usize = 512;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("read the request")]
    Protocol(#[source] PipeError),
    #[error("lock the attestor's state")]
    Lock(#[source] FileError),
    #[error("keep the journal")]
    Journal(#[source] JournalError),
    #[error("this nonce has an envelope for another request")]
    Nonce,
    #[error("this order has an envelope that was made from another record")]
    OtherRecord,
    #[error("the record is refused")]
    Record(#[source] Refused),
    #[error("the subjects are refused")]
    Subject(#[source] SubjectError),
    #[error("use the signing key")]
    Key(#[source] KeyringError),
    #[error(transparent)]
    Swear(SwearError),
    #[error("keep the log of what was signed")]
    Log(#[source] LogError),
    #[error("{got} orders are asked about at once, more than {ORDERS_MAX}")]
    ManyOrders { got: usize },
    #[error("open the order")]
    Open(#[source] OrderError),
    #[error("the control plane has not ordered this")]
    Ordered(#[source] OrderError),
    #[error("user {uid} may not ask this attestor to {what}")]
    Role { uid: u32, what: &'static str },
    #[error("an attestor that a build starts opens no orders: it is asked for them on a socket")]
    NoSocket,
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
pub(super) fn answer(
    places: &Places,
    asker: Asker<'_>,
    request: Result<Request, PipeError>,
    files: &Files<'_>,
    now: i64,
) -> Answer {
    let result = match request {
        Ok(request) => serve(places, asker, request, files, now),
        Err(error) => Err(ServeError::Protocol(error)),
    };
    result.unwrap_or_else(|error| Answer::Refused(refused(&error)))
}

fn serve(
    places: &Places,
    asker: Asker<'_>,
    request: Request,
    files: &Files<'_>,
    now: i64,
) -> Result<Answer, ServeError> {
    // 1. Who may ask for what.
    check_role(asker, &request)?;
    let keyring = Keyring::new(&places.config);
    if let Asker::User { .. } = asker {
        files::owned_folder(&places.state).map_err(ServeError::Lock)?;
    }
    files::private_folder(&places.state).map_err(ServeError::Lock)?;
    let (claimed, came) = (request.blobs().len(), files.descriptors.len());
    if claimed != came {
        return Err(ServeError::Subject(SubjectError::Count { claimed, came }));
    }
    if let Request::Sign(_)
    | Request::State(_)
    | Request::ClassicLink(_)
    | Request::Attest(_)
    | Request::Summarise(_) = request
    {
        return sign(places, asker, &keyring, &request, files, now).map(Answer::Signed);
    }
    // Read and compared without the lock, however many they are: nothing is changed. What a crash left is none of it,
    // and looks like an answer.
    if let Request::CheckOrders(orders) = &request {
        let check = || check_orders(places, asker.uid(), orders, now);
        return match check() {
            Err(
                ServeError::Journal(JournalError::Damaged { .. })
                | ServeError::Ordered(OrderError::Answered),
            ) => {
                drop(places.enter()?);
                check()
            }
            checked => checked,
        };
    }
    let _lock = match request {
        Request::OpenOrder(_) => places.enter()?,
        _ => places.lock()?,
    };
    let key = |result: Result<_, KeyringError>| result.map(Answer::Key).map_err(ServeError::Key);
    match request {
        Request::Sign(_)
        | Request::State(_)
        | Request::ClassicLink(_)
        | Request::Attest(_)
        | Request::Summarise(_)
        | Request::CheckOrders(_) => Err(ServeError::Nonce),
        Request::Generate { algorithm } => key(keyring.generate(algorithm, now)),
        Request::Rotate { algorithm } => key(keyring.rotate(algorithm, now)),
        Request::Import { path } => key(keyring.import(Path::new(&path), now)),
        Request::Show => swear::who(&keyring, now).map_err(ServeError::Swear),
        Request::OpenOrder(open) => open_order(places, asker, &open, now),
    }
}

impl Places {
    fn lock(&self) -> Result<OwnedFd, ServeError> {
        files::lock(&self.state.join("lock")).map_err(ServeError::Lock)
    }

    /// Locks, and clears away what a crash left.
    fn enter(&self) -> Result<OwnedFd, ServeError> {
        let lock = self.lock()?;
        let journal = Journal::open(&self.state).map_err(ServeError::Journal)?;
        let log = SignedLog::new(&self.state);
        for (mark, of) in journal.left().map_err(ServeError::Journal)? {
            let cleared = match of {
                None => journal.forget(&mark),
                Some(nonce) if log.holds(&nonce).map_err(ServeError::Log)? => journal.forget(&mark),
                // Without its line an envelope never left. What there is of that goes first.
                Some(nonce) => {
                    log.cut_unfinished().map_err(ServeError::Log)?;
                    journal.discard(&nonce, &mark)
                }
            };
            cleared.map_err(ServeError::Journal)?;
        }
        Ok(lock)
    }
}

/// Checks that the asker's role has this request.
fn check_role(asker: Asker<'_>, request: &Request) -> Result<(), ServeError> {
    let (needed, what) = match request {
        Request::Show => return Ok(()),
        Request::Sign(_) | Request::State(_) | Request::ClassicLink(_) => {
            (Role::Build, "sign what a build observed")
        }
        Request::CheckOrders(_) => (Role::Build, "answer an order"),
        Request::OpenOrder(_) => (Role::Control, "open an order"),
        Request::Attest(_) => (Role::Control, "attest"),
        Request::Summarise(_) => (Role::Control, "pass judgement"),
        Request::Generate { .. } => (Role::Admin, "make a key"),
        Request::Rotate { .. } => (Role::Admin, "put a key away"),
        Request::Import { .. } => (Role::Admin, "take over a key"),
    };
    match asker {
        Asker::Starter if matches!(request, Request::OpenOrder(_) | Request::CheckOrders(_)) => {
            Err(ServeError::NoSocket)
        }
        Asker::User { uid, role, .. } if role != needed => Err(ServeError::Role { uid, what }),
        Asker::Starter | Asker::User { .. } => Ok(()),
    }
}

fn open_order(
    places: &Places,
    asker: Asker<'_>,
    open: &OpenOrder,
    now: i64,
) -> Result<Answer, ServeError> {
    if let Asker::User { access, .. } = asker
        && !access.can_build(open.builder, own_uid())
    {
        return Err(ServeError::Open(OrderError::NoBuilder { uid: open.builder }));
    }
    let journal = Journal::open(&places.state).map_err(ServeError::Journal)?;
    if journal.signed(&open.order.nonce).map_err(ServeError::Journal)?.is_some() {
        return Err(ServeError::Open(OrderError::Answered));
    }
    let orders = Orders::open(&places.state).map_err(ServeError::Open)?;
    let order =
        orders.add(&open.order, asker.uid(), open.builder, now).map_err(ServeError::Open)?;
    Ok(Answer::Opened(OpenedOrder { order }))
}

/// Checks that each Order is open for this user and not answered yet.
fn check_orders(
    places: &Places,
    uid: u32,
    asked: &[Order],
    now: i64,
) -> Result<Answer, ServeError> {
    if asked.len() > ORDERS_MAX {
        return Err(ServeError::ManyOrders { got: asked.len() });
    }
    let journal = Journal::open(&places.state).map_err(ServeError::Journal)?;
    let orders = Orders::open(&places.state).map_err(ServeError::Ordered)?;
    for order in asked {
        // Whether there is an answer is told to nobody but whom the order is for.
        orders.check(order, uid, now).map_err(ServeError::Ordered)?;
        if journal.signed(&order.nonce).map_err(ServeError::Journal)?.is_some() {
            return Err(ServeError::Ordered(OrderError::Answered));
        }
    }
    Ok(Answer::Open)
}

fn sign(
    places: &Places,
    asker: Asker<'_>,
    keyring: &Keyring,
    request: &Request,
    files: &Files<'_>,
    now: i64,
) -> Result<Signed, ServeError> {
    let Some(nonce) = request.nonce() else { return Err(ServeError::Nonce) };
    let identity = Digest::of(&serde_json::to_vec(request).map_err(ServeError::Write)?);
    // 2. What was answered before, to this user.
    let lock = places.enter()?;
    if let Some(signed) = known(places, asker, request, &nonce, &identity, now)? {
        return Ok(signed);
    }
    // 3. In time, by our own clock, and ordered.
    check_time(request, now).map_err(ServeError::Record)?;
    check_ordered(places, asker, request, now)?;
    let judge = match request {
        Request::Summarise(asked) => Some((asked, Judge::new(keyring)?)),
        _ => None,
    };
    drop(lock);
    // 4. The bytes themselves, and a verdict about them.
    if let Asker::User { .. } = asker {
        subjects::check_places(&files.descriptors).map_err(ServeError::Subject)?;
    }
    let left = request.deadline().map_or(0, |deadline| deadline.saturating_sub(now));
    let wait = files.peer.map(|peer| Wait::new(peer, left));
    subjects::check(&request.blobs(), &files.descriptors, wait.as_ref())
        .map_err(ServeError::Subject)?;
    let verdict = judge.map(|(asked, judge)| judge.statement(asked, now)).transpose()?;
    // 5. One at a time; another one may have come first.
    let _lock = places.lock()?;
    if let Some(signed) = known(places, asker, request, &nonce, &identity, now)? {
        return Ok(signed);
    }
    let journal = Journal::open(&places.state).map_err(ServeError::Journal)?;
    if !OneStory::of(request).is_told_so_far(&journal).map_err(ServeError::Journal)? {
        return Err(ServeError::OtherRecord);
    }
    // 6. What is claimed.
    let (derived, refused) = match verdict {
        Some(Passed { statement_bytes, refused }) => {
            (Derived { statement_bytes, dependency_manifest: None }, refused)
        }
        None => (derive(keyring, request)?, Vec::new()),
    };
    // 7. Sworn to, once.
    let subject = request.blobs().first().map(|blob| blob.digest);
    let sworn =
        swear::swear(keyring, derived.statement_bytes, subject, now).map_err(ServeError::Swear)?;
    let manifest = match derived.dependency_manifest {
        None => None,
        Some(manifest) => {
            let text = String::from_utf8(manifest.bytes).map_err(ServeError::Manifest)?;
            Some(ManifestFile { name: manifest.name, text })
        }
    };
    let signed = Signed {
        bundle: sworn.bundle,
        line: sworn.envelope.to_line().map_err(ServeError::Write)?,
        manifest,
        key: sworn.by,
        refused,
    };
    // 8. Durable, then out.
    let log = SignedLog::new(&places.state);
    let mark = journal.append(&nonce, identity, &signed).map_err(ServeError::Journal)?;
    log.append(&nonce, asker.uid(), now, &signed).map_err(ServeError::Log)?;
    journal.forget(&mark).map_err(ServeError::Journal)?;
    Ok(signed)
}

/// Returns what was answered to this very request before. On a socket only its own user gets it, while its Order is
/// open.
fn known(
    places: &Places,
    asker: Asker<'_>,
    request: &Request,
    nonce: &Nonce,
    identity: &Digest,
    now: i64,
) -> Result<Option<Signed>, ServeError> {
    let journal = Journal::open(&places.state).map_err(ServeError::Journal)?;
    let signed = match journal.look_up(nonce, identity).map_err(ServeError::Journal)? {
        Known::New => return Ok(None),
        Known::Other => return Err(ServeError::Nonce),
        Known::Same(signed) => *signed,
    };
    check_ordered(places, asker, request, now)?;
    // One without a line has been cleared away, unless no crash took the line.
    let log = SignedLog::new(&places.state);
    match log.holds(nonce).map_err(ServeError::Log)? {
        true => Ok(Some(signed)),
        false => Err(ServeError::Log(LogError::NoLine { nonce: nonce.clone() })),
    }
}

/// On a socket: checks that the control plane opened this Order for this user. Nobody but a control plane can
/// name a reference.
fn check_ordered(
    places: &Places,
    asker: Asker<'_>,
    request: &Request,
    now: i64,
) -> Result<(), ServeError> {
    let Some(record) = request.record() else { return Ok(()) };
    let Asker::User { uid, .. } = asker else {
        return check_reference(record, None).map_err(ServeError::Record);
    };
    let orders = Orders::open(&places.state).map_err(ServeError::Ordered)?;
    orders.check(&record.order, uid, now).map_err(ServeError::Ordered)?;
    check_reference(record, Some(&record.order.source.uri)).map_err(ServeError::Record)
}

fn check_time(request: &Request, now: i64) -> Result<(), Refused> {
    match request {
        Request::Sign(record) | Request::ClassicLink(record) => check_record_time(record, now),
        Request::State(state) => check_record_time(&state.record, now),
        Request::Attest(attest) => check_deadline(attest.deadline, now),
        Request::Summarise(summarise) => check_deadline(summarise.deadline, now),
        Request::Generate { .. }
        | Request::Show
        | Request::Import { .. }
        | Request::Rotate { .. }
        | Request::OpenOrder(_)
        | Request::CheckOrders(_) => Ok(()),
    }
}

fn check_record_time(record: &Record, now: i64) -> Result<(), Refused> {
    check_deadline(record.order.deadline, now)?;
    check_clock(record, now)
}

/// What a verdict is passed by: read under the lock, used without it.
struct Judge {
    builder: BuilderConfig,
    trust: Trust,
    root: Option<Root>,
}

impl Judge {
    fn new(keyring: &Keyring) -> Result<Judge, ServeError> {
        let builder = keyring.builder().map_err(ServeError::Key)?;
        let (_, trust) = keyring.trust().map_err(ServeError::Key)?;
        let root = keyring.root(&trust).map_err(ServeError::Key)?;
        Ok(Judge { builder, trust, root })
    }

    fn statement(&self, asked: &Summarise, now: i64) -> Result<Passed, ServeError> {
        let believed = Believed { trust: &self.trust, root: self.root.as_ref() };
        summarise::statement(asked, &self.builder, believed, now).map_err(ServeError::Summary)
    }
}

fn derive(keyring: &Keyring, request: &Request) -> Result<Derived, ServeError> {
    match request {
        Request::Sign(record) => {
            let builder = keyring.builder().map_err(ServeError::Key)?;
            statement::derive(record, &builder).map_err(ServeError::Record)
        }
        Request::State(state) => {
            let builder = keyring.builder().map_err(ServeError::Key)?;
            let derived = statement::derive_further(&state.record, &builder, state.further);
            let statement_bytes = derived.map_err(ServeError::Record)?;
            Ok(Derived { statement_bytes, dependency_manifest: None })
        }
        Request::ClassicLink(record) => {
            let signer = keyring.signer().map_err(ServeError::Key)?;
            let statement_bytes = classic_link(record, signer.public())?;
            Ok(Derived { statement_bytes, dependency_manifest: None })
        }
        Request::Attest(attest) => {
            let statement_bytes = foreign(attest)?;
            Ok(Derived { statement_bytes, dependency_manifest: None })
        }
        Request::Summarise(_)
        | Request::Generate { .. }
        | Request::Show
        | Request::Import { .. }
        | Request::Rotate { .. }
        | Request::OpenOrder(_)
        | Request::CheckOrders(_) => Err(ServeError::Nonce),
    }
}

#[cfg(feature = "classic-links")]
fn classic_link(record: &Record, key: &PublicKey) -> Result<Vec<u8>, ServeError> {
    crate::links::derive::link(record, key).map_err(ServeError::Record)
}

#[cfg(not(feature = "classic-links"))]
fn classic_link(_: &Record, _: &PublicKey) -> Result<Vec<u8>, ServeError> {
    Err(ServeError::Record(Refused::NoLinks))
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
    strict_json::check(attest.predicate.as_bytes(), &PREDICATE_CAPS)
        .map_err(ServeError::PredicateJson)?;
    let raw: &RawValue =
        serde_json::from_str(&attest.predicate).map_err(|_| ServeError::Predicate)?;
    if !raw.get().starts_with('{') {
        return Err(ServeError::Predicate);
    }
    let mut names = std::collections::BTreeSet::new();
    let good = |name: &str| check_name(name).is_ok();
    let named = attest.subjects.iter().all(|one| good(&one.name) && names.insert(&one.name));
    if attest.subjects.is_empty() || !named {
        return Err(ServeError::Subjects);
    }
    statement::write_foreign(&attest.subjects, &attest.predicate_type, raw)
        .map_err(ServeError::Record)
}
