//! Steps and tests: what runs, on what, and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use model::Ident;
use model::limits::{Limits, Millis, TIMEOUT_DEFAULT};
use model::step::{OutputKind, Run, Widen};

use super::environment::{EnvName, variables};
use super::node::{Node, Type};
use super::placeholder::{Scope, Template, template};
use super::reader::{
    At, Fields, Problems, Table, bad_path, boolean, brief, ident, integer, list, map, text, texts,
    unknown_name, value_span, wrong_type, wrong_value,
};
use super::reference::{OutputRef, output_ref};
use super::resources;
use super::source::Declared;
use crate::diagnostic::{Code, Diagnostic, Span};

/// One step or test, before the matrix repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, unique over steps and tests.
    pub name: At<Ident>,
    /// Whether it makes something or checks something.
    pub role: Role,
    /// Which root it has.
    pub environment: At<Ident>,
    /// Which sources lie where below `/build`.
    pub mounts: Vec<Mount>,
    /// Which outputs of other steps lie where.
    pub from: Vec<Taken>,
    /// Steps or tests that must have passed before, without data.
    pub needs: Vec<At<Ident>>,
    /// Its own variables, over those of the environment.
    pub env: BTreeMap<EnvName, At<Template>>,
    /// What runs.
    pub run: At<Run>,
    /// What is taken out; none for a test.
    pub outputs: BTreeMap<Ident, Output>,
    /// Limits, each knowing whether it was asked for.
    pub limits: Limits,
    /// Wall time allowed.
    pub timeout: Millis,
    /// Processors it is pinned to; part of the Action.
    pub cpus: Option<NonZeroU32>,
    /// What it may do besides; part of the Action.
    pub widen: Widen,
}

/// What a step is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It makes outputs.
    Step,
    /// It checks and ships nothing.
    Test {
        /// Reports that are read for the summary, by kind: only `junit`, a JUnit XML file.
        reports: BTreeMap<Ident, At<Template>>,
    },
}

/// A source in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The source.
    pub source: At<Ident>,
    /// Where it lies below `/build`.
    pub path: At<Template>,
}

/// An output of another step in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The output.
    pub output: At<OutputRef>,
    /// Where it lies: below `/build`, or absolute.
    pub path: At<Template>,
}

/// What is taken out of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Where it lies below `/build`.
    pub path: At<Template>,
    /// What it must be.
    pub kind: OutputKind,
}

/// The names a step may refer to, whatever else is wrong with what they name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub scope: Scope<'a>,
    pub sources: &'a BTreeMap<Ident, Declared>,
    pub environments: &'a BTreeSet<Ident>,
}

pub(super) const STEP: Table = Table {
    noun: "step",
    keys: &[
        "abi32",
        "cpus",
        "env",
        "environment",
        "fakeroot",
        "from",
        "mount",
        "name",
        "needs",
        "nested",
        "outputs",
        "resources",
        "run",
        "shell",
        "timeout",
    ],
    reserved: &["state"],
};
pub(super) const TEST: Table = Table {
    noun: "test",
    keys: &[
        "abi32",
        "cpus",
        "env",
        "environment",
        "fakeroot",
        "from",
        "mount",
        "name",
        "needs",
        "nested",
        "reports",
        "resources",
        "run",
        "shell",
        "timeout",
    ],
    reserved: &["state"],
};
pub(super) const OUTPUT: Table = Table { noun: "output", keys: &["as", "path"], reserved: &[] };
pub(super) const REPORTS: Table = Table { noun: "reports", keys: &["junit"], reserved: &[] };

/// The shell of a script that names none: stops at the first failure and at unset variables.
pub const SHELL_DEFAULT: [&str; 2] = ["/bin/sh", "-eu"];

impl Step {
    /// Says whether this is a test.
    pub fn is_test(&self) -> bool {
        matches!(self.role, Role::Test { .. })
    }
}

/// Returns the word of the build file for what an output must be.
pub(super) fn word_of(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::File => "file",
        OutputKind::Dir => "dir",
        OutputKind::Root => "root",
    }
}

