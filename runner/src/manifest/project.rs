//! `Manifest`: the whole build file, as typed values with their places.

use std::collections::{BTreeMap, BTreeSet};

use model::{Ident, RelPath, T0_SECONDS};

use super::artifact::{self, Artifact};
use super::environment::{self, Environment, EnvironmentKind, Host};
use super::matrix::{self, Matrix};
use super::node::{Key, Node, Type};
use super::parse::{text_of, tree_of};
use super::placeholder::Scope;
use super::reader::{At, Fields, Problems, Table, ident, list, map, text, wrong_type, wrong_value};
use super::source::{self, Declared, Project, Source, SourceKind};
use super::step::{self, Known, Step};
use super::{check, expand};
use crate::diagnostic::{Code, Diagnostic, FileText, Origin, Place, Span};

/// What people wrote, with the place of each value that a later stage may blame.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The text, for places.
    pub file: FileText,
    /// The project's name.
    pub name: At<Ident>,
    /// The project's version.
    pub version: Option<At<String>>,
    /// What goes in, sorted by name.
    pub sources: Vec<Source>,
    /// The roots of steps, sorted by name; always one called `default`.
    pub environments: Vec<Environment>,
    /// The steps and then the tests, in the order of the file.
    pub steps: Vec<Step>,
    /// What they are repeated for.
    pub matrix: Matrix,
    /// What is handed over, in the order of the file.
    pub artifacts: Vec<Artifact>,
    /// The value of `SOURCE_DATE_EPOCH` and of archive times.
    pub source_date_epoch: Epoch,
}

/// The value of `SOURCE_DATE_EPOCH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// Seconds since 1970, not negative. T0 if the build file says nothing.
    Seconds(i64),
    /// The time of the commit that is built; outside git it is an error of the build file.
    Commit(Span),
}

pub(super) const TOP: Table = Table {
    noun: "build file",
    keys: &[
        "artifacts",
        "environment",
        "environments",
        "kiln",
        "matrix",
        "name",
        "source-date-epoch",
        "sources",
        "steps",
        "tests",
        "version",
    ],
    reserved: &[
        "cache", "include", "inputs", "network", "policy", "publish", "sbom", "secrets", "uses",
        "with",
    ],
};

/// The only version of the schema.
const SCHEMA: u64 = 1;
/// Longest `version`, in bytes; it is repeated in names, paths and variables.
const VERSION_BYTES_MAX: usize = 128;
/// Latest `source-date-epoch`: the end of the year 9999, which all formats of time can express.
const EPOCH_MAX: u64 = 253_402_300_799;

impl Manifest {
    /// Returns the place of a span of this file, to be blamed.
    pub fn place(&self, span: Span) -> Place {
        self.file.place(span)
    }

    /// Returns the environment `name`.
    pub fn environment(&self, name: &Ident) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.name.value == *name)
    }

    /// Returns the source `name`.
    pub fn source(&self, name: &Ident) -> Option<&Source> {
        self.sources.iter().find(|source| source.name.value == *name)
    }

    /// Returns the step or test `name`.
    pub fn step(&self, name: &Ident) -> Option<&Step> {
        self.steps.iter().find(|step| step.name.value == *name)
    }
}

/// Returns KILN-0115: no build file was found from `folder` upward.
pub fn no_build_file(folder: &str) -> Diagnostic {
    Diagnostic::new(Code::NoBuildFile, format!("there is no kiln.yaml in {folder} or above"))
        .help("write one:  kiln init")
        .help("or wrap one command without:  kiln run --output FILE -- CMD")
}

/// Returns KILN-0115: the build file `file` cannot be read.
pub fn unreadable(file: &str, error: &std::io::Error) -> Diagnostic {
    Diagnostic::new(Code::NoBuildFile, format!("{file} cannot be read"))
        .at(Place::file(file))
        .caused_by(error)
        .help("check that it is a file which you may read")
}

/// Reads a build file. `file` is its name as the user would write it.
///
/// # Errors
/// Everything that is wrong and can be told at once, in the order of the file.
pub fn parse(bytes: &[u8], file: &str) -> Result<Manifest, Vec<Diagnostic>> {
    parse_text(text_of(bytes, file).map_err(|diagnostic| vec![*diagnostic])?)
}

