//! Starts `kiln attestor`, sends it Records and the subjects' descriptors, gets bytes back.
//!
//! The build process never opens a key. What it knows of one is the public half, which the attestor
//! tells; that answer is kept beside the key file's own numbers, so that a build that changes nothing
//! starts no process.
//!
//! The attestor is this same program, started anew with one socket as its standard input and none of
//! our variables but those it reads itself; closing the socket ends it. Or it is one that listens for
//! the users of this host, under a user of its own: then it is asked there, and never replaced by one
//! of our own when it does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use attestor::builder::BuilderConfig;
use attestor::links::classic;
use attestor::pipe::{Answer, KeyInfo, RefusedAnswer, RefusedKind, Request, State};
use attestor::predicate::Further;
use attestor::public_key::PublicKey;
use attestor::trust::Trust;
use attestor::verify::{Artifact, Evidence, Expected};
use model::record::Record;
use serde::{Deserialize, Serialize};

use crate::artifacts::Made;
use crate::context::Context;
use crate::diagnostic::{Code, Diagnostic};
use crate::store::{self, Look, Store};

mod ended;
mod process;
mod signer;

pub use ended::ended;
pub use process::{Attestor, Leaving, Starting};
pub use signer::{Signer, signed_by};

/// The argument that makes this program the attestor.
pub const ATTESTOR: &str = "attestor";
/// The key's file, below the configuration folder.
const KEY_FILE: &str = "key.pem";
/// The attestor's configuration, below the same folder.
const CONFIG_FILE: &str = "attestor.toml";
/// What is kept of the attestor's answer, below the store's `state`.
const KEPT: &str = "signer.json";

/// A statement about one artifact, ready to be written.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The content of `X.sigstore.json`.
    pub bundle: Vec<u8>,
    /// The content of `X.intoto.jsonl`: the provenance, then each further statement.
    pub lines: Vec<u8>,
    /// The name of the classic link and its content, where one is wanted.
    pub link: Option<(String, Vec<u8>)>,
    /// The content of each `X.PREDICATE.sigstore.json`.
    pub further: Vec<(Further, Vec<u8>)>,
    /// The content of `X.dependencies.json`, where there is one.
    pub dependencies: Option<Vec<u8>>,
    /// Who signed the provenance.
    pub by: String,
}

/// What is kept of the attestor's answer, under the key file's own numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    stamp: Vec<u64>,
    info: KeyInfo,
}

/// Returns the key that would sign, or none if there is no key.
///
/// # Errors
/// KILN-0703 for a key that is there and cannot be used.
pub fn signer(context: &Context, store: &Store) -> Result<Option<Signer>, Diagnostic> {
    let stamp = match &context.attestor {
        // What another user's attestor has is not ours to remember.
        Some(_) => None,
        None => match stamp(&context.config) {
            Some(stamp) => Some(stamp),
            None => return Ok(None),
        },
    };
    let kept = model::Name::new(KEPT).ok();
    let known = match &stamp {
        Some(_) => kept.as_ref().and_then(|kept| store.state(kept).ok().flatten()),
        None => None,
    };
    let known = known
        .and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok())
        .filter(|kept| Some(&kept.stamp) == stamp.as_ref());
    let info = match known {
        Some(known) => known.info,
        None => {
            let info = match ask(context, &Request::Show, &[])? {
                Answer::Key(info) => info,
                Answer::Identity(info) => return signer::identity(info).map(Some),
                Answer::Refused(refused) if refused.kind == RefusedKind::NoKey => return Ok(None),
                other => return Err(unexpected(other)),
            };
            let file = context.config.join(KEY_FILE).to_string_lossy() == info.path.as_str();
            // Of a token or an agent no file's numbers say that it has another key now.
            if let (Some(stamp), Some(kept), true) = (stamp, kept, file) {
                let bytes =
                    serde_json::to_vec(&Kept { stamp, info: info.clone() }).unwrap_or_default();
                // Not being able to keep the answer only costs time.
                if let Err(error) = store.put_state(&kept, &bytes) {
                    tracing::debug!(%error, "the signer's public half was not kept");
                }
            }
            info
        }
    };
    signer::key(info).map(Some)
}

