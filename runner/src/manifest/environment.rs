//! Environments: the root file systems of steps. `host` and `step` are built now; the other kinds
//! are checked and then refused.

use std::collections::BTreeMap;

use fetch::host::{AskedError, AskedPackage, AskedPath, Forbidden};
use model::{AbsPath, Ident};

use super::address::{Purpose, image, packages, refuse_secret, sha256, url};
use super::node::{Node, Type};
use super::placeholder::{Scope, Template, template};
use super::reader::{
    At, Fields, Problems, Table, bad_path, boolean, brief, list, map, text, value_span, wrong_type,
    wrong_value,
};
use super::reference::{OutputRef, output_ref};
use super::source::{Project, below_project, not_built, one_kind};
use crate::diagnostic::{Code, Diagnostic};

/// One environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its name; the one that steps have by themselves is `default`.
    pub name: At<Ident>,
    /// What its root is made of.
    pub kind: EnvironmentKind,
    /// Variables for all its steps.
    pub env: BTreeMap<EnvName, At<Template>>,
}

/// What a root is made of. Kinds that this kiln does not build yet never get this far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentKind {
    /// Files of the host, observed at each build (decision 9).
    Host(Host),
    /// A root made by a step, an output with `as: root` (decision 11).
    Step(At<OutputRef>),
}

/// What of the host is in the root, besides the Essential set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Installed packages; their closure comes with them. Each once.
    pub packages: Vec<At<AskedPackage>>,
    /// Files or folders of no package. Their places in the root differ, and both ends are checked
    /// as far as it can be told without asking the host: its homes and kiln's store are not known here.
    pub paths: Vec<At<AskedPath>>,
    /// Whether the digests are written to the lock, and must stay the same.
    pub pin: bool,
}

/// The name of a variable: not empty, no `=`, no control character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvName(String);

pub(super) const KINDS: &[&str] = &["deb", "host", "oci", "rootfs", "step"];
pub(super) const KEYS: Table = Table {
    noun: "environment",
    keys: &["deb", "env", "host", "oci", "rootfs", "step"],
    reserved: &[],
};
pub(super) const HOST: Table =
    Table { noun: "host", keys: &["packages", "paths", "pin"], reserved: &[] };
pub(super) const HOST_PATH: Table =
    Table { noun: "path", keys: &["at", "from", "path-prefix"], reserved: &[] };
pub(super) const DEB: Table = Table {
    noun: "deb",
    keys: &["arch", "links", "packages", "recommends", "suite"],
    reserved: &[],
};
pub(super) const OCI: Table = Table { noun: "oci", keys: &["image", "platform"], reserved: &[] };
pub(super) const ROOTFS: Table =
    Table { noun: "rootfs", keys: &["file", "sha256", "url"], reserved: &[] };