/// Reads one step or test. `None` if it cannot even be named.
pub(super) fn read(
    node: &Node,
    table: &Table,
    known: Known<'_>,
    problems: &mut Problems<'_>,
) -> Option<Step> {
    let owner = match node.get("name").and_then(Node::scalar_text) {
        Some(name) if !name.is_empty() => format!("{} `{}`", table.noun, brief(name)),
        _ => format!("a {}", table.noun),
    };
    let fields = Fields::read(node, table, owner, problems)?;
    let owner = fields.owner.as_str();
    let name = fields
        .require("name", "give it a name:  name: build", problems)
        .and_then(|node| Some((node, text(node, &fields.label("name"), problems)?)))
        .and_then(|(node, text)| ident(text, node.span, &fields.label("name"), problems));
    let run = run(&fields, problems);
    let flag = |key: &str, problems: &mut Problems<'_>| {
        fields
            .get(key)
            .and_then(|node| boolean(node, &fields.label(key), problems))
            .unwrap_or(false)
    };
    let widen = Widen {
        nested: flag("nested", problems),
        fakeroot: flag("fakeroot", problems),
        abi32: flag("abi32", problems),
    };
    let timeout = fields
        .get("timeout")
        .and_then(|node| resources::duration(node, &fields.label("timeout"), problems));
    let limits = fields.get("resources").map(|node| resources::read(node, owner, problems));
    let cpus = fields
        .get("cpus")
        .and_then(|node| integer(node, &fields.label("cpus"), 1..=resources::CPUS_MAX, problems))
        .and_then(|cpus| NonZeroU32::new(u32::try_from(cpus).ok()?));
    let mounts = mounts(&fields, table, known, problems);
    let env = fields
        .get("env")
        .map(|node| variables(node, owner, known.scope, problems))
        .unwrap_or_default();
    kiln_sets(&fields, &mounts, known, problems);
    let from = from(&fields, known.scope, problems);
    let needs = needs(&fields, problems);
    let outputs = outputs(&fields, known.scope, problems);
    let role = match table.noun {
        "test" => Role::Test { reports: reports(&fields, known.scope, problems) },
        _ => Role::Step,
    };
    let name = name?;
    let environment = environment(&fields, &name, known, problems);
    Some(Step {
        role,
        environment,
        mounts,
        from,
        needs,
        env,
        run,
        outputs,
        limits: limits.unwrap_or_default(),
        timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
        cpus,
        widen,
        name,
    })
}

fn environment(
    fields: &Fields<'_>,
    step: &At<Ident>,
    known: Known<'_>,
    problems: &mut Problems<'_>,
) -> At<Ident> {
    let default = known.environments.iter().find(|name| name.as_str() == "default");
    let fallback = At::new(default.cloned().unwrap_or_else(|| step.value.clone()), step.span);
    let Some(node) = fields.get("environment") else { return fallback };
    if node.kind() == Type::Map {
        let diagnostic = Diagnostic::new(
            Code::WrongType,
            format!("{} has the wrong type", fields.label("environment")),
        );
        problems.add(
            value_span(node),
            diagnostic
                .expected("the name of an environment")
                .got("a map")
                .help("name it under `environments`, and write the name here"),
        );
        return fallback;
    }
    let Some(name) = text(node, &fields.label("environment"), problems) else { return fallback };
    match known.environments.iter().find(|known| known.as_str() == name) {
        Some(found) => At::new(found.clone(), node.span),
        None => {
            let headline = format!("{} names no environment: `{}`", fields.owner, brief(name));
            let names = known.environments.iter().map(Ident::as_str);
            problems.add(node.span, unknown_name(headline, name, names));
            fallback
        }
    }
}

fn run(fields: &Fields<'_>, problems: &mut Problems<'_>) -> At<Run> {
    let nothing = At::new(Run::Argv(Vec::new()), fields.head());
    let Some(node) = fields.require("run", "say what runs:  run: make", problems) else {
        return nothing;
    };
    let label = fields.label("run");
    match node.kind() {
        Type::Text => {
            let text = node.scalar_text().unwrap_or_default();
            if text.trim().is_empty() || text.contains('\0') {
                wrong_value(node, &label, "a script that is not empty and has no NUL", problems);
            }
            let shell = shell(fields, problems);
            At::new(Run::Script { text: text.to_owned(), shell }, node.span)
        }
        Type::List => {
            if fields.get("shell").is_some() {
                problems.add(
                    fields.key_span("shell"),
                    Diagnostic::new(
                        Code::WrongValue,
                        format!("{} has no script to read", fields.label("shell")),
                    )
                    .why("a list under `run` is a program with its arguments")
                    .help("remove `shell`, or write `run` as a string"),
                );
            }
            At::new(Run::Argv(words(node, &label, problems)), node.span)
        }
        Type::Null | Type::Boolean | Type::Integer | Type::Number | Type::Map => {
            wrong_type(node, &label, "a string, or a list of strings", problems);
            nothing
        }
    }
}

fn shell(fields: &Fields<'_>, problems: &mut Problems<'_>) -> Vec<String> {
    match fields.get("shell") {
        Some(node) => words(node, &fields.label("shell"), problems),
        None => SHELL_DEFAULT.map(str::to_owned).to_vec(),
    }
}