/// Returns the numbers that change when the key or the attestor's configuration does; none where
/// there is neither, so that nothing can sign.
fn stamp(config: &Path) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    let found = [KEY_FILE, CONFIG_FILE].map(|name| config.join(name).symlink_metadata().ok());
    if found.iter().all(Option::is_none) {
        return None;
    }
    for found in found.into_iter().flatten() {
        numbers.extend([
            found.dev(),
            found.ino(),
            found.size(),
            found.mtime().cast_unsigned(),
            found.mtime_nsec().cast_unsigned(),
            found.ctime().cast_unsigned(),
            found.ctime_nsec().cast_unsigned(),
        ]);
    }
    Some(numbers)
}

/// Has the attestor sign the provenance of each Record, about the bytes of its artifact, and each
/// further statement.
///
/// # Errors
/// What the attestor refused, or why it could not be asked.
pub fn sign(
    attestor: &mut Attestor<'_>,
    store: &Store,
    wanted: &[(&Record, &Made)],
    attest: &BTreeSet<Further>,
    link_by: Option<&PublicKey>,
) -> Result<Vec<Signed>, Diagnostic> {
    let mut all = Vec::with_capacity(wanted.len());
    for (record, made) in wanted {
        // The descriptor is of a read-only copy in the store; the attestor hashes it itself.
        let look = Look { seconds: model::T0_SECONDS, owner: None };
        let subject = store
            .checkout_file(&made.blob, false, look)
            .map_err(|error: store::Error| crate::refusal::store(&error))?;
        let opened = std::fs::File::open(subject.path()).map_err(|error| {
            Diagnostic::new(Code::StoreUnusable, "cannot open the artifact in the store")
                .caused_by(&error)
        })?;
        let request = Request::Sign(Box::new((*record).clone()));
        let provenance = attestor.signed(&request, &opened)?;
        let mut signed = Signed {
            bundle: provenance.bundle.into_bytes(),
            lines: provenance.line.into_bytes(),
            link: None,
            further: Vec::with_capacity(attest.len()),
            dependencies: provenance.manifest.map(|manifest| manifest.text.into_bytes()),
            by: signed_by(&provenance.key),
        };
        for further in attest {
            let state = State { record: (*record).clone(), further: *further };
            let one = attestor.signed(&Request::State(Box::new(state)), &opened)?;
            signed.lines.extend_from_slice(one.line.as_bytes());
            signed.further.push((*further, one.bundle.into_bytes()));
        }
        if let Some(key) = link_by {
            let request = Request::ClassicLink(Box::new((*record).clone()));
            let line = attestor.signed(&request, &opened)?.line;
            let name = classic::file_name(&record.observed.subject.name, key);
            let file = classic::file(&line, key).map_err(|error| {
                Diagnostic::new(Code::Internal, "the attestor's link cannot be read")
                    .caused_by(&error)
            })?;
            signed.link = Some((name, file.into_bytes()));
        }
        all.push(signed);
    }
    Ok(all)
}

/// Asks the attestor one thing.
///
/// # Errors
/// Why it could not be asked; a refusal is an answer.
pub fn ask(
    context: &Context,
    request: &Request,
    files: &[std::os::fd::BorrowedFd<'_>],
) -> Result<Answer, Diagnostic> {
    let mut attestor = Attestor::begin(context)?;
    let answer = attestor.ask(request, files)?;
    attestor.leave().wait()?;
    Ok(answer)
}

/// Returns what a person reads of an answer that is not the one hoped for.
pub fn unexpected(answer: Answer) -> Diagnostic {
    match answer {
        Answer::Refused(refused) => told(&refused),
        Answer::Signed(_)
        | Answer::Key(_)
        | Answer::Identity(_)
        | Answer::Opened(_)
        | Answer::Open => {
            Diagnostic::new(Code::Internal, "the attestor answered something that was not asked")
        }
    }
}

fn told(refused: &RefusedAnswer) -> Diagnostic {
    let mut diagnostic = Diagnostic::new(code(refused.kind), headline(refused.kind));
    diagnostic.causes = refused.causes.iter().map(|cause| crate::diagnostic::flat(cause)).collect();
    match &refused.help {
        Some(help) => diagnostic.help(crate::diagnostic::flat(help)),
        None => remedy(diagnostic, refused.kind),
    }
}

fn headline(kind: RefusedKind) -> &'static str {
    match kind {
        RefusedKind::NoKey => "there is no key to sign with",
        RefusedKind::KeyUnreadable => "the signing key cannot be used",
        RefusedKind::Configuration => "the attestor's configuration cannot be used",
        RefusedKind::Trust => "what says who is believed cannot be used",
        RefusedKind::Files => "the attestor's own files cannot be used",
        RefusedKind::Full => "the disk of the attestor's own files is full",
        RefusedKind::KeyExists => "a key is there already, and none is ever overwritten",
        RefusedKind::Nonce => "the attestor signed something else under this order already",
        RefusedKind::Record | RefusedKind::Subject => "the attestor refused to sign",
        RefusedKind::SignerAbsent => "the signer that is configured is not there",
        RefusedKind::SignerUnusable => "the signer that is configured cannot be used",
        RefusedKind::SignerKept => "the configured signer's keys are not made by kiln",
        RefusedKind::ServiceUnreachable => "a service that signing takes cannot be reached",
        RefusedKind::ServiceRefused => "a service that signing takes did not do its part",
        RefusedKind::Role => "the attestor does not hear this user about that",
        RefusedKind::Busy => "the attestor has heard too much of this user",
        RefusedKind::Answered => {
            "this order has been answered: there is a statement under it already"
        }
        RefusedKind::Late => "the deadline of what was ordered is past",
        RefusedKind::NoOrder => "the attestor signs only what the control plane ordered",
        RefusedKind::Order => "the attestor does not open this order",
        RefusedKind::Predicate => "the attestor does not sign this predicate",
        RefusedKind::Summary => "the attestor does not sign this verdict",
        RefusedKind::TooLarge => "what is asked is more than the attestor takes",
        RefusedKind::Protocol => "the attestor did not understand what was asked",
    }
}

