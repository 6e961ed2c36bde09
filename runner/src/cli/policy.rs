//! `kiln policy`: rules that `kiln verify --policy` applies. Learned, checked, tried on cases.

use std::path::Path;

use attestor::claims::Statement;
use attestor::policy::{
    Case, Cases, Expect, NAMES, Policy, Problem, Question, Span, Wrong, decide, learn, named,
    queried,
};
use attestor::trust::Trust;
use attestor::verdict::{Reason, Refusal};
use attestor::verify::{Artifact, Evidence, Expected, Verified};
use model::Digest;
use model::text::escape;
use serde_json::{Value, json};

use super::args::{PolicyCommand, PolicyInit};
use super::{Ended, Session, files, lasting, trust, verify, wrong_usage};
use crate::diagnostic::{self, Code, Diagnostic, Exit, FileText, nearest, one_of};
use crate::report;

/// The table of `kiln policy test`.
const CASES: &str = "cases.yaml";

/// A policy that was read, with its text for messages.
pub struct Loaded {
    /// What it says.
    pub policy: Policy,
    /// Its name and text.
    pub file: FileText,
}

/// Runs one of the policy commands.
pub fn run(session: &Session, command: &PolicyCommand) -> Ended {
    match command {
        PolicyCommand::Init(args) => init(session, args),
        PolicyCommand::Check { policy } => check(session, policy),
        PolicyCommand::Test { cases } => test(session, cases),
        PolicyCommand::Show { name } => match named(name) {
            Some(text) => {
                super::answer(session, "policy", text.as_bytes());
                Ok(Exit::Done)
            }
            None => Err(vec![
                wrong_usage(format!("no curated policy is called {}", escape(name.as_bytes())))
                    .expected(one_of(NAMES)),
            ]),
        },
    }
}

/// Reads a policy: a curated set by its name, else a file.
///
/// # Errors
/// All that is wrong with it, each with its place.
pub fn load(session: &Session, name: &str, now: i64) -> Result<Loaded, Vec<Diagnostic>> {
    let (shown, bytes) = match named(name) {
        Some(text) => (name.to_owned(), text.as_bytes().to_vec()),
        None => {
            let shown = escape(name.as_bytes());
            let refuse = |error: &dyn std::error::Error| {
                vec![
                    Diagnostic::new(
                        Code::PolicyMalformed,
                        format!("cannot read the policy {shown}"),
                    )
                    .caused_by(error)
                    .help(format!("name a file, or a curated set: {}", NAMES.join(", "))),
                ]
            };
            let bytes = files::read(&session.context.folder.join(name))
                .map_err(|error| refuse(&error))?
                .ok_or_else(|| refuse(&files::missing()))?;
            (shown, bytes)
        }
    };
    let file = FileText::new(shown, String::from_utf8_lossy(&bytes).into_owned());
    match Policy::parse(&bytes) {
        Ok(policy) => match policy.reachable_at(now) {
            Ok(()) => Ok(Loaded { policy, file }),
            Err(problem) => Err(vec![told(&file, &problem)]),
        },
        Err(problems) => Err(problems.iter().map(|one| told(&file, one)).collect()),
    }
}

/// Returns a place of the policy as messages have it.
pub fn span(span: Span) -> diagnostic::Span {
    diagnostic::Span::new(span.start, span.end)
}

fn told(file: &FileText, problem: &Problem) -> Diagnostic {
    let wrong = &problem.wrong;
    let mut told = Diagnostic::new(Code::PolicyMalformed, wrong.to_string())
        .at(file.place(span(problem.span)));
    if let Some((expected, got)) = wrong.compared() {
        told = told.expected(expected).got(got);
    }
    if let Wrong::UnknownKey { key, known, .. } = wrong {
        told = told.expected(one_of(known.iter().copied())).got(key.clone());
        if let Some(near) = nearest(key, known.iter().copied()).first() {
            told = told.help(format!("did you mean `{near}`?"));
        }
    }
    match wrong.help() {
        Some(help) => told = told.help(help),
        None if told.help.is_empty() => {
            let code = told.code;
            told = told.help(format!("what is allowed, with an example:  kiln explain {code}"));
        }
        None => {}
    }
    crate::refusal::with_causes(told, wrong)
}

