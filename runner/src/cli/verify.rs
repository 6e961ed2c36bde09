//! `kiln verify`: the trust decision. Exit 0 or 4.
//!
//! Opens no socket, and neither does anything it calls: what it needs is the file, its evidence, what
//! this user trusts and what is expected. Only `--vsa` speaks with another process, the attestor, by the
//! pair of sockets it is born with.
//!
//! A file is verified where at least one attestation passes every check. None at all is a refusal.

mod dependencies;
mod evidence;
mod exact;
mod layout;
mod oci;
pub mod root;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use attestor::claims::Statement;
use attestor::expected_source::ExpectedSource;
use attestor::policy::{Accepted, Decision, Held, Question, decide};
use attestor::sigstore::Identity;
use attestor::trust::Level;
use attestor::verdict::{self, Check, Outcome, Reason, Refusal};
use attestor::verify::{Artifact, Evidence, Expected, SignedBy, Verified};
use attestor::vsa::{VerifiedSummary, Wanted};
use model::address::without_credentials;
use model::text;
use serde_json::{Value, json};

use super::args::VerifyArgs;
use super::policy::Loaded;
use super::{Ended, Session, policy, trust};
use crate::diagnostic::{Code, Diagnostic, Exit, FileText, Place};
use crate::report;

pub use evidence::{Found, digest, gather};

/// One thing to decide about.
pub struct Target {
    /// What people call it.
    pub name: String,
    /// What its bytes hash to.
    pub digest: model::Digest,
    /// What speaks for it.
    pub evidence: Vec<Found>,
}

/// How much of a commit's name is shown.
const COMMIT_CHARS: usize = 12;
/// The backend whose mechanisms are those that people expect, and are not told each time.
const NATIVE: &str = "native";

/// Decides about each file; all must be verified.
pub fn run(session: &Session, args: &VerifyArgs) -> Ended {
    if let Some(layout) = &args.layout {
        return layout::run(session, args, layout);
    }
    let is_image = |file: &&PathBuf| oci::is_layout(&session.context.folder.join(file));
    evidence::look(session, args.files.iter().filter(|file| !is_image(file)))?;
    let trust = trust::read(session)?;
    let key = args.key.as_deref().map(|path| trust::key(session, path)).transpose()?;
    let source = args.source.as_deref().map(ExpectedSource::parse);
    let identity = match (&args.by.identity, &args.by.issuer) {
        (Some(subject), Some(issuer)) => {
            Some(Identity { subject: subject.clone(), issuer: issuer.clone() })
        }
        _ => None,
    };
    let root =
        root::read(session, args.root.trusted_root.as_deref(), args.by.identity.is_some(), &trust)?;
    let expected = Expected {
        trust: &trust,
        key: key.as_ref(),
        identity: identity.as_ref(),
        root: root.as_ref(),
        source: source.as_ref(),
    };
    let load = |name| policy::load(session, name, session.context.now());
    let loaded = args.policy.as_deref().map(load).transpose()?;
    let dependencies = dependencies::read(session, args.deps.as_deref())?;
    let vsa = args.vsa.as_deref().map(|out| summary::place(session, args, out)).transpose()?;
    let judge = Judge {
        session,
        args,
        expected,
        policy: loaded.as_ref(),
        dependencies: dependencies.as_ref(),
        vsa: vsa.as_ref(),
    };
    let (mut documents, mut wrong) = (Vec::new(), Vec::new());
    for file in &args.files {
        for told in judge.file(file) {
            if session.speaks() {
                report::told(&told.whole());
            }
            documents.push(told.json);
            wrong.extend(told.diagnostics);
        }
    }
    if session.global.json {
        report::document("verify", json!({"verified": wrong.is_empty(), "files": documents}));
        let codes = wrong.iter().map(|diagnostic| diagnostic.code);
        return Ok(crate::diagnostic::exit_code(codes));
    }
    if wrong.is_empty() { Ok(Exit::Done) } else { Err(wrong) }
}

/// What is told of one file.
pub struct Told {
    /// The checks.
    text: String,
    /// That it is verified, and what else is to be known of it; empty if it is refused.
    verdict: String,
    /// What was written.
    written: String,
    json: Value,
    /// Why it is refused; empty if it is not.
    pub diagnostics: Vec<Diagnostic>,
}

impl Told {
    fn verified(text: String, verdict: String, json: Value) -> Told {
        Told { text, verdict, written: String::new(), json, diagnostics: Vec::new() }
    }

    fn refused(text: String, json: Value, diagnostics: Vec<Diagnostic>) -> Told {
        Told { text, verdict: String::new(), written: String::new(), json, diagnostics }
    }