fn code(kind: RefusedKind) -> Code {
    match kind {
        RefusedKind::NoKey | RefusedKind::SignerAbsent => Code::NoKey,
        RefusedKind::KeyUnreadable
        | RefusedKind::SignerUnusable
        | RefusedKind::Configuration
        | RefusedKind::Files => Code::KeyUnreadable,
        RefusedKind::KeyExists => Code::KeyExists,
        RefusedKind::Full => Code::HostDiskFull,
        RefusedKind::SignerKept | RefusedKind::Trust => Code::WrongValue,
        RefusedKind::ServiceUnreachable => Code::SigningUnreachable,
        RefusedKind::ServiceRefused => Code::SigningRefused,
        RefusedKind::Record
        | RefusedKind::Subject
        | RefusedKind::Nonce
        | RefusedKind::Role
        | RefusedKind::Busy
        | RefusedKind::NoOrder
        | RefusedKind::Answered
        | RefusedKind::Late
        | RefusedKind::TooLarge
        | RefusedKind::Order => Code::AttestorRefused,
        RefusedKind::Predicate => Code::PredicateDerived,
        RefusedKind::Summary => Code::WrongValue,
        RefusedKind::Protocol => Code::Internal,
    }
}

/// Adds what to do, where the attestor itself did not say.
fn remedy(diagnostic: Diagnostic, kind: RefusedKind) -> Diagnostic {
    match kind {
        RefusedKind::NoKey => diagnostic.help("make one:  kiln key generate"),
        RefusedKind::KeyExists => {
            diagnostic.help("keep it, or put a new one in its place:  kiln key rotate")
        }
        RefusedKind::KeyUnreadable => diagnostic
            .help("make it a private key in PKCS#8 PEM that you alone may read:  chmod 600 KEY")
            .help("or move it away and make a new one:  kiln key generate"),
        RefusedKind::Configuration | RefusedKind::Trust => {
            diagnostic.help("mend the file that the cause names, or move it away")
        }
        RefusedKind::Full => {
            diagnostic.help("make room on the disk of the file that the cause names")
        }
        RefusedKind::Files => {
            diagnostic.help("make the folder that the cause names one that you may write to")
        }
        RefusedKind::Predicate => diagnostic
            .help("give another --type: one of your own, with a predicate that is a JSON object")
            .help("for a provenance:  kiln build --sign"),
        RefusedKind::Summary => diagnostic.help(
            "give a policy with a `uri`, and an address without credentials as --resource-uri",
        ),
        RefusedKind::Nonce | RefusedKind::Answered => diagnostic
            .help(
                "take the files that were signed under it, or have another order opened for this:",
            )
            .help("kiln attestor order, by the control plane: docs/signing.md"),
        RefusedKind::Late => diagnostic
            .help("start the command again; finished steps are not run again")
            .help("an order of the control plane has to be opened anew:  kiln attestor order --seconds N"),
        RefusedKind::Record | RefusedKind::Subject => {
            diagnostic.help("start the command again when nothing writes to the files it signs")
        }
        RefusedKind::Protocol => {
            diagnostic.help("please report this, with the output of:  kiln version")
        }
        RefusedKind::SignerAbsent
        | RefusedKind::SignerUnusable
        | RefusedKind::SignerKept
        | RefusedKind::ServiceUnreachable
        | RefusedKind::ServiceRefused => {
            diagnostic.help("see what `signer` in attestor.toml names: docs/signing.md")
        }
        RefusedKind::Role => diagnostic
            .help("ask whoever runs it: `listen` in its attestor.toml says who may ask for what"),
        RefusedKind::Busy => diagnostic.help("try again later"),
        RefusedKind::TooLarge => diagnostic.help("build in parts, or sign less at once"),
        RefusedKind::NoOrder => diagnostic.help("have it ordered:  kiln attestor order"),
        RefusedKind::Order => diagnostic
            .help("order what can be ordered; the cause says what cannot: docs/signing.md"),
    }
}

