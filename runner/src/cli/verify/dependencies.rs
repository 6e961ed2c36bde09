//! `--deps DIR`: attestations of dependencies, and what came of them.

use std::path::Path;

use attestor::policy::{Dependencies, DependencyVerdict, Outcome, Tree};
use model::text;
use serde_json::{Value, json};

use super::super::{Session, files};
use crate::diagnostic::{Code, Diagnostic};

/// Most files of one folder.
const FILES_MAX: usize = 1024;
/// What names of lists of inputs that moved out of attestations end with.
const LIST: &str = ".dependencies.json";

/// The attestations of a folder.
pub struct Given {
    /// By what they are about.
    pub found: Dependencies,
    /// As they stand.
    pub texts: Vec<String>,
    /// How many files were passed over, since they are something else.
    pub other: usize,
}

/// What the name of a file in the folder says of it.
enum Named {
    /// An attestation or a list of inputs.
    Evidence,
    /// JSON, which may be one.
    Json,
}

/// Returns what a file is by its name; none if it is not looked at.
fn named(path: &Path) -> Option<Named> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let ends = |suffix: &str| name.ends_with(suffix);
    if files::EVIDENCE.into_iter().chain([files::SUMMARY, LIST]).any(ends) {
        return Some(Named::Evidence);
    }
    (ends(".json") || ends(".jsonl")).then_some(Named::Json)
}

/// Reads all attestations of a folder, in the order of their names: every `.json` and `.jsonl` that is one by its
/// content, and what is called like one. Folders in it are not looked into.
///
/// # Errors
/// A folder or file that can not be read, or claims to be evidence and is none.
pub fn read(session: &Session, folder: Option<&Path>) -> Result<Option<Given>, Vec<Diagnostic>> {
    let Some(folder) = folder.map(|folder| session.context.folder.join(folder)) else {
        return Ok(None);
    };
    let refuse = |path: &Path, error: &dyn std::error::Error| {
        let shown = text::escape(path.as_os_str().as_encoded_bytes());
        let headline = format!("cannot read {shown} as attestations of dependencies");
        vec![
            Diagnostic::new(Code::EvidenceMalformed, headline)
                .expected("bundles, envelopes and lists of inputs, whole")
                .caused_by(error)
                .help("get it again from where it was published, or take it out of the folder"),
        ]
    };
    let entries = std::fs::read_dir(&folder).map_err(|error| refuse(&folder, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| refuse(&folder, &error))?;
        let kind = entry.file_type().map_err(|error| refuse(&folder, &error))?;
        let path = entry.path();
        if let Some(named) = named(&path).filter(|_| !kind.is_dir()) {
            paths.push((path, named));
        }
    }
    paths.sort_by(|(one, _), (other, _)| one.cmp(other));
    if paths.len() > FILES_MAX {
        let error = std::io::Error::other(format!("it holds more than {FILES_MAX} files"));
        return Err(refuse(&folder, &error));
    }
    let mut given = Given { found: Dependencies::default(), texts: Vec::new(), other: 0 };
    for (path, named) in paths {
        let bytes = files::read(&path).map_err(|error| refuse(&path, &error))?.unwrap_or_default();
        let added = match named {
            Named::Evidence => given.found.add(&bytes).map(|()| true),
            Named::Json => given.found.offer(&bytes),
        };
        if !added.map_err(|error| refuse(&path, &error))? {
            given.other += 1;
            continue;
        }
        let text = String::from_utf8(bytes).map_err(|error| refuse(&path, &error))?;
        given.texts.push(text);
    }
    Ok(Some(given))
}