    fn whole(&self) -> String {
        [self.text.as_str(), &self.verdict, &self.written].concat()
    }
}

/// All that is the same for every file.
struct Judge<'a> {
    session: &'a Session,
    args: &'a VerifyArgs,
    expected: Expected<'a>,
    policy: Option<&'a Loaded>,
    dependencies: Option<&'a dependencies::Given>,
    vsa: Option<&'a summary::Place>,
}

impl Judge<'_> {
    fn file(&self, file: &Path) -> Vec<Told> {
        let path = self.session.context.folder.join(file);
        let name = text::escape(file.as_os_str().as_encoded_bytes());
        let stop = |diagnostic: Diagnostic| {
            let json = json!({"file": name, "verified": false, "errors": [diagnostic.to_json()]});
            vec![Told::refused(String::new(), json, vec![diagnostic])]
        };
        let targets = if oci::is_layout(&path) {
            oci::targets(&path, &name)
        } else {
            self.plain(&path, &name).map(|target| vec![target])
        };
        match targets {
            Ok(targets) => targets.iter().map(|target| self.target(&path, target)).collect(),
            Err(diagnostic) => stop(diagnostic),
        }
    }

    fn plain(&self, path: &Path, name: &str) -> Result<Target, Diagnostic> {
        let digest = digest(path, name)?;
        // Of several summaries the newest decides, so that all are read where one may count.
        let wants_others = self.policy.is_some_and(|loaded| loaded.policy.wants_others())
            || self.takes_summaries() && self.args.resource_uri.is_some();
        let evidence = gather(self.session, &self.args.bundle, path, name, wants_others)?;
        Ok(Target { name: name.to_owned(), digest, evidence })
    }

    /// Says whether a summary may stand in for provenance: not where one is to be written.
    fn takes_summaries(&self) -> bool {
        self.args.vsa.is_none()
    }

    fn target(&self, path: &Path, target: &Target) -> Told {
        let evidence: Vec<Evidence<'_>> = target.evidence.iter().map(Found::evidence).collect();
        let wanted = self.args.resource_uri.as_ref().map(|uri| Wanted {
            resource_uri: uri.clone(),
            level: self.args.level.unwrap_or(Level::L1),
            policy: self.policy.map(|loaded| loaded.policy.digest()),
        });
        let now = self.session.context.now();
        let decided = decide(&Question {
            artifact: Artifact { name: &target.name, digest: target.digest },
            evidence: &evidence,
            expected: self.expected,
            policy: self.policy.map(|loaded| &loaded.policy),
            summary: wanted.as_ref().filter(|_| self.takes_summaries()),
            now,
        });
        let mut told = match &decided {
            Ok(decision) => self.accepted(target, decision),
            Err(refusal) => {
                refused(self.session, &target.name, &target.evidence, self.policy, refusal)
            }
        };
        if let Some(out) = self.vsa {
            let asked = summary::Asked {
                path,
                target,
                policy: self.policy,
                resource_uri: self.args.resource_uri.as_deref().unwrap_or_default(),
                dependencies: self.dependencies.map(|given| given.texts.clone()),
                passed: told.diagnostics.is_empty(),
                reproduced: decided.is_ok_and(|decision| decision.reproduced > 1),
            };
            match summary::write(self.session, &asked, out) {
                Ok(written) => {
                    written.refused.into_iter().for_each(|one| refuse(&mut told, one));
                    for file in &written.files {
                        told.written.push_str(&format!(" wrote {file}\n"));
                    }
                    told.json["summaries"] = json!(written.files);
                }
                Err(found) => found.into_iter().for_each(|one| note(&mut told, one)),
            }
        }
        told
    }

    fn accepted(&self, target: &Target, decision: &Decision) -> Told {
        let mut told = match &decision.accepted {
            Accepted::Provenance(verified) => self.provenance(target, decision, verified),
            Accepted::Summary(summary) => self.summary(target, decision, summary),
        };
        if let Some(wanted) = self.args.level.filter(|wanted| *wanted > decision.level) {
            let diagnostic = Diagnostic::new(
                Code::PolicyRefused,
                format!("{} is refused: its level is too low", target.name),
            )
            .expected(format!("{wanted} or higher"))
            .got(decision.level.to_string())
            .help("take a file from a builder of that level; a bare --key gives L1 at most");
            refuse(&mut told, diagnostic);
        }
        let by_provenance = matches!(decision.accepted, Accepted::Provenance(_));
        if by_provenance && self.takes_summaries() && self.args.resource_uri.is_some() {
            told.text.push_str(&format!(
                " {} {:<12} not asked: provenance verifies, so --resource-uri says nothing of it\n",
                self.session.style.verdict(None),
                "summary"
            ));
            told.json["summary"] = json!("not asked");
        }
        let Some(given) = self.dependencies else { return told };
        let Accepted::Provenance(verified) = &decision.accepted else {
            // What is asked for is judged, or it is refused.
            refuse(&mut told, dependencies::unsaid(&target.name));
            return told;
        };
        let (trust, root) = (self.expected.trust, self.expected.root);
        let tree = given.found.walk(verified, trust, root, self.session.context.now());
        told.text.push_str(&dependencies::told(self.session, &tree, given.other));
        told.json["dependencies"] = dependencies::document(&tree, given.other);
        if let Some(bad) = tree.first_bad() {
            refuse(&mut told, dependencies::diagnostic(&target.name, bad));
        }
        told
    }

    fn provenance(
        &self,
        target: &Target,
        decision: &Decision,
        verified: &Verified<Statement>,
    ) -> Told {
        let mut out = checks(self.session, verified.checks());
        let statement = verified.value();
        let parameter = |name: &str| statement.parameter(name).to_owned();
        if let Some(loaded) = self.policy {
            out.push_str(&self.rules(loaded, decision));
        }
        let dirty = statement.is_dirty();
        let mut verdict = format!(
            " {} is verified, L{}: built from {}\n",
            target.name,
            decision.level.number(),
            built_from(&parameter("source"), &parameter("commit"), dirty)
        );
        if let Some(odd) = statement.odd_dirty() {
            verdict.push_str(&format!(" dirty: {}\n", shown(&[odd])));
        }
        let waivers = statement.waivers();
        if !waivers.is_empty() {
            verdict.push_str(&format!(" waived: {}\n", shown(&waivers)));
        }
        let backend = statement.run_details.get("kiln_backend").and_then(serde_json::Value::as_str);
        if backend != Some(NATIVE) {
            verdict.push_str(&sealed_by(statement, backend));
        }
        let options = statement.options();
        for (name, value) in &options {
            let (name, value) = (text::escape(name.as_bytes()), text::escape(value.as_bytes()));
            verdict.push_str(&format!("   option {name}: {value}\n"));
        }
        let (key, identity) = signer_json(verified.signer());
        let mut json = json!({
            "options": options, "waivers": waivers, "enforced": enforced_json(statement),
            "file": target.name, "digest": target.digest, "verified": true, "level": decision.level.number(), "key": key, "identity": identity,
            "builder": statement.builder, "backend": backend, "source": without_credentials(&parameter("source")), "commit": parameter("commit"), "dirty": dirty, "checks": checks_json(verified.checks()),
        });
        if let Some(loaded) = self.policy {
            json["policy"] = json!({"name": loaded.policy.name(), "digest": loaded.policy.digest(), "rules": rules_json(decision)});
        }
        Told::verified(out, verdict, json)
    }

    fn summary(&self, target: &Target, decision: &Decision, verified: &VerifiedSummary) -> Told {
        let (summary, level) = (verified.summary(), decision.level.number());
        let mut out = checks(self.session, verified.checks());
        let verifier = text::escape(summary.verifier.as_bytes());
        let (mut rules, mut stood_for) = (None, None);
        if self.policy.is_some() {
            out.push_str(&self.judged(decision));
            out.push_str(&format!(
                " {} {:<12} on the word of {verifier} alone: {}\n",
                self.session.style.verdict(None),
                "policy",
                decision.stood_for.join(", ")
            ));
            (rules, stood_for) = (Some(rules_json(decision)), Some(&decision.stood_for));
        }
        if let Some(why) = &decision.beside {
            let mark = self.session.style.verdict(None);
            let line =
                format!(" {mark} {:<12} what else speaks for it is refused: {why}\n", "evidence");
            out.push_str(&line);
        }
        let verdict = format!(
            " {} is verified, L{level}: {verifier} judged it by {}\n",
            target.name,
            text::escape(summary.policy_uri.as_bytes()),
        );
        let (key, identity) = signer_json(verified.signer());
        let json = json!({
            "file": target.name, "digest": target.digest, "verified": true, "level": level, "key": key, "identity": identity,
            "verifier": summary.verifier, "resource_uri": summary.resource_uri, "time_verified": summary.time_verified, "policy": {"uri": summary.policy_uri, "digest": summary.policy_digest, "rules": rules, "stood_for": stood_for}, "levels": summary.levels,
            "beside": decision.beside, "checks": checks_json(verified.checks()),
        });
        Told::verified(out, verdict, json)
    }

    fn rules(&self, loaded: &Loaded, decision: &Decision) -> String {
        let mark = self.session.style.verdict(Some(true));
        if self.args.explain {
            return self.judged(decision);
        }
        let (count, name) = (decision.held.len(), text::escape(loaded.policy.name().as_bytes()));
        let all = format!(" {mark} {:<12} all {count} rules of {name} are met\n", "policy");
        // What holds nothing off is told in any case.
        let idle = decision.held.iter().filter(|held| held.idle).map(|held| self.met(held));
        [all].into_iter().chain(idle).collect()
    }

    /// Returns a line for each rule that is met.
    fn judged(&self, decision: &Decision) -> String {
        decision.held.iter().map(|held| self.met(held)).collect()
    }

    fn met(&self, held: &Held) -> String {
        let mark = self.session.style.verdict((!held.idle).then_some(true));
        format!(" {mark} {:<12} {}: {}\n", "policy", held.rule, held.detail)
    }
}

