//! Sources: what goes in. `local` is built now; the other kinds are checked and then refused.

use model::{Ident, RelPath};

use super::address::{Purpose, image, packages, sha256, url};
use super::node::{Key, Node};
use super::placeholder::{Scope, fixed_text};
use super::reader::{
    At, Fields, Problems, Table, boolean, brief, ident, integer, list, path, quoted, text, texts,
    wrong_value,
};
use crate::diagnostic::{Code, Diagnostic, Span, one_of};
use crate::source::Exclude;

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: At<Ident>,
    /// What it is.
    pub kind: SourceKind,
}

/// What a source is. Kinds that this kiln does not build yet never get this far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A directory or file below the build file's directory, hashed when the plan is made.
    Local {
        /// Where it lies.
        path: At<RelPath>,
        /// What is left out, besides what no source holds; each is a good
        /// [`Exclude`] pattern.
        exclude: Vec<At<String>>,
    },
}

/// Which reader a lock file of another tool needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ecosystem {
    Cargo,
    Npm,
    Pip,
    Go,
}

/// What the rest of the build file needs to know of a source, whatever its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// The variables that kiln sets where it is mounted come from here.
    pub ecosystem: Option<Ecosystem>,
}

/// What all texts of sources and environments may refer to.
#[derive(Clone, Copy)]
pub(super) struct Project<'a> {
    pub name: &'a Ident,
    pub version: &'a str,
    pub scope: Scope<'a>,
}

pub(super) const KINDS: &[&str] = &["deb", "git", "local", "lockfile", "oci", "url"];

pub(super) const LOCAL: Table =
    Table { noun: "source", keys: &["exclude", "local"], reserved: &[] };
pub(super) const GIT: Table =
    Table { noun: "source", keys: &["git", "ref", "submodules"], reserved: &[] };
pub(super) const URL: Table =
    Table { noun: "source", keys: &["mirrors", "sha256", "strip", "unpack", "url"], reserved: &[] };
pub(super) const OCI: Table = Table { noun: "source", keys: &["oci", "path"], reserved: &[] };
pub(super) const LOCKFILE: Table =
    Table { noun: "source", keys: &["kind", "lockfile"], reserved: &[] };
pub(super) const DEB: Table =
    Table { noun: "source", keys: &["arch", "deb", "suite"], reserved: &[] };

/// Most leading path parts that `strip` drops.
const STRIP_MAX: u64 = 8;

impl Ecosystem {
    /// Returns the variables that kiln sets in a step that mounts such a lock file; a step may not
    /// override them.
    pub fn variables(self) -> &'static [&'static str] {
        match self {
            Ecosystem::Cargo => &["CARGO_HOME", "CARGO_NET_OFFLINE"],
            Ecosystem::Npm => &["npm_config_cache", "npm_config_offline"],
            Ecosystem::Pip => &["PIP_FIND_LINKS", "PIP_NO_INDEX"],
            Ecosystem::Go => &["GOPROXY", "GOSUMDB", "GOTOOLCHAIN"],
        }
    }

    fn named(kind: &str) -> Option<Ecosystem> {
        match kind {
            "cargo" => Some(Ecosystem::Cargo),
            "npm" => Some(Ecosystem::Npm),
            "pip" => Some(Ecosystem::Pip),
            "go" => Some(Ecosystem::Go),
            _ => None,
        }
    }

    fn of_file(path: &RelPath) -> Option<Ecosystem> {
        match path.parts().next_back()? {
            "Cargo.lock" => Some(Ecosystem::Cargo),
            "package-lock.json" => Some(Ecosystem::Npm),
            "requirements.txt" | "uv.lock" | "poetry.lock" => Some(Ecosystem::Pip),
            "go.sum" => Some(Ecosystem::Go),
            _ => None,
        }
    }
}

