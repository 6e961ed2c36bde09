//! `kiln verify`: the trust decision. Exit 0 or 4.
//!
//! Opens no socket, and neither does anything it calls: what it needs is the file, its evidence and
//! what this user trusts.

use std::path::{Path, PathBuf};

use attestor::expected_source::ExpectedSource;
use attestor::public_key::PublicKey;
use attestor::trust::Trust;
use attestor::verdict::{self, Check, Outcome, Reason, Refusal};
use attestor::verify::{Artifact, Evidence, Expected, Verified, verify};
use model::digest::Digest;
use model::text;
use serde_json::{Value, json};

use super::args::VerifyArgs;
use super::{Ended, Session, files};
use crate::diagnostic::{Code, Diagnostic, Exit, Place};
use crate::report;
use crate::store::hash_file;

/// How much of a commit's name is shown.
const COMMIT_CHARS: usize = 12;

/// Decides about each file; all must be verified.
pub fn run(session: &Session, args: &VerifyArgs) -> Ended {
    let trust = trust(session)?;
    let key = args.key.as_deref().map(|path| key(session, path)).transpose()?;
    let source = args.source.as_deref().map(ExpectedSource::parse);
    let expected = Expected { trust: &trust, key: key.as_ref(), source: source.as_ref() };
    let mut documents = Vec::new();
    let mut wrong = Vec::new();
    for file in &args.files {
        match one(session, args, file, &expected) {
            Ok(told) => {
                if session.speaks() {
                    report::told(&told.text);
                }
                documents.push(told.json);
            }
            Err(refused) => {
                if session.speaks() {
                    report::told(&refused.text);
                }
                documents.push(refused.json);
                wrong.extend(refused.diagnostics);
            }
        }
    }
    if session.global.json {
        report::document("verify", json!({"verified": wrong.is_empty(), "files": documents}));
        let codes = wrong.iter().map(|diagnostic| diagnostic.code);
        return Ok(crate::diagnostic::exit_code(codes));
    }
    if wrong.is_empty() { Ok(Exit::Done) } else { Err(wrong) }
}

struct Told {
    text: String,
    json: Value,
}

struct Refused {
    text: String,
    json: Value,
    diagnostics: Vec<Diagnostic>,
}

fn one(
    session: &Session,
    args: &VerifyArgs,
    file: &Path,
    expected: &Expected<'_>,
) -> Result<Told, Refused> {
    let path = session.context.folder.join(file);
    let name = text::escape(file.as_os_str().as_encoded_bytes());
    let stop = |diagnostic: Diagnostic| {
        let json = json!({"file": name, "verified": false, "errors": [diagnostic.to_json()]});
        Refused { text: String::new(), json, diagnostics: vec![diagnostic] }
    };
    let digest = digest(&path, &name).map_err(stop)?;
    let (evidence_path, bytes) = evidence(session, args, &path, &name).map_err(stop)?;
    let manifest = files::read(&files::beside(&path, ".dependencies.json")).ok().flatten();
    let artifact = Artifact { name: &name, digest };
    let given = Evidence { bytes: &bytes, manifest: manifest.as_deref() };
    match verify(&artifact, &given, expected, session.context.now()) {
        Ok(verified) => Ok(told(session, &name, &digest, &verified)),
        Err(refusal) => Err(refused(session, &name, &evidence_path, &refusal)),
    }
}

fn told(
    session: &Session,
    name: &str,
    digest: &Digest,
    verified: &Verified<attestor::claims::Statement>,
) -> Told {
    let mut out = checks(session, verified.checks());
    let statement = verified.value();
    let parameter =
        |name: &str| statement.external_parameters.get(name).cloned().flatten().unwrap_or_default();
    let dirty = parameter("dirty") == "true";
    out.push_str(&format!(
        " {name} is verified, L{}: built from {}\n",
        verified.level().number(),
        built_from(&parameter("source"), &parameter("commit"), dirty)
    ));
    let options = statement.options();
    for (name, value) in &options {
        let (name, value) = (text::escape(name.as_bytes()), text::escape(value.as_bytes()));
        out.push_str(&format!("   option {name}: {value}\n"));
    }
    let json = json!({
        "options": options,
        "file": name, "digest": digest, "verified": true, "level": verified.level().number(), "key": verified.key().to_string(),
        "builder": statement.builder, "backend": statement.run_details.get("kiln_backend"), "source": parameter("source"), "commit": parameter("commit"), "dirty": dirty, "checks": checks_json(verified.checks()),
    });
    Told { text: out, json }
}

/// Says in words what a statement names as the source.
fn built_from(source: &str, commit: &str, dirty: bool) -> String {
    let source = text::escape(source.as_bytes());
    let short: String = commit.chars().take(COMMIT_CHARS).collect();
    match (commit, source.as_str(), dirty) {
        ("none", "local", _) => "local files that no commit names".to_owned(),
        ("none", ..) => format!("files of {source} that no commit names"),
        (_, _, true) => {
            format!("{} of {source}, and files that differ from it", text::escape(short.as_bytes()))
        }
        (_, _, false) => format!("{} of {source}", text::escape(short.as_bytes())),
    }
}

fn refused(session: &Session, name: &str, evidence: &Path, refusal: &Refusal) -> Refused {
    let diagnostics: Vec<Diagnostic> = if refusal.reasons().next().is_none() {
        vec![
            Diagnostic::new(Code::NoStatement, format!("{name} is refused: nothing speaks for it"))
                .help("get its bundle from where the file was published, or name it:  --bundle F"),
        ]
    } else {
        let shown = evidence.strip_prefix(&session.context.folder).unwrap_or(evidence);
        refusal.reasons().map(|reason| diagnostic(name, shown, reason)).collect()
    };
    let errors: Vec<Value> = diagnostics.iter().map(Diagnostic::to_json).collect();
    let json = json!({"file": name, "verified": false, "checks": checks_json(&refusal.checks), "errors": errors});
    Refused { text: checks(session, &refusal.checks), json, diagnostics }
}