/// Says whether `evidence` is a valid statement by `signer`, about the Record's artifact, with the
/// `buildDefinition` that would be signed now, made on the same backend, and with `inputs` for what
/// `NAME.inputs` holds.
///
/// `dependencies` is what lies in `X.dependencies.json`: where the statement moved its inputs there, a
/// file that is not the one it names is stale as well.
pub fn says_the_same(
    signer: &Signer,
    record: &Record,
    evidence: &[u8],
    dependencies: Option<&[u8]>,
    inputs: &str,
) -> bool {
    let (identity, root) = match (signer, signer.identity()) {
        (Signer::Key { .. }, _) => (None, None),
        (Signer::Identity { root, .. }, Some(identity)) => (Some(identity), Some(&**root)),
        // Whose it has to be is told only by the next certificate.
        (Signer::Identity { .. }, None) => return false,
    };
    let subject = &record.observed.subject;
    let artifact = Artifact { name: &subject.name, digest: subject.blob.digest };
    let expected = Expected {
        trust: &Trust::default(),
        key: signer.key(),
        identity: identity.as_ref(),
        root,
        source: None,
    };
    let evidence = Evidence { bytes: evidence, manifest: None };
    let Ok(verified) =
        attestor::verify::verify(&artifact, &evidence, &expected, record.order.deadline)
    else {
        return false;
    };
    let Ok(derived) = attestor::statement::derive(record, &BuilderConfig::local()) else {
        return false;
    };
    let named = derived.dependency_manifest.as_ref().map(|manifest| manifest.bytes.as_slice());
    if named.is_some() && named != dependencies {
        return false;
    }
    let parsed = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let (Some(kept), Some(now)) = (parsed(verified.payload()), parsed(&derived.statement_bytes))
    else {
        return false;
    };
    let definition = "/predicate/buildDefinition";
    now.pointer(definition).is_some()
        && kept.pointer(definition) == now.pointer(definition)
        && of_the_run(&kept) == Some((record.observed.run.backend.as_str(), inputs))
}

/// Returns the id of the build that the first statement of some evidence, which was verified before, is about.
pub fn invocation(evidence: &[u8]) -> Option<String> {
    let first = attestor::bundle::read(evidence).ok()?.into_iter().next()?;
    let statement: serde_json::Value =
        serde_json::from_slice(first.envelope.unverified_payload()).ok()?;
    let id = statement.pointer("/predicate/runDetails/metadata/invocationId")?;
    id.as_str().map(str::to_owned)
}

/// Returns what a statement says of its run that the caller chose: the backend, and what
/// `NAME.inputs` holds.
fn of_the_run(statement: &serde_json::Value) -> Option<(&str, &str)> {
    let details = statement.get("predicate")?.get("runDetails")?;
    let mut byproducts = details.get("byproducts")?.as_array()?.iter();
    let level = byproducts.find_map(|one| one.get("annotations")?.get("inputs")?.as_str())?;
    Some((details.get("kiln_backend")?.as_str()?, level))
}

/// Returns facts about the host, for the run's details.
pub fn host_facts(context: &Context) -> BTreeMap<String, String> {
    let system = rustix::system::uname();
    BTreeMap::from([
        (
            "kernel".to_owned(),
            format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
        ),
        ("machine".to_owned(), system.machine().to_string_lossy().into_owned()),
        ("mode".to_owned(), if context.root { "root" } else { "rootless" }.to_owned()),
    ])
}