/// Longest name of a variable, in bytes.
const ENV_NAME_BYTES_MAX: usize = 255;
impl EnvName {
    /// Checks a name.
    pub fn new(name: &str) -> Option<EnvName> {
        let bad = |letter: char| letter == '=' || letter.is_control();
        let good = !name.is_empty() && name.len() <= ENV_NAME_BYTES_MAX && !name.contains(bad);
        good.then(|| EnvName(name.to_owned()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads one environment. `None` where it has a problem.
pub(super) fn read(
    name: At<Ident>,
    node: &Node,
    project: Project<'_>,
    problems: &mut Problems<'_>,
) -> Option<Environment> {
    let owner = match name.value.as_str() {
        "default" => "`environment`".to_owned(),
        name => format!("environment `{name}`"),
    };
    let kind = one_kind(node, &owner, KINDS, problems);
    let kind = kind?;
    let fields = Fields::read(node, &KEYS, owner.as_str(), problems)?;
    let env = match fields.get("env") {
        Some(node) => {
            variables(node, &owner, Scope { per_instance: true, ..project.scope }, problems)
        }
        None => BTreeMap::new(),
    };
    let below = fields.get(kind)?;
    let label = fields.label(kind);
    let kind = match kind {
        "host" => host(below, &label, problems).map(EnvironmentKind::Host),
        "step" => {
            let text = text(below, &label, problems)?;
            output_ref(text, below.span, &label, problems).map(EnvironmentKind::Step)
        }
        later => {
            match later {
                "deb" => deb(below, &label, problems),
                "oci" => oci(below, &label, problems),
                _ => rootfs(below, &label, project, problems),
            };
            let built = "an environment of kind `host` or `step`";
            not_built(fields.key_span(later), &owner, later, built, problems);
            None
        }
    };
    Some(Environment { name, kind: kind?, env })
}

/// Reads a map of variables, with placeholders in the values.
pub(super) fn variables(
    node: &Node,
    owner: &str,
    scope: Scope<'_>,
    problems: &mut Problems<'_>,
) -> BTreeMap<EnvName, At<Template>> {
    let mut found = BTreeMap::new();
    for (key, value) in map(node, &format!("`env` of {owner}"), problems).unwrap_or_default() {
        let Some(name) = EnvName::new(&key.text) else {
            problems.add(
                key.span,
                Diagnostic::new(
                    Code::WrongValue,
                    format!("`env` of {owner} has a name that is none"),
                )
                .expected("a name without `=` and control characters")
                .got(super::reader::quoted(&key.text)),
            );
            continue;
        };
        let label = format!("variable `{}` of {owner}", brief(&key.text));
        if value.scalar_text().is_some_and(|text| text.contains('\0')) {
            wrong_value(value, &label, "a value without NUL", problems);
            continue;
        }
        if let Some(text) = value.text() {
            refuse_secret(&key.text, text, key.span, owner, problems);
        }
        if let Some(value) = template(value, &label, scope, problems) {
            found.insert(name, value);
        }
    }
    found
}

fn host(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<Host> {
    let fields = Fields::read(node, &HOST, label, problems)?;
    let packages = match fields.get("packages") {
        Some(node) => packages(node, &fields.label("packages"), problems)?,
        None => Vec::new(),
    };
    let mut paths: Vec<At<AskedPath>> = Vec::new();
    if let Some(node) = fields.get("paths") {
        let label = fields.label("paths");
        for item in list(node, &label, problems)? {
            let Some(path) = host_path(item, &format!("an item of {label}"), problems) else {
                continue;
            };
            if paths.iter().any(|earlier| earlier.value.place() == path.place()) {
                let headline = format!("two paths land at {}", path.place());
                problems.add(
                    value_span(item),
                    Diagnostic::new(Code::Collision, headline)
                        .help("give one of them another place:  at: PATH"),
                );
            }
            paths.push(At::new(path, value_span(item)));
        }
    }
    let pin = match fields.get("pin") {
        Some(node) => boolean(node, &fields.label("pin"), problems)?,
        None => false,
    };
    Some(Host { packages, paths, pin })
}

fn host_path(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<AskedPath> {
    let (path, blame) = match node.kind() {
        Type::Text => {
            let from = absolute(node, label, problems)?;
            (AskedPath { from, at: None, path_prefix: false }, node)
        }
        Type::Map => {
            let fields = Fields::read(node, &HOST_PATH, label, problems)?;
            let help = "name the file or folder:  from: /opt/tool";
            let from_node = fields.require("from", help, problems);
            let path_prefix = match fields.get("path-prefix") {
                Some(node) => boolean(node, &fields.label("path-prefix"), problems)?,
                None => false,
            };
            let at = match fields.get("at") {
                Some(node) => Some(absolute(node, &fields.label("at"), problems)?),
                None => None,
            };
            let from = absolute(from_node?, &fields.label("from"), problems)?;
            let blame = fields.get("at").filter(|_| at.is_some()).or(from_node)?;
            (AskedPath { from, at, path_prefix }, blame)
        }
        Type::Null | Type::Boolean | Type::Integer | Type::Number | Type::List => {
            wrong_type(node, label, "a path, or a map with `from`", problems);
            return None;
        }
    };
    // Where no other place was asked for, whether the path may be an input at all comes first, and that
    // needs the caller's home: it is told when the environment is brought in.
    let unplaced =
        |error: &AskedError| path.at.is_none() && matches!(error, AskedError::Place { .. });
    if let Some(error) = path.check(&Forbidden::default()).err().filter(|error| !unplaced(error)) {
        let blame = match error {
            AskedError::Place { .. } => blame,
            AskedError::Root
            | AskedError::Kernel { .. }
            | AskedError::Home { .. }
            | AskedError::Store { .. } => node.get("from").unwrap_or(node),
        };
        problems.add(
            blame.span,
            Diagnostic::new(Code::WrongValue, format!("{label} is not allowed"))
                .expected("a file or folder of the host that is none of its own")
                .got(super::reader::quoted(blame.scalar_text().unwrap_or_default()))
                .why(error.to_string())
                .help(match error {
                    AskedError::Place { .. } => {
                        "give it another place:  {from: PATH, at: /opt/NAME}"
                    }
                    AskedError::Root
                    | AskedError::Kernel { .. }
                    | AskedError::Home { .. }
                    | AskedError::Store { .. } => "name the one folder or file that the step needs",
                }),
        );
        return None;
    }
    Some(path)
}

/// Says whether `path` is one of `folders` or lies below one.
pub(super) fn below_one_of(path: &AbsPath, folders: &[&str]) -> bool {
    folders
        .iter()
        .any(|folder| AbsPath::new(folder).is_ok_and(|folder| path.strip_prefix(&folder).is_some()))
}

/// Reads an absolute path without placeholders.
pub(super) fn absolute(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<AbsPath> {
    use model::relpath::PathError as E;
    let value = text(node, label, problems)?;
    match AbsPath::new(value) {
        Ok(path) => Some(path),
        Err(error @ E::Parent) => {
            problems.add(node.span, bad_path(value, label, "/", error));
            None
        }
        Err(_) => {
            wrong_value(node, label, "an absolute path", problems);
            None
        }
    }
}

/// Reads a name of a suite or an architecture: one word.
pub(super) fn word(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<()> {
    let value = text(node, label, problems)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    let good = !value.is_empty() && !value.starts_with(['-', '/', '.']) && value.bytes().all(legal);
    if !good || value.contains("..") {
        wrong_value(node, label, "one word of letters, digits, `.`, `-` and `_`", problems);
    }
    Some(())
}

fn deb(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<()> {
    let fields = Fields::read(node, &DEB, label, problems)?;
    let help = "name what the steps need:  packages: [gcc, make]";
    if let Some(node) = fields.require("packages", help, problems) {
        packages(node, &fields.label("packages"), problems);
    }
    for key in ["suite", "arch"] {
        if let Some(node) = fields.get(key) {
            word(node, &fields.label(key), problems);
        }
    }
    if let Some(node) = fields.get("recommends") {
        boolean(node, &fields.label("recommends"), problems);
    }
    if let Some(node) = fields.get("links") {
        for (key, target) in map(node, &fields.label("links"), problems)? {
            let label = format!("link `{}` of {label}", brief(&key.text));
            if AbsPath::new(&key.text).is_err() {
                problems.add(
                    key.span,
                    Diagnostic::new(Code::WrongValue, format!("{label} has no absolute path"))
                        .expected("a path such as /usr/bin/python")
                        .got(super::reader::quoted(&key.text)),
                );
            }
            text(target, &label, problems);
        }
    }
    Some(())
}

fn oci(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<()> {
    if node.kind() != Type::Map {
        return image(node, label, problems);
    }
    let fields = Fields::read(node, &OCI, label, problems)?;
    let help = "name it with its registry:  image: registry.example.org/name:tag";
    if let Some(node) = fields.require("image", help, problems) {
        image(node, &fields.label("image"), problems);
    }
    if let Some(node) = fields.get("platform") {
        let label = fields.label("platform");
        let platform = text(node, &label, problems)?;
        if !matches!(platform, "linux/amd64" | "linux/arm64") {
            wrong_value(node, &label, "one of linux/amd64, linux/arm64", problems);
        }
    }
    Some(())
}

fn rootfs(
    node: &Node,
    label: &str,
    project: Project<'_>,
    problems: &mut Problems<'_>,
) -> Option<()> {
    let kind = one_kind(node, label, &["file", "url"], problems);
    let fields = Fields::read(node, &ROOTFS, label, problems)?;
    match kind {
        Some("file") => {
            below_project(fields.get("file")?, &fields.label("file"), project, problems)?;
        }
        Some(_) => url(fields.get("url")?, &fields.label("url"), Purpose::File, problems)?,
        None => {}
    }
    if let Some(node) = fields.get("sha256") {
        sha256(node, &fields.label("sha256"), problems);
    }
    Some(())
}
