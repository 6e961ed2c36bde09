//! `--vsa OUT`: the verdict, signed by the attestor.
//!
//! The attestor is given the file, the evidence, the policy and the address; it verifies for itself and
//! signs what came of it. Where it came to another verdict than this process, the two have different
//! trust, or another clock. Its FAILED is the verdict that was asked for: it is written, and the file is
//! refused with its reasons. Its PASSED about a file that is refused here is not written. Nothing is signed by whom
//! this user's trust revokes: nobody who trusts alike would believe it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use attestor::bundle;
use attestor::pipe::{Answer, EvidenceText, Request, Signed, Summarise, WhyRefused};
use model::record::{Nonce, Subject};
use model::text::escape;

use super::super::args::VerifyArgs;
use super::super::policy::Loaded;
use super::super::{Session, files, lasting, wrong_usage};
use super::Target;
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::sign::Attestor;
use crate::store::hash_file;
use crate::{context, pipeline, sign};

/// Seconds that the attestor has.
const SIGNING_SECONDS: i64 = 60;

/// Most bytes that the attestor is sent of lists of dependencies: one for each bundle.
const LISTS_BYTES_MAX: usize = 128 << 20;

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

/// What was written.
#[derive(Default)]
pub struct Written {
    /// The names.
    pub files: Vec<String>,
    /// Why the attestor refuses a file that verifies here.
    pub refused: Vec<Diagnostic>,
}

/// Where a verdict is to be written.
pub struct Place {
    /// The folder.
    folder: PathBuf,
    /// What stands before the names, as it was given.
    shown: String,
    /// What the files are called, without their ends.
    stem: String,
}

/// Reads `--vsa OUT`, before anything is judged.
///
/// # Errors
/// More than one file to judge, and an OUT that is no name of a file: what has none, a folder, and what is no plain file.
pub fn place(session: &Session, args: &VerifyArgs, out: &Path) -> Result<Place, Vec<Diagnostic>> {
    if args.files.len() != 1 {
        return Err(vec![
            wrong_usage("a summary is about one file").help("verify them one by one"),
        ]);
    }
    let path = session.context.folder.join(out);
    let is_folder = out.as_os_str().as_encoded_bytes().ends_with(b"/");
    let name = path.file_name().filter(|_| !is_folder).and_then(|name| name.to_str());
    let stem = name.map(|name| name.strip_suffix(files::SUMMARY).unwrap_or(name));
    let there = path.metadata().is_ok_and(|found| !found.is_file());
    let (Some(stem), false) = (stem.filter(|stem| !stem.is_empty()), there) else {
        let what = if there { "a folder, or no plain file" } else { "no name of a file" };
        return Err(vec![
            wrong_usage("--vsa does not say what the summary is to be called")
                .expected("the name of a file, such as hello.vsa.jsonl")
                .got(format!("{}, {what}", escape(out.as_os_str().as_encoded_bytes())))
                .help("name the file in the folder that it is to be in:  --vsa DIR/NAME.vsa.jsonl"),
        ]);
    };
    let given = out.parent().filter(|given| !given.as_os_str().is_empty());
    let shown = given
        .map(|given| escape(given.join("").as_os_str().as_encoded_bytes()))
        .unwrap_or_default();
    let folder = path.parent().unwrap_or(&session.context.folder).to_owned();
    Ok(Place { folder, shown, stem: stem.to_owned() })
}

/// Has the verdict signed and writes it: `OUT.vsa.jsonl` and `OUT.vsa.sigstore.json`, and the same with
/// `.reproduced` where that was shown.
///
/// # Errors
/// Why nothing was signed or written.
pub fn write(
    session: &Session,
    asked: &Asked<'_>,
    out: &Place,
) -> Result<Written, Vec<Diagnostic>> {
    let mut written = one(session, asked, out, &out.stem, false)?;
    if asked.passed && asked.reproduced && written.refused.is_empty() {
        let more = one(session, asked, out, &format!("{}.reproduced", out.stem), true)?;
        written.files.extend(more.files);
        written.refused.extend(more.refused);
    }
    Ok(written)
}

fn one(
    session: &Session,
    asked: &Asked<'_>,
    out: &Place,
    stem: &str,
    reproduced: bool,
) -> Result<Written, Vec<Diagnostic>> {
    let signed = sign_it(session, asked, reproduced)?;
    let read = bundle::read(signed.line.as_bytes())
        .ok()
        .and_then(|all| attestor::vsa::read(all.first()?.envelope.unverified_payload()).ok());
    let Some(summary) = read else {
        let headline = "the attestor signed something that is no summary";
        return Err(vec![Diagnostic::new(Code::Internal, headline)]);
    };
    if summary.passed && !asked.passed {
        let name = &asked.target.name;
        let headline =
            format!("{name} is refused here, so the attestor's other verdict is not written");
        return Err(vec![
            Diagnostic::new(Code::SummaryRefused, headline)
                .expected("FAILED")
                .got("PASSED")
                .help("compare the trust.toml and the clock of the two"),
        ]);
    }
    let refused = match asked.passed && !summary.passed {
        true => by_the_attestor(&asked.target.name, &signed.refused),
        false => Vec::new(),
    };
    let names = [format!("{stem}{}", files::SUMMARY), format!("{stem}.vsa.sigstore.json")];
    lasting::write(&out.folder, &names[0], signed.line.as_bytes())?;
    lasting::write(&out.folder, &names[1], signed.bundle.as_bytes())?;
    let shown = |name: &String| format!("{}{}", out.shown, escape(name.as_bytes()));
    let files = names.iter().map(shown).collect();
    Ok(Written { files, refused })
}

/// Returns the attestor's verdict about a file that verifies here, with its reasons.
fn by_the_attestor(name: &str, reasons: &[WhyRefused]) -> Vec<Diagnostic> {
    let one = |code: Code, why: &str| {
        Diagnostic::new(code, format!("{name} is refused by the attestor: {why}"))
            .expected("PASSED, as the file verifies here")
            .got("FAILED")
            .help("compare the trust.toml and the clock of the two")
    };
    if reasons.is_empty() {
        return vec![one(Code::SummaryRefused, "its verdict gives no reason")];
    }
    let told = reasons.iter().map(|reason| {
        // Whatever the other side says, its verdict is no failure of another kind.
        let code = Code::from_number(reason.code).filter(|code| code.exit() == Exit::Refused);
        one(code.unwrap_or(Code::SummaryRefused), &crate::diagnostic::flat(&reason.text))
    });
    told.collect()
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
    let lists = target.evidence.iter().filter_map(|one| one.manifest.as_ref());
    if lists.map(|list| list.len()).sum::<usize>() > LISTS_BYTES_MAX {
        let headline = format!("the evidence for {} is too large for a summary", target.name);
        return Err(vec![
            Diagnostic::new(Code::EvidenceMalformed, headline)
                .expected("at most 128 MiB, with the list of dependencies once for each bundle")
                .help("name the bundles that count:  --bundle F"),
        ]);
    }
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
    let one = |diagnostic| vec![diagnostic];
    let mut attestor = Attestor::begin(&session.context).map_err(one)?;
    pipeline::check_revoked(session, &mut attestor)?;
    let answer = attestor.ask(&request, &[file.as_fd()]).map_err(one)?;
    attestor.leave().wait().map_err(one)?;
    match answer {
        Answer::Signed(signed) => Ok(signed),
        other => Err(vec![sign::unexpected(other)]),
    }
}