/// Reads a build file that was made of something else, at which its errors point.
///
/// # Errors
/// As [`parse`].
pub fn parse_made(bytes: &[u8], origin: Origin) -> Result<Manifest, Vec<Diagnostic>> {
    let text = text_of(bytes, origin.written.name()).map_err(|diagnostic| vec![*diagnostic])?;
    parse_text(text.made_of(origin))
}

fn parse_text(text: FileText) -> Result<Manifest, Vec<Diagnostic>> {
    // 1. Text to a tree of values with places.
    let mut duplicates = Vec::new();
    let tree = match tree_of(&text, &mut duplicates) {
        Ok(tree) => tree,
        Err(diagnostic) => return Err(vec![*diagnostic]),
    };
    let mut problems = Problems::of(&text);
    for (span, diagnostic) in duplicates {
        problems.add(span, diagnostic);
    }
    // 2. Tree to typed values.
    let read = read(&tree, &text, &mut problems);
    // 3. What the values say about each other.
    if let Some(manifest) = &read {
        check::references(manifest, &mut problems);
        if problems.is_empty() {
            expand::check(manifest, &mut problems);
        }
    }
    // 4. Nothing wrong, or everything that is.
    match read {
        Some(manifest) if problems.is_empty() => Ok(manifest),
        Some(_) | None => Err(problems.finish()),
    }
}

fn read(tree: &Node, file: &FileText, problems: &mut Problems<'_>) -> Option<Manifest> {
    if !schema_is_known(tree, problems) {
        return None;
    }
    let fields = Fields::read(tree, &TOP, "", problems)?;
    fields.require("kiln", "add at the top:  kiln: 1", problems);
    let name = fields
        .require("name", "name the project:  name: hello", problems)
        .and_then(|node| Some((node, text(node, "`name`", problems)?)))
        .and_then(|(node, text)| ident(text, node.span, "`name`", problems));
    let version = fields.get("version").and_then(|node| version(node, problems));
    let matrix = match fields.get("matrix") {
        Some(node) => matrix::read(node, problems),
        None => Matrix::none(),
    };
    let epoch = match fields.get("source-date-epoch") {
        Some(node) => epoch(node, problems),
        None => Epoch::Seconds(T0_SECONDS),
    };
    let unnamed = stand_in("unnamed")?;
    let has_version = fields.get("version").is_some();
    let scope = Scope { version: has_version, axes: matrix.axes(), per_instance: true };
    let project = Project {
        name: name.as_ref().map_or(&unnamed, |name| &name.value),
        version: version.as_ref().map_or("", |version| &version.value),
        scope,
    };
    let (declared, sources) = sources(&fields, project, problems);
    let (names, environments) = environments(&fields, project, problems);
    let known = Known { scope, sources: &declared, environments: &names };
    let steps = steps(&fields, known, problems);
    let mut artifacts = Vec::new();
    if let Some(node) = fields.get("artifacts") {
        for item in list(node, "`artifacts`", problems).unwrap_or_default() {
            artifacts.extend(artifact::read(item, scope, problems));
        }
    }
    let name = name.unwrap_or(At::new(unnamed, Span::default()));
    let source_date_epoch = epoch;
    Some(Manifest {
        file: file.clone(),
        name,
        version,
        sources,
        environments,
        steps,
        matrix,
        artifacts,
        source_date_epoch,
    })
}

/// Says whether this kiln knows the schema. Of an unknown one nothing else is worth telling.
fn schema_is_known(tree: &Node, problems: &mut Problems<'_>) -> bool {
    let Some(node) = tree.get("kiln") else { return true };
    if node.kind() != Type::Integer {
        wrong_type(node, "`kiln`", "the integer 1", problems);
        return true;
    }
    let text = node.scalar_text().unwrap_or_default();
    if text.parse() == Ok(SCHEMA) {
        return true;
    }
    problems.add(
        node.span,
        Diagnostic::new(
            Code::WrongValue,
            "the build file has a schema that this kiln does not know",
        )
        .expected(SCHEMA.to_string())
        .got(text)
        .help("write  kiln: 1, or use a newer kiln"),
    );
    false
}

fn version(node: &Node, problems: &mut Problems<'_>) -> Option<At<String>> {
    let value = text(node, "`version`", problems)?;
    let bad = |letter: char| letter.is_control();
    if value.is_empty() || value.len() > VERSION_BYTES_MAX || value.contains(bad) {
        let expected = format!("1 to {VERSION_BYTES_MAX} bytes, without control characters");
        wrong_value(node, "`version`", &expected, problems);
    }
    Some(At::new(value.to_owned(), node.span))
}