fn refuse(told: &mut Told, diagnostic: Diagnostic) {
    told.verdict.clear();
    told.json["verified"] = json!(false);
    note(told, diagnostic);
}

/// Notes an error that leaves the verdict as it is.
fn note(told: &mut Told, diagnostic: Diagnostic) {
    let mut errors = told.json["errors"].as_array().cloned().unwrap_or_default();
    errors.push(diagnostic.to_json());
    told.json["errors"] = Value::Array(errors);
    told.diagnostics.push(diagnostic);
}

/// Returns who signed: the key's fingerprint, or the identity.
fn signer_json(signer: &SignedBy) -> (Option<String>, Option<Value>) {
    match signer {
        SignedBy::Key(key) => (Some(key.to_string()), None),
        SignedBy::Identity(Identity { subject, issuer }) => {
            (None, Some(json!({"subject": subject, "issuer": issuer})))
        }
    }
}

/// Returns the line that says by what a build on another backend was sealed.
fn sealed_by(statement: &Statement, backend: Option<&str>) -> String {
    let kept: BTreeSet<String> =
        statement.enforced.iter().map(|one| text::escape(one.mechanism.as_bytes())).collect();
    if kept.is_empty() {
        return String::new();
    }
    let backend = text::escape(backend.unwrap_or("no backend that it names").as_bytes());
    let kept: Vec<String> = kept.into_iter().collect();
    format!(" sealed by {backend}: {}\n", kept.join(", "))
}