/// Reads a program and its arguments.
fn words(node: &Node, label: &str, problems: &mut Problems<'_>) -> Vec<String> {
    let words = texts(node, label, problems).unwrap_or_default();
    let wrong = words.first().is_some_and(|program| program.value.is_empty())
        || words.iter().any(|word| word.value.contains('\0'));
    if matches!(&node.value, super::node::Value::List(items) if items.is_empty()) || wrong {
        wrong_value(node, label, "a program and its arguments, without NUL", problems);
    }
    words.into_iter().map(|word| word.value).collect()
}

fn mounts(
    fields: &Fields<'_>,
    table: &Table,
    known: Known<'_>,
    problems: &mut Problems<'_>,
) -> Vec<Mount> {
    let Some(node) = fields.get("mount") else {
        return default_mounts(fields, table, known, problems);
    };
    let mut found = Vec::new();
    for (key, value) in map(node, &fields.label("mount"), problems).unwrap_or_default() {
        let label = format!("the place of source `{}` in {}", brief(&key.text), fields.owner);
        let path = below_build(value, &label, known.scope, problems);
        let source = known.sources.keys().find(|source| source.as_str() == key.text);
        match (source, path) {
            (Some(source), Some(path)) => {
                found.push(Mount { source: At::new(source.clone(), key.span), path });
            }
            (Some(_), None) => {}
            (None, _) => {
                let headline = format!("{} mounts no source: `{}`", fields.owner, brief(&key.text));
                let names = known.sources.keys().map(Ident::as_str);
                problems.add(key.span, unknown_name(headline, &key.text, names));
            }
        }
    }
    found
}

fn default_mounts(
    fields: &Fields<'_>,
    table: &Table,
    known: Known<'_>,
    problems: &mut Problems<'_>,
) -> Vec<Mount> {
    let names: Vec<&Ident> = known.sources.keys().collect();
    let here = At::new(Template::literal("."), fields.head());
    match names.as_slice() {
        _ if table.noun == "test" && fields.get("from").is_some() => Vec::new(),
        [] => Vec::new(),
        [only] => {
            vec![Mount { source: At::new((*only).clone(), fields.head()), path: here }]
        }
        all => {
            let headline = format!("{} has no `mount`", fields.owner);
            problems.add(
                fields.head(),
                Diagnostic::new(Code::MissingKey, headline)
                    .why(format!(
                        "there are {} sources, so it must be said which lie where",
                        names.len()
                    ))
                    .help(format!("say it:  mount: {{{}}}", suggested(all)))
                    .help("or mount none:  mount: {}"),
            );
            Vec::new()
        }
    }
}

/// Returns mounts of all sources, as an example: the one that is most likely the project in the work folder,
/// the others in folders of their names.
fn suggested(sources: &[&Ident]) -> String {
    let main = sources.iter().position(|name| name.as_str() == "src").unwrap_or(0);
    let place = |(number, name): (usize, &&Ident)| {
        if number == main { format!("{name}: .") } else { format!("{name}: {name}") }
    };
    let all: Vec<String> = sources.iter().enumerate().map(place).collect();
    all.join(", ")
}

/// Refuses variables that kiln itself sets for the lock files a step mounts.
fn kiln_sets(fields: &Fields<'_>, mounts: &[Mount], known: Known<'_>, problems: &mut Problems<'_>) {
    let Some(super::node::Value::Map(entries)) = fields.get("env").map(|node| &node.value) else {
        return;
    };
    for mount in mounts {
        let ecosystem = known.sources.get(&mount.source.value).and_then(|source| source.ecosystem);
        let variables = ecosystem.map(super::source::Ecosystem::variables).unwrap_or_default();
        for (key, _) in entries.iter().filter(|(key, _)| variables.contains(&key.text.as_str())) {
            let headline = format!("variable `{}` of {} is set by kiln", key.text, fields.owner);
            problems.add(
                key.span,
                Diagnostic::new(Code::Duplicate, headline)
                    .why(format!(
                        "source `{}` is a lock file, whose client it points at its files",
                        mount.source.value
                    ))
                    .help("remove it"),
            );
        }
    }
}

fn from(fields: &Fields<'_>, scope: Scope<'_>, problems: &mut Problems<'_>) -> Vec<Taken> {
    let Some(node) = fields.get("from") else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in map(node, &fields.label("from"), problems).unwrap_or_default() {
        let label = format!("`from` of {}", fields.owner);
        let output = output_ref(&key.text, key.span, &label, problems);
        let label = format!("the place of `{}` in {}", brief(&key.text), fields.owner);
        let path = template(value, &label, scope, problems);
        if let (Some(output), Some(path)) = (output, path) {
            found.push(Taken { output, path });
        }
    }
    found
}