fn epoch(node: &Node, problems: &mut Problems<'_>) -> Epoch {
    let written = match (node.kind(), node.scalar_text()) {
        (Type::Text, Some("commit")) => return Epoch::Commit(node.span),
        (Type::Integer, Some(text)) => text.parse().ok(),
        _ => None,
    };
    match written.filter(|seconds| (0..=EPOCH_MAX as i64).contains(seconds)) {
        Some(seconds) => Epoch::Seconds(seconds),
        None => {
            let expected = "`commit`, or seconds since 1970, not negative";
            wrong_value(node, "`source-date-epoch`", expected, problems);
            Epoch::Seconds(T0_SECONDS)
        }
    }
}

fn sources(
    fields: &Fields<'_>,
    project: Project<'_>,
    problems: &mut Problems<'_>,
) -> (BTreeMap<Ident, Declared>, Vec<Source>) {
    let mut declared = BTreeMap::new();
    let mut sources = Vec::new();
    let Some(node) = fields.get("sources") else {
        if let Some(name) = stand_in("src") {
            let at = fields.head();
            let kind =
                SourceKind::Local { path: At::new(RelPath::here(), at), exclude: Vec::new() };
            declared.insert(name.clone(), Declared { ecosystem: None });
            sources.push(Source { name: At::new(name, at), kind });
        }
        return (declared, sources);
    };
    for (key, value) in map(node, "`sources`", problems).unwrap_or_default() {
        if let Some((name, known, source)) = source::read(key, value, project, problems) {
            declared.insert(name, known);
            sources.extend(source);
        }
    }
    sources.sort_by(|left, right| left.name.value.cmp(&right.name.value));
    (declared, sources)
}

fn environments(
    fields: &Fields<'_>,
    project: Project<'_>,
    problems: &mut Problems<'_>,
) -> (BTreeSet<Ident>, Vec<Environment>) {
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    if let Some(default) = stand_in("default") {
        names.insert(default.clone());
        match fields.get("environment") {
            Some(node) => {
                let name = At::new(default, fields.key_span("environment"));
                found.extend(environment::read(name, node, project, problems));
            }
            None => found.push(Environment {
                name: At::new(default, fields.head()),
                kind: EnvironmentKind::Host(Host::default()),
                env: BTreeMap::new(),
            }),
        }
    }
    let node = fields.get("environments");
    let entries = node.and_then(|node| map(node, "`environments`", problems)).unwrap_or_default();
    for (key, value) in entries {
        let label = "the name of an environment";
        let Some(name) = ident(&key.text, key.span, label, problems) else { continue };
        if name.value.as_str() == "default" {
            problems.add(key.span, default_is_taken(key));
            continue;
        }
        names.insert(name.value.clone());
        found.extend(environment::read(name, value, project, problems));
    }
    found.sort_by(|left, right| left.name.value.cmp(&right.name.value));
    (names, found)
}

fn default_is_taken(key: &Key) -> Diagnostic {
    Diagnostic::new(Code::Duplicate, format!("environment `{}` is there already", key.text))
        .why("`default` is the name of the one under `environment`")
        .help("write it under `environment`, or give it another name")
}

fn steps(fields: &Fields<'_>, known: Known<'_>, problems: &mut Problems<'_>) -> Vec<Step> {
    let mut found = Vec::new();
    let help = "say what to do:  steps: [{name: build, run: make, outputs: {hello: hello}}]";
    if let Some(node) = fields.require("steps", help, problems) {
        let items = list(node, "`steps`", problems);
        if items.is_some_and(<[Node]>::is_empty) {
            let head = fields.key_span("steps");
            problems.add(
                head,
                Diagnostic::new(Code::MissingKey, "the build file has no step").help(help),
            );
        }
        for item in items.unwrap_or_default() {
            found.extend(step::read(item, &step::STEP, known, problems));
        }
    }
    if let Some(node) = fields.get("tests") {
        for item in list(node, "`tests`", problems).unwrap_or_default() {
            found.extend(step::read(item, &step::TEST, known, problems));
        }
    }
    found
}

/// Returns a name that kiln itself gives; each is an identifier, which a test says.
fn stand_in(name: &str) -> Option<Ident> {
    Ident::new(name).ok()
}
