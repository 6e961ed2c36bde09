//! `kiln inspect`: the provenance in words. It tells what a statement claims and decides nothing.
//!
//! The order is fixed: one plain sentence, four cards, what it does not say. Reading is not trusting:
//! no signature is checked here, and the words say "claims".

use std::path::{Path, PathBuf};

use attestor::bundle;
use attestor::story::{NamedIdentity, NamedSigner, Story, Told, inspect};
use attestor::vsa;
use model::address::without_credentials;
use model::{RelPath, text};
use serde_json::json;

use super::args::InspectArgs;
use super::{Ended, Session, files, verify};
use crate::diagnostic::{Code, Diagnostic, Exit, Place};
use crate::report;

/// Steps that are listed one by one.
const STEPS_SHOWN: usize = 20;

/// Tells the story of each statement in the file.
pub fn run(session: &Session, args: &InspectArgs) -> Ended {
    let (path, bytes) = evidence(session, &args.file).map_err(|diagnostic| vec![diagnostic])?;
    let refuse = |error: &dyn std::error::Error| {
        vec![Diagnostic::new(Code::EvidenceMalformed, format!("cannot read {} as evidence", shown(&path))).caused_by(error).help("give a bundle (.sigstore.json), a line file (.intoto.jsonl), or the file they lie beside")]
    };
    if args.raw {
        for attestation in bundle::read(&bytes).map_err(|error| refuse(&error))? {
            report::raw(attestation.envelope.unverified_payload());
            report::data("\n");
        }
        return Ok(Exit::Done);
    }
    let manifest =
        files::read(&files::beside(&session.context.folder.join(&args.file), ".dependencies.json"))
            .ok()
            .flatten();
    let told = inspect(&bytes, manifest.as_deref()).map_err(|error| refuse(&error))?;
    if session.global.json {
        report::document("inspect", json!({"evidence": path, "statements": told}));
        return Ok(Exit::Done);
    }
    let named = match &session.global.folder {
        Some(folder) => folder.join(&args.file),
        None => args.file.clone(),
    };
    let is_evidence = path == session.context.folder.join(&args.file);
    let file = File { path: &named, is_evidence };
    for one in &told {
        report::told(&match one {
            Told::Provenance(story) => tell(story, &file),
            Told::Other { payload_type, predicate_type, subjects, says, signer } => {
                let names: Vec<String> =
                    subjects.iter().map(|subject| safe(&subject.name)).collect();
                let is_summary = predicate_type.as_deref() == Some(vsa::PREDICATE_TYPE);
                let mut out = match is_summary && !says.is_empty() {
                    true => "A verification summary: what a verifier claims to have found\n",
                    false => "A statement of another kind\n",
                }
                .to_owned();
                line(&mut out, "payload", &safe(payload_type));
                line(&mut out, "predicate", &safe(predicate_type.as_deref().unwrap_or("none")));
                line(&mut out, "about", &names.join(", "));
                for (name, text) in says {
                    line(&mut out, &safe(name), &safe(text));
                }
                signer_lines(&mut out, signer);
                out
            }
        });
    }
    Ok(Exit::Done)
}

/// The file that was named.
struct File<'a> {
    /// As it is named from where kiln was started.
    path: &'a Path,
    /// Whether it is the evidence itself, and no artifact beside which that lies.
    is_evidence: bool,
}

impl File<'_> {
    /// Returns what to call a subject on the command line; none where a shell or a list of sums would take
    /// some letter of it for something else. The name is the statement's, so it may say anything.
    fn named(&self, subject: &str, is_only: bool) -> Option<String> {
        let own = self.path.file_name().is_some_and(|name| name == subject);
        let path = match !self.is_evidence && (is_only || own) {
            true => self.path.to_owned(),
            false => self.path.with_file_name(subject),
        };
        let is_plain =
            |letter: char| letter.is_ascii_alphanumeric() || "/._+@%=:,-~".contains(letter);
        let path = path.to_str().filter(|path| path.chars().all(is_plain))?;
        // `-` alone is standard input, and what begins with it an option.
        let sound = RelPath::new(subject).is_ok() && !path.starts_with(['-', '~']);
        sound.then(|| path.to_owned())
    }
}

fn safe(text: &str) -> String {
    text::escape(text.as_bytes())
}

fn shown(path: &Path) -> String {
    text::escape(path.as_os_str().as_encoded_bytes())
}