fn needs(fields: &Fields<'_>, problems: &mut Problems<'_>) -> Vec<At<Ident>> {
    let Some(node) = fields.get("needs") else { return Vec::new() };
    let label = fields.label("needs");
    let mut found = Vec::new();
    for item in list(node, &label, problems).unwrap_or_default() {
        let label = format!("an item of {label}");
        let Some(name) = text(item, &label, problems) else { continue };
        found.extend(ident(name, item.span, &label, problems));
    }
    found
}

fn outputs(
    fields: &Fields<'_>,
    scope: Scope<'_>,
    problems: &mut Problems<'_>,
) -> BTreeMap<Ident, Output> {
    let mut found = BTreeMap::new();
    let Some(node) = fields.get("outputs") else { return found };
    for (key, value) in map(node, &fields.label("outputs"), problems).unwrap_or_default() {
        let label = format!("the name of an output of {}", fields.owner);
        let name = ident(&key.text, key.span, &label, problems);
        let label = format!("output `{}` of {}", brief(&key.text), fields.owner);
        let output = output(value, &label, key.span, scope, problems);
        if let (Some(name), Some(output)) = (name, output) {
            found.insert(name.value, output);
        }
    }
    found
}

fn output(
    node: &Node,
    label: &str,
    span: Span,
    scope: Scope<'_>,
    problems: &mut Problems<'_>,
) -> Option<Output> {
    let (path_node, form) = match node.kind() {
        Type::Map => {
            let fields = Fields::read(node, &OUTPUT, label, problems)?;
            let path = fields.require("path", "say where it lies:  path: out/program", problems);
            let form = fields.get("as").map(|node| form(node, &fields.label("as"), problems));
            (path?, form)
        }
        Type::Text => (node, None),
        Type::Null | Type::Boolean | Type::Integer | Type::Number | Type::List => {
            wrong_type(node, label, "a string, or a map with `path` and `as`", problems);
            return None;
        }
    };
    let path = below_build(path_node, &format!("the path of {label}"), scope, problems)?;
    let slash = path.value.ends_with_slash();
    let form = match form {
        Some(form) => form?,
        None if slash => OutputKind::Dir,
        None => OutputKind::File,
    };
    if slash && form == OutputKind::File {
        problems.add(
            span,
            Diagnostic::new(
                Code::WrongValue,
                format!("{label} is a file with the path of a folder"),
            )
            .expected("a path without a final `/`, or `as: dir`")
            .help("remove the final `/`"),
        );
    }
    Some(Output { path, kind: form })
}

fn form(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<OutputKind> {
    match text(node, label, problems)? {
        "file" => Some(OutputKind::File),
        "dir" => Some(OutputKind::Dir),
        "root" => Some(OutputKind::Root),
        "plan" => {
            problems.add(
                node.span,
                Diagnostic::new(Code::Reserved, "`as: plan` is reserved")
                    .expected("one of dir, file, root")
                    .why("a later version of the schema may use it")
                    .help("write  as: dir"),
            );
            None
        }
        _ => {
            wrong_value(node, label, "one of dir, file, root", problems);
            None
        }
    }
}

fn reports(
    fields: &Fields<'_>,
    scope: Scope<'_>,
    problems: &mut Problems<'_>,
) -> BTreeMap<Ident, At<Template>> {
    let mut found = BTreeMap::new();
    let Some(node) = fields.get("reports") else { return found };
    let Some(reports) = Fields::read(node, &REPORTS, fields.label("reports"), problems) else {
        return found;
    };
    for key in REPORTS.keys {
        let path = reports
            .get(key)
            .and_then(|node| below_build(node, &reports.label(key), scope, problems));
        if let (Ok(kind), Some(path)) = (Ident::new(key), path) {
            found.insert(kind, path);
        }
    }
    found
}

/// Reads a path below `/build`. One without placeholders is checked here, the others when the
/// matrix is expanded.
fn below_build(
    node: &Node,
    label: &str,
    scope: Scope<'_>,
    problems: &mut Problems<'_>,
) -> Option<At<Template>> {
    let path = template(node, label, scope, problems)?;
    if let Some(literal) = path.value.as_literal()
        && let Err(error) = model::RelPath::new(literal)
    {
        problems.add(node.span, bad_path(literal, label, "/build", error));
        return None;
    }
    Some(path)
}