fn init(session: &Session, args: &PolicyInit) -> Ended {
    let path = session.context.folder.join(&args.file);
    let name = escape(args.file.as_os_str().as_encoded_bytes());
    let stop = |diagnostic: Diagnostic| vec![diagnostic];
    let digest = verify::digest(&path, &name).map_err(stop)?;
    let bundles: Vec<_> = args.bundle.iter().cloned().collect();
    let found = verify::gather(session, &bundles, &path, &name, false).map_err(stop)?;
    let trust = trust::read(session)?;
    let root = verify::root::read(session, args.root.trusted_root.as_deref(), false, &trust)?;
    let expected =
        Expected { trust: &trust, key: None, identity: None, root: root.as_ref(), source: None };
    let artifact = Artifact { name: &name, digest };
    let now = session.context.now();
    let first = found.first().map(verify::Found::evidence);
    let evidence = first.unwrap_or(Evidence { bytes: b"", manifest: None });
    let verified = attestor::verify::verify(&artifact, &evidence, &expected, now)
        .map_err(|refusal| verify::refused(session, &name, &found, None, &refusal).diagnostics)?;
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    can_be_learned_from(&name, &verified, &evidence).map_err(stop)?;
    let text = learn(&stem, &verified, evidence.manifest);
    // What is learned must at least accept what it was learned from.
    let policy = Policy::parse(text.as_bytes()).map_err(|wrong| {
        let cause = wrong.first().map(ToString::to_string).unwrap_or_default();
        stop(not_learned(&name, cause))
    })?;
    let question = Question {
        artifact,
        evidence: &[evidence],
        expected,
        policy: Some(&policy),
        summary: None,
        now,
    };
    decide(&question).map_err(|refusal| {
        let cause = refusal.reasons().next().map(attestor::verdict::Reason::whole);
        stop(not_learned(&name, cause.unwrap_or_default()))
    })?;
    let Some(output) = &args.output else {
        super::answer(session, "policy", text.as_bytes());
        return Ok(Exit::Done);
    };
    let target = session.context.folder.join(output);
    let shown = escape(output.as_os_str().as_encoded_bytes());
    if target.symlink_metadata().is_ok() {
        return Err(stop(
            wrong_usage(format!("{shown} is there already")).help("name another file"),
        ));
    }
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned());
    let folder = target.parent().unwrap_or(&session.context.folder);
    lasting::write(folder, &name.unwrap_or_default(), text.as_bytes())?;
    if session.global.json {
        report::document("policy", json!({"file": target, "digest": policy.digest()}));
    } else if session.speaks() {
        report::line(&format!(" wrote {shown}; look at each rule before you rely on it"));
    }
    Ok(Exit::Done)
}

/// Refuses a statement whose list of inputs is not at hand, or an address of which could hold a token.
fn can_be_learned_from(
    name: &str,
    verified: &Verified<Statement>,
    evidence: &Evidence<'_>,
) -> Result<(), Diagnostic> {
    if let (Some(list), None) = (verified.value().manifest(), evidence.manifest) {
        let list = escape(list.name.as_bytes());
        let headline =
            format!("no policy can be learned from {name} without its list of dependencies");
        return Err(Diagnostic::new(Code::PolicyRefused, headline)
            .expected(format!("the list {list} beside the file"))
            .got("no list")
            .help("get the list from where the file was published"));
    }
    let Some((what, address)) = queried(verified) else { return Ok(()) };
    let headline = format!("{name} verifies, and no policy can be learned from it");
    Err(Diagnostic::new(Code::PolicyRefused, headline)
        .expected("addresses without query and fragment, in which a token could stand")
        .got(format!("`{what}` is {address} with one"))
        .help("have it built from an address without one; if a token is in it, revoke that")
        .help("or write the rules that you need yourself; docs/policy.md lists them"))
}

/// A statement can hold words that no policy has, such as a role of its own.
fn not_learned(name: &str, cause: String) -> Diagnostic {
    Diagnostic::new(
        Code::PolicyRefused,
        format!("{name} verifies, and no policy can be learned from it"),
    )
    .expected("words that a policy has")
    .got(cause)
    .help("write the rules that you need yourself; docs/policy.md lists them")
}

fn check(session: &Session, name: &str) -> Ended {
    let loaded = load(session, name, session.context.now())?;
    let (shown, policy) = (loaded.file.name(), &loaded.policy);
    if session.global.json {
        let document = json!({"policy": shown, "name": policy.name(), "uri": policy.uri(), "digest": policy.digest()});
        report::document("policy-check", document);
    } else if session.speaks() {
        report::line(&format!(
            " {shown} is sound: {}, {}",
            escape(policy.name().as_bytes()),
            policy.digest()
        ));
    }
    Ok(Exit::Done)
}