fn tell(story: &Story, file: &File<'_>) -> String {
    let mut out = sentence(story);
    out.push_str("\nBuild\n");
    line(&mut out, "builder", &safe(&story.builder));
    let versions: Vec<String> = story
        .builder_version
        .iter()
        .map(|(part, version)| format!("{} {}", safe(part), safe(version)))
        .collect();
    line(&mut out, "made with", &versions.join(", "));
    line(&mut out, "backend", &safe(story.backend.as_deref().unwrap_or("not said")));
    for file in story.source.build_file.iter().chain(&story.source.locks) {
        line(
            &mut out,
            &safe(&file.name),
            &file.digest.map(|digest| digest.to_string()).unwrap_or_default(),
        );
    }
    for step in story.steps.iter().take(STEPS_SHOWN) {
        let word =
            |name: &str| step.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let action =
            step.pointer("/action/sha256").and_then(serde_json::Value::as_str).unwrap_or_default();
        let cached =
            step.get("cachedFrom").map(|_| ", result of an earlier run").unwrap_or_default();
        line(
            &mut out,
            "step",
            &format!(
                "{}   action {}{cached}",
                safe(word("id")),
                safe(&action.chars().take(12).collect::<String>())
            ),
        );
    }
    for guarantee in ["files", "network", "processes", "identity", "syscalls", "limits", "landlock"]
    {
        let kept: Vec<String> = story
            .enforced
            .iter()
            .filter(|mechanism| mechanism.guarantee == guarantee)
            .map(|mechanism| safe(&mechanism.mechanism))
            .collect();
        let mut kept = kept;
        kept.dedup();
        let told = match (kept.is_empty(), story.absent.get(guarantee)) {
            (false, _) => kept.join(", "),
            (true, Some(reason)) => format!("absent: {}", safe(reason)),
            (true, None) => "not claimed".to_owned(),
        };
        line(&mut out, guarantee, &told);
    }
    for (name, value) in &story.options {
        line(&mut out, "option", &format!("{}: {}", safe(name), safe(value)));
    }
    if !story.waivers.is_empty() {
        line(&mut out, "waived", &verify::shown(&story.waivers));
    }
    source_card(&mut out, story);
    integrity_card(&mut out, story, file);
    attestation_card(&mut out, story, file);
    out.push_str("\nWhat this does not tell you\n  It does not say that the code is safe, nor that the builder is honest: you trust it and who signed.\n  Without a rebuild nobody else has seen that these inputs give this file.\n");
    out
}

fn sentence(story: &Story) -> String {
    let names: Vec<String> = story.subjects.iter().map(|subject| safe(&subject.name)).collect();
    let when =
        story.started.as_deref().map(|when| format!(" on {}", safe(when))).unwrap_or_default();
    let tools: Vec<String> = story
        .tools
        .iter()
        .map(|tool| format!("{} {}", safe(&tool.name), safe(&tool.version)))
        .collect();
    let with =
        if tools.is_empty() { String::new() } else { format!(", with {}", tools.join(" and ")) };
    let kinds: Vec<String> = story
        .inputs
        .environment_kinds
        .iter()
        .map(|(kind, count)| format!("a {} environment of {count} parts", safe(kind)))
        .collect();
    let environment =
        if kinds.is_empty() { String::new() } else { format!(" in {}", kinds.join(" and ")) };
    let commit: String = story.source.commit.chars().take(12).collect();
    let dirty = if story.source.dirty { ", from files that differ from it" } else { "" };
    let network = if story.network_off {
        "with the network off"
    } else {
        "without saying that the network was off"
    };
    format!(
        "{} claims to have been built{when} from commit {} of {}{dirty}{with}{environment}, from {} inputs, {} of them by digest, {network}.\n",
        names.join(", "),
        safe(&commit),
        safe(&without_credentials(&story.source.uri)),
        story.inputs.total,
        story.inputs.pinned
    )
}

fn line(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        out.push_str(&format!("  {name:<12} {value}\n"));
    }
}

fn source_card(out: &mut String, story: &Story) {
    out.push_str("\nSource\n");
    line(out, "repository", &safe(&without_credentials(&story.source.uri)));
    line(out, "commit", &safe(&story.source.commit));
    line(out, "tree", &safe(story.source.tree.as_deref().unwrap_or_default()));
    line(
        out,
        "state",
        match story.parameters.get("dirty").map(String::as_str) {
            _ if !story.source.dirty => "clean".to_owned(),
            Some("true") | None => "dirty: files differed from the commit".to_owned(),
            Some(odd) => format!("dirty: the statement says `{}`", safe(odd)),
        }
        .as_str(),
    );
    line(out, "computed", "from the files that were built, not asked of git");
}

