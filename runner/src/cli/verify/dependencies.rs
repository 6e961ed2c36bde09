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
}

/// Reads all attestations of a folder, in the order of their names.
///
/// # Errors
/// A folder or file that can not be read, or is no evidence.
pub fn read(session: &Session, folder: Option<&Path>) -> Result<Option<Given>, Vec<Diagnostic>> {
    let Some(folder) = folder.map(|folder| session.context.folder.join(folder)) else {
        return Ok(None);
    };
    let refuse = |path: &Path, error: &dyn std::error::Error| {
        let shown = text::escape(path.as_os_str().as_encoded_bytes());
        let headline = format!("cannot read {shown} as attestations of dependencies");
        vec![Diagnostic::new(Code::EvidenceMalformed, headline).caused_by(error)]
    };
    let entries = std::fs::read_dir(&folder).map_err(|error| refuse(&folder, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| refuse(&folder, &error))?.path();
        let name = path.as_os_str().to_string_lossy().into_owned();
        let mut suffixes = files::EVIDENCE.into_iter().chain([files::SUMMARY, LIST]);
        if suffixes.any(|suffix| name.ends_with(suffix)) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.len() > FILES_MAX {
        let error = std::io::Error::other(format!("it holds more than {FILES_MAX} files"));
        return Err(refuse(&folder, &error));
    }
    let mut given = Given { found: Dependencies::default(), texts: Vec::new() };
    for path in paths {
        let bytes = files::read(&path).map_err(|error| refuse(&path, &error))?.unwrap_or_default();
        given.found.add(&bytes).map_err(|error| refuse(&path, &error))?;
        let text = String::from_utf8(bytes).map_err(|error| refuse(&path, &error))?;
        given.texts.push(text);
    }
    Ok(Some(given))
}

/// Returns a line for each.
pub fn told(session: &Session, tree: &Tree) -> String {
    let mut out = String::new();
    for one in &tree.verdicts {
        let (good, detail) = match &one.outcome {
            Outcome::Verified { level, by_summary: false } => (true, format!("{level}")),
            Outcome::Verified { level, by_summary: true } => {
                (true, format!("{level}, by a summary"))
            }
            Outcome::Refused { why } => (false, why.clone()),
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
    out
}

/// Returns the same as JSON.
pub fn document(tree: &Tree) -> Value {
    let one = |one: &DependencyVerdict| {
        let (outcome, level, why) = match &one.outcome {
            Outcome::Verified { level, by_summary: false } => {
                ("verified", Some(level.number()), None)
            }
            Outcome::Verified { level, by_summary: true } => {
                ("verified-by-summary", Some(level.number()), None)
            }
            Outcome::Refused { why } => ("refused", None, Some(why)),
            Outcome::NoList => ("no-list", None, None),
            Outcome::Beyond => ("beyond", None, None),
        };
        json!({"name": one.name, "digest": one.digest, "depth": one.depth, "outcome": outcome, "level": level, "why": why})
    };
    let all: Vec<Value> = tree.verdicts.iter().map(one).collect();
    json!({"attested": all, "unattested": tree.unattested})
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
    Diagnostic::new(Code::DependencyRefused, headline)
        .expected("each dependency that has attestations to verify by the same trust")
        .got(bad.why())
        .help("trust its builder too, or take its attestation out of the folder if you do not want it judged")
}

/// Returns why a file is refused that a summary speaks for: one names no dependencies.
pub fn unsaid(name: &str) -> Diagnostic {
    let headline = format!("{name} is refused: a summary does not say what it depends on");
    Diagnostic::new(Code::DependencyRefused, headline)
        .expected("provenance, whose inputs are verified by --deps")
        .got("a verification summary")
        .help("give the file's provenance:  --bundle FILE.sigstore.json, or leave --deps away")
}