fn diagnostic(name: &str, evidence: &Path, reason: &Reason) -> Diagnostic {
    let code = match reason.code() {
        verdict::Code::NoStatement => Code::NoStatement,
        verdict::Code::SignerNotTrusted => Code::SignerNotTrusted,
        verdict::Code::EvidenceEmpty => Code::EvidenceEmpty,
        verdict::Code::EvidenceMalformed => Code::EvidenceMalformed,
        verdict::Code::SignatureBroken => Code::SignatureBroken,
        verdict::Code::WrongKind => Code::WrongKind,
        verdict::Code::SourceDiffers => Code::SourceDiffers,
        verdict::Code::NotHermetic => Code::NotHermetic,
        verdict::Code::UnknownParameter => Code::UnknownParameter,
    };
    let mut told = Diagnostic::new(code, format!("{name} is refused: {reason}"))
        .at(Place::file(text::escape(evidence.as_os_str().as_encoded_bytes())));
    if let Some((expected, got)) = reason.compared() {
        // The file is what came; the statement says what should have come.
        let (expected, got) = match reason {
            Reason::Digest { .. } => (got, expected),
            _ => (expected, got),
        };
        told = told.expected(expected).got(got);
    }
    if let Some(help) = reason.help() {
        told = told.help(help);
    }
    crate::refusal::with_causes(told, reason)
}

fn checks(session: &Session, checks: &[Check]) -> String {
    checks
        .iter()
        .map(|check| {
            let good = match check.outcome {
                Outcome::Ok => Some(true),
                Outcome::Failed(_) => Some(false),
                Outcome::NotApplicable => None,
            };
            format!(
                " {} {:<12} {}\n",
                session.style.verdict(good),
                check.subject.as_str(),
                check.detail
            )
        })
        .collect()
}

fn checks_json(checks: &[Check]) -> Vec<Value> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Ok => "ok",
        Outcome::Failed(_) => "failed",
        Outcome::NotApplicable => "not-applicable",
    };
    checks.iter().map(|check| json!({"check": check.subject.as_str(), "outcome": word(&check.outcome), "detail": check.detail})).collect()
}

fn digest(path: &Path, name: &str) -> Result<Digest, Diagnostic> {
    let refuse = |error: &dyn std::error::Error| {
        Diagnostic::new(Code::WrongValue, format!("cannot read {name}"))
            .at(Place::file(name))
            .caused_by(error)
            .help("name a plain file that you may read, such as one in kiln-out/")
    };
    let file = files::open(path).map_err(|error| refuse(&error))?;
    hash_file(&file, &mut |_| ()).map(|blob| blob.digest).map_err(|error| refuse(&error))
}

fn evidence(
    session: &Session,
    args: &VerifyArgs,
    path: &Path,
    name: &str,
) -> Result<(PathBuf, Vec<u8>), Diagnostic> {
    let candidates: Vec<PathBuf> = match &args.bundle {
        Some(bundle) => vec![session.context.folder.join(bundle)],
        None => files::EVIDENCE.iter().map(|suffix| files::beside(path, suffix)).collect(),
    };
    for candidate in candidates {
        let found = files::read(&candidate).map_err(|error| {
            Diagnostic::new(
                Code::EvidenceMalformed,
                format!("cannot read {}", text::escape(candidate.as_os_str().as_encoded_bytes())),
            )
            .caused_by(&error)
            .help("make it a plain file that you may read, or name another:  --bundle F")
        })?;
        if let Some(bytes) = found {
            return Ok((candidate, bytes));
        }
    }
    Err(Diagnostic::new(Code::NoStatement, format!("nothing speaks for {name}"))
        .expected("a file NAME.sigstore.json or NAME.intoto.jsonl beside it")
        .help("get it from where the file was published, or name it:  --bundle F"))
}

fn trust(session: &Session) -> Result<Trust, Vec<Diagnostic>> {
    let path = session.context.config.join("trust.toml");
    let refuse = |error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(Code::WrongValue, format!("cannot use {}", path.display()))
                .at(Place::file(path.display().to_string()))
                .caused_by(error)
                .help("mend it, or move it away and trust a key by name:  --key F"),
        ]
    };
    match files::read(&path) {
        Ok(None) => Ok(Trust::default()),
        Ok(Some(bytes)) => Trust::parse(&bytes).map_err(|error| refuse(&error)),
        Err(error) => Err(refuse(&error)),
    }
}

fn key(session: &Session, path: &Path) -> Result<PublicKey, Vec<Diagnostic>> {
    let shown = text::escape(path.as_os_str().as_encoded_bytes());
    let refuse = |error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(Code::KeyUnreadable, format!("cannot use the key {shown}"))
                .at(Place::file(shown.as_str()))
                .caused_by(error)
                .help("give a public key in PEM form, as kiln key export prints it"),
        ]
    };
    let bytes = files::read(&session.context.folder.join(path))
        .map_err(|error| refuse(&error))?
        .ok_or_else(|| refuse(&std::io::Error::from(std::io::ErrorKind::NotFound)))?;
    let pem = String::from_utf8(bytes).map_err(|error| refuse(&error))?;
    PublicKey::from_pem(&pem).map_err(|error| refuse(&error))
}