/// Returns the one kind key of a map, or notes that there is none or more than one.
pub(super) fn one_kind<'k>(
    node: &Node,
    owner: &str,
    kinds: &[&'k str],
    problems: &mut Problems<'_>,
) -> Option<&'k str> {
    let entries = super::reader::map(node, owner, problems)?;
    let given: Vec<&Key> = entries
        .iter()
        .map(|(key, _)| key)
        .filter(|key| kinds.contains(&key.text.as_str()))
        .collect();
    let names: Vec<String> = given.iter().map(|key| format!("`{}`", key.text)).collect();
    match given.as_slice() {
        [only] => kinds.iter().copied().find(|kind| *kind == only.text),
        [] => {
            let place =
                entries.first().map_or(super::reader::value_span(node), |(key, _)| key.span);
            let near = entries.iter().find_map(|(key, _)| {
                crate::diagnostic::nearest(&key.text, kinds.iter().copied()).first().copied()
            });
            let mut diagnostic = Diagnostic::new(Code::NotOneKind, format!("{owner} has no kind"))
                .expected(one_of(kinds.iter().copied()));
            if let Some(near) = near {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            problems.add(place, diagnostic);
            None
        }
        [_, second, ..] => {
            let headline = format!("{owner} has {} kinds: {}", given.len(), names.join(" and "));
            problems.add(
                second.span,
                Diagnostic::new(Code::NotOneKind, headline)
                    .expected(format!("exactly {}", one_of(kinds.iter().copied())))
                    .help("keep one, and give the other a name of its own"),
            );
            None
        }
    }
}

/// Notes a kind that is part of the schema and not built yet.
pub(super) fn not_built(
    span: Span,
    owner: &str,
    kind: &str,
    built: &str,
    problems: &mut Problems<'_>,
) {
    problems.add(
        span,
        Diagnostic::new(
            Code::Reserved,
            format!("{owner} is of kind `{kind}`, which this kiln does not build yet"),
        )
        .expected(built)
        .got(kind)
        .help("use a newer kiln, or another kind"),
    );
}

/// Reads one source. The first answer is for references, the second for building.
pub(super) fn read(
    key: &Key,
    node: &Node,
    project: Project<'_>,
    problems: &mut Problems<'_>,
) -> Option<(Ident, Declared, Option<Source>)> {
    let name = ident(&key.text, key.span, "the name of a source", problems)?;
    let owner = format!("source `{}`", name.value);
    let mut declared = Declared { ecosystem: None };
    let Some(kind) = one_kind(node, &owner, KINDS, problems) else {
        return Some((name.value, declared, None));
    };
    let source = match kind {
        "local" => {
            local(node, &owner, project, problems).map(|kind| Source { name: name.clone(), kind })
        }
        "lockfile" => {
            declared.ecosystem = lockfile(node, &owner, project, problems);
            None
        }
        "git" => git(node, &owner, project, problems),
        "url" => file(node, &owner, problems),
        "oci" => oci(node, &owner, problems),
        _ => deb(node, &owner, problems),
    };
    if kind != "local" {
        let span = node.get(kind).map_or(node.span, |_| key_span(node, kind));
        not_built(span, &owner, kind, "a source of kind `local`", problems);
    }
    Some((name.value, declared, source))
}

fn key_span(node: &Node, key: &str) -> Span {
    match &node.value {
        super::node::Value::Map(entries) => entries
            .iter()
            .find(|(found, _)| found.text == key)
            .map_or(node.span, |(found, _)| found.span),
        super::node::Value::Scalar(_) | super::node::Value::List(_) => node.span,
    }
}

fn local(
    node: &Node,
    owner: &str,
    project: Project<'_>,
    problems: &mut Problems<'_>,
) -> Option<SourceKind> {
    let fields = Fields::read(node, &LOCAL, owner, problems)?;
    let mut exclude = Vec::new();
    if let Some(node) = fields.get("exclude") {
        for glob in texts(node, &fields.label("exclude"), problems).unwrap_or_default() {
            match Exclude::parse(std::slice::from_ref(&glob.value)) {
                Ok(_) => exclude.push(glob),
                Err(error) => {
                    let headline = format!("{} holds a bad glob", fields.label("exclude"));
                    problems.add(
                        glob.span,
                        Diagnostic::new(Code::WrongValue, headline)
                            .expected("a pattern as in .gitignore, such as node_modules/ or *.o")
                            .got(quoted(&glob.value))
                            .why(error.to_string()),
                    );
                }
            }
        }
    }
    let path = below_project(fields.get("local")?, &fields.label("local"), project, problems)?;
    Some(SourceKind::Local { path, exclude })
}