fn integrity_card(out: &mut String, story: &Story, file: &File<'_>) {
    out.push_str("\nIntegrity\n");
    for subject in &story.subjects {
        let Some(digest) = subject.digest.map(|digest| digest.hex()) else { continue };
        line(out, "sha256", &format!("{digest}  {}", safe(&subject.name)));
        if let Some(path) = file.named(&subject.name, story.subjects.len() == 1) {
            line(out, "to compare", &format!("echo '{digest}  {path}' | sha256sum -c"));
        }
    }
    let roles: Vec<String> = story
        .inputs
        .by_role
        .iter()
        .map(|(role, count)| format!("{count} {}", safe(role)))
        .collect();
    line(out, "inputs", &roles.join(", "));
    line(out, "rebuild", &safe(story.rebuild.as_deref().unwrap_or("not said")));
    for file in &story.byproducts {
        line(
            out,
            "byproduct",
            &format!(
                "{}   {}",
                safe(&file.name),
                file.digest.map(|digest| digest.to_string()).unwrap_or_default()
            ),
        );
    }
}

fn attestation_card(out: &mut String, story: &Story, file: &File<'_>) {
    out.push_str("\nAttestation\n");
    signer_lines(out, &story.signer);
    line(out, "kind", &safe(&story.build_type));
    let only = story.subjects.len() == 1;
    let path = story.subjects.first().and_then(|subject| file.named(&subject.name, only));
    if let Some(path) = path {
        line(out, "to decide", &format!("kiln verify {path}"));
    }
}

/// Tells who is named as the signer: a key, or whom a certificate names.
fn signer_lines(out: &mut String, signer: &NamedSigner) {
    line(out, "signature", "not checked here");
    match &signer.named_identity {
        Some(NamedIdentity { subject, issuer }) => {
            line(out, "names", subject);
            line(out, "issuer", issuer);
        }
        None if signer.has_certificate => {
            line(out, "names", "whom a certificate names, which can not be read here")
        }
        None => line(out, "names key", &safe(signer.named_key.as_deref().unwrap_or("none"))),
    }
    line(out, "signed at", signer.signed_at.as_deref().unwrap_or_default());
    let log = match signer.has_log_entry {
        true => "an entry lies in the bundle, unchecked",
        false => "not recorded in a transparency log",
    };
    line(out, "log", log);
}

/// Returns the evidence: the file itself if it is some, else what lies beside it.
fn evidence(session: &Session, file: &Path) -> Result<(PathBuf, Vec<u8>), Diagnostic> {
    let path = session.context.folder.join(file);
    let refuse = |error: &dyn std::error::Error| {
        Diagnostic::new(Code::WrongValue, format!("cannot read {}", shown(file)))
            .at(Place::file(shown(file)))
            .caused_by(error)
            .help("name a plain file that you may read, such as one in kiln-out/")
    };
    for suffix in files::EVIDENCE {
        let candidate = files::beside(&path, suffix);
        if let Some(bytes) = files::read(&candidate).map_err(|error| refuse(&error))? {
            return Ok((candidate, bytes));
        }
    }
    match files::read(&path).map_err(|error| refuse(&error))? {
        // Evidence is JSON; what is none lies beside nothing that speaks for it.
        Some(bytes) if bytes.trim_ascii_start().starts_with(b"{") => Ok((path, bytes)),
        Some(_) => {
            Err(Diagnostic::new(Code::WrongValue, format!("nothing speaks for {}", shown(file)))
                .expected("a file NAME.sigstore.json or NAME.intoto.jsonl beside it")
                .help("get it from where the file was published, or name the evidence itself"))
        }
        None => Err(Diagnostic::new(Code::WrongValue, format!("there is no {}", shown(file)))
            .help("name an artifact, a bundle or a line file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_put_into_a_command_only_where_no_letter_means_something_else() {
        let beside = File { path: Path::new("kiln-out/x.sigstore.json"), is_evidence: true };
        assert_eq!(beside.named("x", true).as_deref(), Some("kiln-out/x"));
        assert_eq!(beside.named("bin/x-1.0+b~1", false).as_deref(), Some("kiln-out/bin/x-1.0+b~1"));
        for name in [
            "x'; touch y; '",
            "$(touch y)",
            "`touch y`",
            "x y",
            "x\ny",
            "x\\",
            "x\"",
            "../x",
            "/etc/passwd",
            "",
            "x|y",
            "x;y",
            "x&y",
            "x>y",
            "*",
            "é\u{202e}",
        ] {
            assert_eq!(beside.named(name, true), None, "{name}");
        }
        let own = File { path: Path::new("-x"), is_evidence: false };
        assert_eq!(own.named("x", true), None);
        // Under another name than the statement's the file is still the one that was named.
        let own = File { path: Path::new("renamed"), is_evidence: false };
        assert_eq!(own.named("x", true).as_deref(), Some("renamed"));
        assert_eq!(own.named("x", false).as_deref(), Some("x"));
    }
}