/// Returns a line for each.
pub fn told(session: &Session, tree: &Tree, other: usize) -> String {
    let mut out = String::new();
    for one in &tree.verdicts {
        let (good, detail) = match &one.outcome {
            Outcome::Verified { level, by_summary: false } => (true, format!("{level}")),
            Outcome::Verified { level, by_summary: true } => {
                (true, format!("{level}, by a summary"))
            }
            Outcome::Refused { why, .. } => (false, why.clone()),
            Outcome::NoList => (false, "this list of inputs is not at hand".to_owned()),
            Outcome::Beyond => (false, "not looked at: too deep, or too many".to_owned()),
        };
        let mark = session.style.verdict(Some(good));
        out.push_str(&format!(" {mark} {:<12} {}: {detail}\n", "dependency", one.name));
    }
    if tree.unattested > 0 {
        let mark = session.style.verdict(None);
        out.push_str(&format!(
            " {mark} {:<12} {} have no attestation\n",
            "dependency", tree.unattested
        ));
    }
    if other > 0 {
        let mark = session.style.verdict(None);
        out.push_str(&format!(
            " {mark} {:<12} {other} files of --deps passed over: other JSON\n",
            "dependency"
        ));
    }
    out
}

/// Returns the same as JSON.
pub fn document(tree: &Tree, other: usize) -> Value {
    let one = |one: &DependencyVerdict| {
        let (outcome, level, why) = match &one.outcome {
            Outcome::Verified { level, by_summary: false } => {
                ("verified", Some(level.number()), None)
            }
            Outcome::Verified { level, by_summary: true } => {
                ("verified-by-summary", Some(level.number()), None)
            }
            Outcome::Refused { why, .. } => ("refused", None, Some(why)),
            Outcome::NoList => ("no-list", None, None),
            Outcome::Beyond => ("beyond", None, None),
        };
        json!({"name": one.name, "digest": one.digest, "depth": one.depth, "outcome": outcome, "level": level, "why": why})
    };
    let all: Vec<Value> = tree.verdicts.iter().map(one).collect();
    json!({"attested": all, "unattested": tree.unattested, "passed_over": other})
}

/// Returns why a file is refused for its dependency.
pub fn diagnostic(name: &str, bad: &DependencyVerdict) -> Diagnostic {
    let headline = match &bad.outcome {
        Outcome::Beyond => {
            format!("{name} is refused: its dependency {} was not looked at", bad.name)
        }
        Outcome::NoList => {
            format!("{name} is refused: the list of inputs {} is not at hand", bad.name)
        }
        Outcome::Refused { .. } | Outcome::Verified { .. } => {
            format!("{name} is refused: no attestation of its dependency {} verifies", bad.name)
        }
    };
    if bad.outcome == Outcome::NoList {
        return Diagnostic::new(Code::DependencyRefused, headline)
            .expected(format!("the list {}", bad.digest))
            .got("no list, so which dependencies there are is not known")
            .help(
                "get it from where its file was published, and lay it beside the file or into the \
                 folder of --deps",
            );
    }
    let help = match &bad.outcome {
        Outcome::Refused { by_trust: true, .. } => {
            "trust its builder too, or take its attestation out of the folder if you do not want it judged"
        }
        Outcome::Beyond => {
            "lay a summary of a dependency above it into the folder, by a verifier that you trust: who made it has \
             looked further"
        }
        Outcome::Refused { .. } | Outcome::NoList | Outcome::Verified { .. } => {
            "get its attestation again from where it was published, or take it out of the folder if you do not want \
             it judged"
        }
    };
    Diagnostic::new(Code::DependencyRefused, headline)
        .expected("each dependency that has attestations to verify by the same trust")
        .got(bad.why())
        .help(help)
}

/// Returns why a file is refused that a summary speaks for: one names no dependencies.
pub fn unsaid(name: &str) -> Diagnostic {
    let headline = format!("{name} is refused: a summary does not say what it depends on");
    Diagnostic::new(Code::DependencyRefused, headline)
        .expected("provenance, whose inputs are verified by --deps")
        .got("a verification summary")
        .help("give the file's provenance:  --bundle FILE.sigstore.json, or leave --deps away")
}