/// Reads a path below the build file's directory.
pub(super) fn below_project(
    node: &Node,
    label: &str,
    project: Project<'_>,
    problems: &mut Problems<'_>,
) -> Option<At<RelPath>> {
    let Project { name, version, scope } = project;
    let text = fixed_text(node, label, scope, name, version, problems)?;
    path(&text.value, node.span, label, "the build file's directory", problems)
        .map(|path| At::new(path, node.span))
}

fn lockfile(
    node: &Node,
    owner: &str,
    project: Project<'_>,
    problems: &mut Problems<'_>,
) -> Option<Ecosystem> {
    let fields = Fields::read(node, &LOCKFILE, owner, problems)?;
    let path = below_project(fields.get("lockfile")?, &fields.label("lockfile"), project, problems);
    if let Some(node) = fields.get("kind") {
        let kind = text(node, &fields.label("kind"), problems)?;
        let found = Ecosystem::named(kind);
        if found.is_none() {
            wrong_value(node, &fields.label("kind"), "one of cargo, go, npm, pip", problems);
        }
        return found;
    }
    let path = path?;
    let found = Ecosystem::of_file(&path.value);
    if found.is_none() {
        problems.add(
            path.span,
            Diagnostic::new(Code::WrongValue, format!("{owner} is a lock file of unknown kind"))
                .expected("a known file name, or `kind`: one of cargo, go, npm, pip")
                .got(brief(&path.value.to_string()))
                .help("say which:  kind: cargo"),
        );
    }
    found
}

fn git(
    node: &Node,
    owner: &str,
    project: Project<'_>,
    problems: &mut Problems<'_>,
) -> Option<Source> {
    let fields = Fields::read(node, &GIT, owner, problems)?;
    url(fields.get("git")?, &fields.label("git"), Purpose::Repository, problems);
    let help = "name a tag, a branch or a commit:  ref: v1.0";
    if let Some(node) = fields.require("ref", help, problems) {
        let label = fields.label("ref");
        let Project { name, version, scope } = project;
        let reference = fixed_text(node, &label, scope, name, version, problems)?;
        let bad = |letter: char| letter.is_whitespace() || letter.is_control();
        if reference.value.is_empty()
            || reference.value.starts_with('-')
            || reference.value.contains(bad)
        {
            wrong_value(node, &label, "a tag, a branch or a full commit", problems);
        }
    }
    if let Some(node) = fields.get("submodules") {
        boolean(node, &fields.label("submodules"), problems);
    }
    None
}

fn file(node: &Node, owner: &str, problems: &mut Problems<'_>) -> Option<Source> {
    let fields = Fields::read(node, &URL, owner, problems)?;
    url(fields.get("url")?, &fields.label("url"), Purpose::File, problems);
    if let Some(node) = fields.get("sha256") {
        sha256(node, &fields.label("sha256"), problems);
    }
    let unpack = match fields.get("unpack") {
        Some(node) => boolean(node, &fields.label("unpack"), problems),
        None => Some(false),
    };
    if let Some(node) = fields.get("strip") {
        let strip = integer(node, &fields.label("strip"), 0..=STRIP_MAX, problems);
        if strip.is_some() && unpack == Some(false) {
            let headline = format!("{} needs `unpack`", fields.label("strip"));
            problems.add(
                fields.key_span("strip"),
                Diagnostic::new(Code::WrongValue, headline).help("add  unpack: true"),
            );
        }
    }
    if let Some(node) = fields.get("mirrors") {
        let label = fields.label("mirrors");
        for item in list(node, &label, problems).unwrap_or_default() {
            url(item, &format!("an item of {label}"), Purpose::Mirror, problems);
        }
    }
    None
}

fn oci(node: &Node, owner: &str, problems: &mut Problems<'_>) -> Option<Source> {
    let fields = Fields::read(node, &OCI, owner, problems)?;
    image(fields.get("oci")?, &fields.label("oci"), problems);
    if let Some(node) = fields.get("path") {
        super::environment::absolute(node, &fields.label("path"), problems);
    }
    None
}

fn deb(node: &Node, owner: &str, problems: &mut Problems<'_>) -> Option<Source> {
    let fields = Fields::read(node, &DEB, owner, problems)?;
    packages(fields.get("deb")?, &fields.label("deb"), problems);
    for key in ["suite", "arch"] {
        if let Some(node) = fields.get(key) {
            super::environment::word(node, &fields.label(key), problems);
        }
    }
    None
}
