//! `--vsa OUT`: the verdict, signed by the attestor.
//!
//! The attestor is given the file, the evidence, the policy and the address; it verifies for itself and
//! signs what came of it. Where it came to another verdict than this process, that is an error: the two
//! have different trust, or another clock.

use std::os::fd::AsFd;
use std::path::Path;

use attestor::bundle;
use attestor::pipe::{Answer, EvidenceText, Request, Signed, Summarise};
use model::record::{Nonce, Subject};

use super::super::policy::Loaded;
use super::super::{Session, files, lasting};
use super::Target;
use crate::diagnostic::{Code, Diagnostic};
use crate::store::hash_file;
use crate::{context, sign};

/// Seconds that the attestor has.
const SIGNING_SECONDS: i64 = 60;
/// What the line file's name ends with; the bundle's is derived from it.
const LINE: &str = ".vsa.jsonl";

/// What a summary is asked for.
pub struct Asked<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its name, digest and evidence.
    pub target: &'a Target,
    /// The policy.
    pub policy: Option<&'a Loaded>,
    /// The address.
    pub resource_uri: &'a str,
    /// Attestations of dependencies.
    pub dependencies: Option<Vec<String>>,
    /// What this process came to.
    pub passed: bool,
    /// Whether independent builders built the same.
    pub reproduced: bool,
}

/// Has the verdict signed and writes it: `OUT.vsa.jsonl` and `OUT.vsa.sigstore.json`, and the same with
/// `.reproduced` where that was shown. Returns the names.
///
/// # Errors
/// Why nothing was signed or written.
pub fn write(
    session: &Session,
    asked: &Asked<'_>,
    out: &Path,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    let path = session.context.folder.join(out);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(LINE).unwrap_or(&name).to_owned();
    let folder = path.parent().unwrap_or(&session.context.folder).to_owned();
    let mut files = one(session, asked, &folder, &stem, false)?;
    if asked.passed && asked.reproduced {
        files.extend(one(session, asked, &folder, &format!("{stem}.reproduced"), true)?);
    }
    Ok(files)
}

fn one(
    session: &Session,
    asked: &Asked<'_>,
    folder: &Path,
    stem: &str,
    reproduced: bool,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    let signed = sign_it(session, asked, reproduced)?;
    let read = bundle::read(signed.line.as_bytes())
        .ok()
        .and_then(|all| attestor::vsa::read(all.first()?.envelope.unverified_payload()).ok());
    let Some(summary) = read else {
        let headline = "the attestor signed something that is no summary";
        return Err(vec![Diagnostic::new(Code::Internal, headline)]);
    };
    if summary.passed != asked.passed {
        let told = |passed| if passed { "PASSED" } else { "FAILED" };
        return Err(vec![
            Diagnostic::new(Code::AttestorRefused, "the attestor came to another verdict")
                .expected(told(asked.passed))
                .got(told(summary.passed))
                .help("compare the trust.toml and the clock of the two"),
        ]);
    }
    let names = [format!("{stem}{LINE}"), format!("{stem}.vsa.sigstore.json")];
    lasting::write(folder, &names[0], signed.line.as_bytes())?;
    lasting::write(folder, &names[1], signed.bundle.as_bytes())?;
    Ok(names.iter().map(|name| model::text::escape(name.as_bytes())).collect())
}

fn sign_it(
    session: &Session,
    asked: &Asked<'_>,
    reproduced: bool,
) -> Result<Signed, Vec<Diagnostic>> {
    let target = asked.target;
    let refuse = |error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(Code::WrongValue, format!("cannot read {}", target.name))
                .caused_by(error),
        ]
    };
    let file = files::open(asked.path).map_err(|error| refuse(&error))?;
    let blob = hash_file(&file, &mut |_| ()).map_err(|error| refuse(&error))?;
    let name = asked.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|error| {
            vec![
                Diagnostic::new(Code::EvidenceMalformed, "the evidence is no text")
                    .caused_by(&error),
            ]
        })
    };
    let mut evidence = Vec::new();
    for one in &target.evidence {
        let manifest = one.manifest.as_deref().map(text).transpose()?;
        evidence.push(EvidenceText { text: text(&one.bytes)?, manifest });
    }
    let random = context::random().map_err(|error| {
        vec![Diagnostic::new(Code::Internal, "the kernel gives no random bytes").caused_by(&error)]
    })?;
    let request = Request::Summarise(Box::new(Summarise {
        subject: Subject { name: name.unwrap_or_default(), blob },
        evidence,
        policy: asked.policy.map(|loaded| loaded.file.text().to_owned()).unwrap_or_default(),
        resource_uri: asked.resource_uri.to_owned(),
        dependencies: asked.dependencies.clone(),
        reproduced,
        nonce: Nonce::from_bytes(random),
        deadline: session.context.now() + SIGNING_SECONDS,
    }));
    match sign::ask(&session.context, &request, &[file.as_fd()]) {
        Ok(Answer::Signed(signed)) => Ok(signed),
        Ok(other) => Err(vec![sign::unexpected(other)]),
        Err(diagnostic) => Err(vec![diagnostic]),
    }
}