/// Returns the mechanisms of each guarantee.
fn enforced_json(statement: &Statement) -> Value {
    let mut kept: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in &statement.enforced {
        kept.entry(&one.guarantee).or_default().insert(&one.mechanism);
    }
    json!(kept)
}

/// Returns the rules that are met.
fn rules_json(decision: &Decision) -> Vec<Value> {
    let one = |held: &Held| {
        let outcome = if held.idle { "not-applicable" } else { "ok" };
        json!({"rule": held.rule, "outcome": outcome, "detail": held.detail})
    };
    decision.held.iter().map(one).collect()
}

/// Returns words of a statement as they stand, escaped, and an empty one so that it is seen.
pub fn shown<T: AsRef<str>>(words: &[T]) -> String {
    let one = |word: &T| match text::escape(word.as_ref().as_bytes()) {
        word if word.is_empty() || word.trim() != word => format!("\"{word}\""),
        word => word,
    };
    words.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Says in words what a statement names as the source.
fn built_from(source: &str, commit: &str, dirty: bool) -> String {
    let source = text::escape(without_credentials(source).as_bytes());
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

/// Returns a refusal as it is told.
pub fn refused(
    session: &Session,
    name: &str,
    evidence: &[Found],
    loaded: Option<&Loaded>,
    refusal: &Refusal,
) -> Told {
    let from = evidence.iter().map(|one| one.shown.as_str()).collect::<Vec<_>>().join(", ");
    let diagnostics: Vec<Diagnostic> = if refusal.reasons().next().is_none() {
        vec![
            Diagnostic::new(Code::NoStatement, format!("{name} is refused: nothing speaks for it"))
                .help("get its bundle from where the file was published, or name it:  --bundle F"),
        ]
    } else {
        let file = loaded.map(|loaded| &loaded.file);
        let told = |reason: &Reason| match reason.entry() {
            // What is to blame stands in the trust file; the evidence is where it came up.
            Some(entry) => diagnostic(name, &from, file, reason)
                .at(trust::place(session, entry))
                .from(from.as_str()),
            None => diagnostic(name, &from, file, reason),
        };
        refusal.reasons().map(told).collect()
    };
    let errors: Vec<Value> = diagnostics.iter().map(Diagnostic::to_json).collect();
    let json = json!({"file": name, "verified": false, "checks": checks_json(&refusal.checks), "errors": errors});
    Told::refused(checks(session, &refusal.checks), json, diagnostics)
}

fn diagnostic(name: &str, from: &str, file: Option<&FileText>, reason: &Reason) -> Diagnostic {
    let code = match reason.code() {
        verdict::Code::NoStatement => Code::NoStatement,
        verdict::Code::SignerNotTrusted => Code::SignerNotTrusted,
        verdict::Code::PolicyRefused => Code::PolicyRefused,
        verdict::Code::LogEntryMissing => Code::LogEntryMissing,
        verdict::Code::EvidenceEmpty => Code::EvidenceEmpty,
        verdict::Code::EvidenceMalformed => Code::EvidenceMalformed,
        verdict::Code::SignatureBroken => Code::SignatureBroken,
        verdict::Code::WrongKind => Code::WrongKind,
        verdict::Code::SourceDiffers => Code::SourceDiffers,
        verdict::Code::NotHermetic => Code::NotHermetic,
        verdict::Code::UnknownParameter => Code::UnknownParameter,
        verdict::Code::SummaryRefused => Code::SummaryRefused,
    };
    let told = Diagnostic::new(code, format!("{name} is refused: {reason}"));
    let mut told = match (reason, file) {
        (Reason::Policy(broken), Some(file)) => {
            told.at(file.place(policy::span(broken.span))).from(from)
        }
        _ => told.at(Place::file(from)),
    };
    if let Some((expected, got)) = reason.compared() {
        // The file is what came; the statement says what should have come.
        let (expected, got) = match reason {
            Reason::Digest { .. } => (got, expected),
            _ => (expected, got),
        };
        told = told.expected(expected).got(got);
    }
    if let Some(help) = reason.help() {
        told = told.help(about(help, name, from));
    }
    crate::refusal::with_causes(told, reason)
}

/// Returns a remedy with the files in it that are known here.
fn about(help: &str, name: &str, from: &str) -> String {
    // Several files of evidence, and images of a layout, are no words of one command.
    let is_plain = |text: &str| !text.is_empty() && !text.contains([',', ' ', '@']);
    let mut told = help.to_owned();
    for command in ["kiln inspect --raw ", "kiln inspect "].iter().filter(|_| is_plain(from)) {
        for stand_in in ["FILE", "F"] {
            // Not within a longer word, such as a file's name.
            let ends = |rest: &str| {
                let rest = rest.strip_prefix('.').unwrap_or(rest);
                !rest.starts_with(char::is_alphanumeric)
            };
            let found = format!("{command}{stand_in}");
            if let Some((before, after)) = told.split_once(&found).filter(|(_, rest)| ends(rest)) {
                told = format!("{before}{command}{from}{after}");
            }
        }
    }
    for suffix in [".dependencies.json", ".sigstore.json"].iter().filter(|_| is_plain(name)) {
        told = told.replace(&format!("FILE{suffix}"), &format!("{name}{suffix}"));
    }
    told
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
                without_credentials(&check.detail)
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
    let one = |check: &Check| {
        let mut out = json!({"check": check.subject.as_str(), "outcome": word(&check.outcome), "detail": without_credentials(&check.detail)});
        if let Outcome::Failed(Reason::Policy(broken)) = &check.outcome {
            out["rule"] = json!(broken.rule);
            out["line"] = json!(broken.line);
            out["column"] = json!(broken.column);
        }
        out
    };
    checks.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn a_remedy_names_the_files_that_are_known() {
        for (help, name, from, told) in [
            ("see:  kiln inspect F. If so", "a", "a.json", "see:  kiln inspect a.json. If so"),
            ("kiln inspect --raw F shows it", "a", "b", "kiln inspect --raw b shows it"),
            ("see:  kiln inspect --raw FILE", "a", "b", "see:  kiln inspect --raw b"),
            ("get FILE.dependencies.json", "a", "b", "get a.dependencies.json"),
            // Of two files neither is the one, and an image is no file.
            ("kiln inspect F", "a", "b, c", "kiln inspect F"),
            ("get FILE.dependencies.json", "oci@sha256:0", "b", "get FILE.dependencies.json"),
            ("name it:  --bundle F", "a", "b", "name it:  --bundle F"),
        ] {
            assert_eq!(about(help, name, from), told);
        }
    }
}
