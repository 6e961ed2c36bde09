//! Artifacts: what is handed over and attested.

use std::collections::BTreeSet;

use super::node::{Node, Type};
use super::placeholder::{Scope, Template, template};
use super::reader::{At, Fields, Problems, Table, list, text, value_span, wrong_type, wrong_value};
use super::reference::{OutputRef, output_ref};
use super::source::one_kind;
use crate::diagnostic::{Code, Diagnostic, Span};

/// One artifact, before the matrix repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is declared.
    pub at: Span,
    /// What it is.
    pub kind: ArtifactKind,
}

/// What an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactKind {
    /// One output file as it is.
    File {
        /// The output.
        file: At<OutputRef>,
        /// Its name; by itself the output's file name.
        name: Option<At<Template>>,
        /// Its mode; by itself by its executable bit.
        mode: Option<FileMode>,
    },
    /// An archive that kiln writes.
    Archive {
        /// The outputs in it, in the order of the file.
        members: Vec<At<OutputRef>>,
        /// Its name, whose suffix picks the format.
        name: At<Template>,
        /// The folder that everything in it lies in; by itself the name without suffix.
        prefix: Option<At<Template>>,
    },
}

/// The modes that an artifact can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileMode {
    /// 0644.
    Plain,
    /// 0755.
    Executable,
}

pub(super) const KINDS: &[&str] = &["archive", "file", "oci-image"];
pub(super) const FILE: Table =
    Table { noun: "artifact", keys: &["file", "mode", "name"], reserved: &[] };
pub(super) const ARCHIVE: Table =
    Table { noun: "artifact", keys: &["archive", "name", "prefix"], reserved: &[] };

/// Reads one artifact.
pub(super) fn read(node: &Node, scope: Scope<'_>, problems: &mut Problems<'_>) -> Option<Artifact> {
    let at = value_span(node);
    let kind = match one_kind(node, "an artifact", KINDS, problems)? {
        "file" => file(node, scope, problems)?,
        "archive" => archive(node, scope, problems)?,
        later => {
            let built = "an artifact of kind `file` or `archive`";
            super::source::not_built(at, "an artifact", later, built, problems);
            return None;
        }
    };
    Some(Artifact { at, kind })
}

fn file(node: &Node, scope: Scope<'_>, problems: &mut Problems<'_>) -> Option<ArtifactKind> {
    let fields = Fields::read(node, &FILE, "an artifact", problems)?;
    let file = reference(fields.get("file")?, &fields.label("file"), problems);
    let name = match fields.get("name") {
        Some(node) => Some(template(node, &fields.label("name"), scope, problems)?),
        None => None,
    };
    let mode = match fields.get("mode") {
        Some(node) => Some(mode(node, &fields.label("mode"), problems)?),
        None => None,
    };
    Some(ArtifactKind::File { file: file?, name, mode })
}

fn mode(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<FileMode> {
    match text(node, label, problems)? {
        "0644" => Some(FileMode::Plain),
        "0755" => Some(FileMode::Executable),
        _ => {
            wrong_value(node, label, "\"0644\" or \"0755\"", problems);
            None
        }
    }
}

fn archive(node: &Node, scope: Scope<'_>, problems: &mut Problems<'_>) -> Option<ArtifactKind> {
    let fields = Fields::read(node, &ARCHIVE, "an artifact", problems)?;
    let label = fields.label("archive");
    let mut members: Vec<At<OutputRef>> = Vec::new();
    let mut seen = BTreeSet::new();
    let items = fields.get("archive")?;
    for item in list(items, &label, problems)? {
        let Some(member) = reference(item, &format!("an item of {label}"), problems) else {
            continue;
        };
        if !seen.insert(member.value.clone()) {
            let headline = format!("an archive has output `{}` twice", member.value);
            problems.add(item.span, Diagnostic::new(Code::Duplicate, headline).help("keep one"));
        }
        members.push(member);
    }
    if matches!(&items.value, super::node::Value::List(items) if items.is_empty()) {
        wrong_value(items, &label, "a list of at least one STEP.OUTPUT", problems);
    }
    let help = "its suffix picks the format:  name: \"{name}.tar.gz\"";
    let name = fields.require("name", help, problems);
    let name = name.and_then(|node| template(node, &fields.label("name"), scope, problems));
    let prefix = match fields.get("prefix") {
        Some(node) => Some(template(node, &fields.label("prefix"), scope, problems)?),
        None => None,
    };
    Some(ArtifactKind::Archive { members, name: name?, prefix })
}

fn reference(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<At<OutputRef>> {
    if node.kind() != Type::Text {
        wrong_type(node, label, "STEP.OUTPUT, such as build.bin", problems);
        return None;
    }
    output_ref(node.text()?, node.span, label, problems)
}