fn test(session: &Session, folder: &Path) -> Ended {
    let folder = session.context.folder.join(folder);
    let path = folder.join(CASES);
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let refuse = |error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(Code::PolicyMalformed, format!("cannot read {shown}")).caused_by(error),
        ]
    };
    let bytes = files::read(&path)
        .map_err(|error| refuse(&error))?
        .ok_or_else(|| refuse(&files::missing()))?;
    let file = FileText::new(shown.clone(), String::from_utf8_lossy(&bytes).into_owned());
    let cases = Cases::parse(&bytes)
        .map_err(|problems| problems.iter().map(|one| told(&file, one)).collect::<Vec<_>>())?;
    let name = match named(&cases.policy) {
        Some(_) => cases.policy.clone(),
        None => folder.join(&cases.policy).to_string_lossy().into_owned(),
    };
    let now = cases.now.unwrap_or_else(|| session.context.now());
    let loaded = load(session, &name, now)?;
    let trust = match &cases.trust {
        None => trust::read(session)?,
        Some(path) => {
            let bytes = read(&folder.join(path.as_str())).map_err(|diagnostic| vec![diagnostic])?;
            Trust::parse(&bytes).map_err(|error| refuse(&error))?
        }
    };
    let root = cases.trusted_root.as_ref().map(|path| folder.join(path.as_str()));
    let root = verify::root::read(session, root.as_deref(), false, &trust)?;
    let believed =
        Expected { trust: &trust, key: None, identity: None, root: root.as_ref(), source: None };
    let (mut wrong, mut rows) = (Vec::new(), Vec::new());
    for case in &cases.cases {
        let came = run_case(&folder, case, &loaded, believed, now);
        let good = came.is_ok();
        let name = escape(case.name.as_bytes());
        if session.speaks() {
            report::line(&format!(" {} {name}", session.style.verdict(Some(good))));
        }
        rows.push(json!({"case": case.name, "passed": good}));
        wrong.extend(came.err().map(|diagnostic| match diagnostic.code {
            Code::CaseFailed => diagnostic.at(file.place(span(case.span))),
            _ => diagnostic,
        }));
    }
    if session.global.json {
        let errors: Vec<Value> = wrong.iter().map(Diagnostic::to_json).collect();
        report::document(
            "policy-test",
            json!({"passed": wrong.is_empty(), "cases": rows, "errors": errors}),
        );
        return Ok(diagnostic::exit_code(wrong.iter().map(|diagnostic| diagnostic.code)));
    }
    if wrong.is_empty() { Ok(Exit::Done) } else { Err(wrong) }
}

fn run_case(
    folder: &Path,
    case: &Case,
    loaded: &Loaded,
    believed: Expected<'_>,
    now: i64,
) -> Result<(), Diagnostic> {
    let mut bundles = Vec::new();
    for bundle in &case.bundles {
        bundles.push(read(&folder.join(bundle.as_str()))?);
    }
    let (digest, manifest) = match &case.file {
        Some(file) => {
            let path = folder.join(file.as_str());
            let manifest = files::read(&files::beside(&path, ".dependencies.json")).ok().flatten();
            (Digest::of(&read(&path)?), manifest)
        }
        None => (case.digest.unwrap_or_else(|| Digest::of(b"")), None),
    };
    let evidence: Vec<Evidence<'_>> =
        bundles.iter().map(|bytes| Evidence { bytes, manifest: manifest.as_deref() }).collect();
    let decided = decide(&Question {
        artifact: Artifact { name: &case.name, digest },
        evidence: &evidence,
        expected: believed,
        policy: Some(&loaded.policy),
        summary: None,
        now,
    });
    let failed = |expected: String, got: String| {
        let headline = format!("case {} came out otherwise", escape(case.name.as_bytes()));
        Err(Diagnostic::new(Code::CaseFailed, headline).expected(expected).got(got))
    };
    match (&case.expect, decided) {
        (Expect::Accept, Ok(_)) | (Expect::Refuse(None), Err(_)) => Ok(()),
        (Expect::Accept, Err(refusal)) => failed("accepted".to_owned(), refused_by(&refusal)),
        (Expect::Refuse(_), Ok(_)) => failed("refused".to_owned(), "accepted".to_owned()),
        (Expect::Refuse(Some(rule)), Err(refusal)) => {
            let names = rules(&refusal);
            if names.iter().any(|name| name == rule) {
                return Ok(());
            }
            failed(format!("refused by {}", escape(rule.as_bytes())), refused_by(&refusal))
        }
    }
}

/// Returns what refused a file: the policy's rules by their names, other checks by their codes.
fn rules(refusal: &Refusal) -> Vec<String> {
    let name = |reason: &Reason| match reason {
        Reason::Policy(broken) => broken.rule.clone(),
        other => other.code().to_string(),
    };
    refusal.reasons().map(name).collect()
}

fn refused_by(refusal: &Refusal) -> String {
    format!("refused by {}", rules(refusal).join(", "))
}

fn read(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let refuse = |error: &dyn std::error::Error| {
        Diagnostic::new(Code::PolicyMalformed, format!("cannot read {shown}")).caused_by(error)
    };
    files::read(path).map_err(|error| refuse(&error))?.ok_or_else(|| refuse(&files::missing()))
}
