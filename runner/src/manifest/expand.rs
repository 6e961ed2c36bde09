//! Expands the matrix: steps and artifacts for every combination, every placeholder replaced.
//!
//! A build file is accepted only if this succeeds, so a value that makes a path leave its root or
//! two things land on one place is refused before anything runs. What is expanded is bounded:
//! a short file can ask for very much ([`INSTANCES_MAX`], [`EXPANDED_BYTES_MAX`]).

use std::collections::{BTreeMap, BTreeSet};

use model::platform::Platform;
use model::step::{OutputKind, Run, StepId, WORK_FOLDER};
use model::{AbsPath, Ident, Name, RelPath};

use super::artifact::{Artifact, ArtifactKind};
use super::beside;
use super::environment::{Environment, EnvironmentKind, below_one_of};
use super::instance::{
    ArchiveFormat, ArtifactInstance, ArtifactInstanceKind, Expanded, Instance, InstanceRole,
    MountAt, OutputAt, OutputOf, TakenAt,
};
use super::placeholder::{Template, Values};
use super::project::Manifest;
use super::reader::{At, Problems, bad_path, brief, quoted};
use super::reference::OutputRef;
use super::step::{Output, Role, Step};
use crate::diagnostic::{Code, Diagnostic, Span};

/// Most steps, tests and artifacts after the matrix; a Plan of this size still shows on one screen
/// a second.
pub const INSTANCES_MAX: usize = 10_000;
/// Most bytes of names, paths, variables and commands after the matrix.
pub const EXPANDED_BYTES_MAX: usize = 64 << 20;
/// What one entry of a map or list counts besides its text, in bytes.
const ENTRY_BYTES: usize = 256;

/// Returns what the matrix makes of `manifest` for `platform`.
///
/// # Errors
/// [`parse`](super::parse) has done the same for the platform of this program, so an error means
/// that two names meet on the other platform only.
pub fn expand(manifest: &Manifest, platform: Platform) -> Result<Expanded, Vec<Diagnostic>> {
    let mut problems = Problems::of(&manifest.file);
    let expanded = expand_noting(manifest, platform, &mut problems);
    if problems.is_empty() { Ok(expanded) } else { Err(problems.finish()) }
}

/// Notes what is wrong after the matrix on this program's own platform.
pub(super) fn check(manifest: &Manifest, problems: &mut Problems<'_>) {
    expand_noting(manifest, Platform::HERE, problems);
}

fn expand_noting(manifest: &Manifest, platform: Platform, problems: &mut Problems<'_>) -> Expanded {
    let mut expanded = Expanded::default();
    let combinations = manifest.matrix.combinations();
    let each = manifest.steps.len() + manifest.artifacts.len();
    if each.saturating_mul(combinations.len()) > INSTANCES_MAX {
        let headline = "the matrix makes too many steps and artifacts";
        problems
            .add(manifest.matrix.at(), too_much(headline, INSTANCES_MAX, "steps and artifacts"));
        return expanded;
    }
    let mut blamed = BTreeSet::new();
    let mut room = EXPANDED_BYTES_MAX;
    let expander = |combination| Expander {
        manifest,
        values: Values {
            name: &manifest.name.value,
            version: manifest.version.as_ref().map_or("", |version| &version.value),
            platform,
            combination,
        },
    };
    let mut noted = Noted { problems, blamed: &mut blamed, room: &mut room };
    for step in &manifest.steps {
        for combination in combinations {
            expanded.instances.extend(expander(combination).instance(step, &mut noted));
        }
    }
    let mut taken = names_of_kiln(&manifest.name.value);
    let mut all = Vec::new();
    for artifact in &manifest.artifacts {
        for combination in combinations {
            let made = expander(combination).artifact(artifact, &mut noted);
            if let Some(made) = made {
                noted.unique(&made, artifact, manifest, &mut taken);
                all.push((made, artifact));
            }
        }
    }
    noted.no_links(&all, manifest);
    expanded.artifacts.extend(all.into_iter().map(|(made, _)| made));
    expanded
}

/// Files that kiln itself writes beside the artifacts.
fn names_of_kiln(project: &Ident) -> BTreeMap<String, String> {
    [
        ("SHA256SUMS".to_owned(), "the list of digests"),
        (format!("{project}.inputs"), "the list of inputs"),
    ]
    .into_iter()
    .map(|(name, what)| (name, format!("{what}, which kiln writes")))
    .collect()
}

/// What is wrong, each place once however many combinations it is wrong for.
struct Noted<'p, 'f, 's> {
    problems: &'p mut Problems<'f>,
    blamed: &'s mut BTreeSet<(usize, Code)>,
    room: &'s mut usize,
}

struct Expander<'m> {
    manifest: &'m Manifest,
    values: Values<'m>,
}

impl Noted<'_, '_, '_> {
    fn add(&mut self, span: Span, diagnostic: Diagnostic) {
        if self.blamed.insert((span.start, diagnostic.code)) {
            self.problems.add(span, diagnostic);
        }
    }

    /// Notes names that two artifacts, or an artifact and the evidence beside one, have.
    fn unique(
        &mut self,
        made: &ArtifactInstance,
        artifact: &Artifact,
        manifest: &Manifest,
        taken: &mut BTreeMap<String, String>,
    ) {
        let name = made.name.as_str();
        let mut wanted = vec![(name.to_owned(), format!("artifact `{}`", brief(name)))];
        for suffix in beside::suffixes() {
            wanted.push((format!("{name}{suffix}"), format!("the evidence of `{}`", brief(name))));
        }
        for (file, owner) in wanted {
            let Some(other) = taken.get(&file) else {
                taken.insert(file, owner);
                continue;
            };
            let headline = format!("two files are called `{}`", brief(&file));
            let why = match *other == owner {
                true => format!("{owner} is made more than once"),
                false => format!("one is {other}, the other {owner}"),
            };
            let diagnostic = Diagnostic::new(Code::Collision, headline).why(why);
            return self.add(artifact.at, diagnostic.help(another_name(artifact, manifest)));
        }
    }

    /// Notes artifacts that have the name of a classic link of another one.
    fn no_links(&mut self, made: &[(ArtifactInstance, &Artifact)], manifest: &Manifest) {
        let names: BTreeSet<&str> = made.iter().map(|(made, _)| made.name.as_str()).collect();
        for (made, artifact) in made {
            let name = made.name.as_str();
            let Some(other) = beside::link_of(name).filter(|other| names.contains(other)) else {
                continue;
            };
            let headline = format!("two files may be called `{}`", brief(name));
            let why =
                format!("one is an artifact, the other the link of `{}` by a key", brief(other));
            let diagnostic = Diagnostic::new(Code::Collision, headline).why(why);
            self.add(artifact.at, diagnostic.help(another_name(artifact, manifest)));
        }
    }
}

/// Returns what gives an artifact a name of its own.
fn another_name(artifact: &Artifact, manifest: &Manifest) -> String {
    let name = name_template(artifact);
    let mut axes = manifest.matrix.axes().keys();
    match axes.find(|axis| !name.is_some_and(|name| name.uses_axis(axis))) {
        Some(axis) => format!("put the matrix into `name`, such as {{matrix.{axis}}}"),
        None => "give one of them another `name`".to_owned(),
    }
}

fn name_template(artifact: &Artifact) -> Option<&Template> {
    match &artifact.kind {
        ArtifactKind::File { name, .. } => name.as_ref().map(|name| &name.value),
        ArtifactKind::Archive { name, .. } => Some(&name.value),
    }
}

fn too_much(headline: &str, most: usize, what: &str) -> Diagnostic {
    Diagnostic::new(Code::WrongValue, headline)
        .expected(format!("at most {most} {what}"))
        .help("split the project, or take values out of the matrix")
}

impl Expander<'_> {
    fn instance(&self, step: &Step, noted: &mut Noted<'_, '_, '_>) -> Option<Instance> {
        self.charge(step, noted)?;
        let environment = self.manifest.environment(&step.environment.value)?;
        let mounts = self.mounts(step, noted)?;
        let from = self.from(step, noted)?;
        self.places(step, &mounts, &from, noted);
        let outputs = self.outputs(step, noted)?;
        let role = match &step.role {
            Role::Step => InstanceRole::Step,
            Role::Test { reports } => {
                let mut found = BTreeMap::new();
                for (kind, path) in reports {
                    found.insert(kind.clone(), self.inside(path, "the report", noted)?);
                }
                InstanceRole::Test { reports: found }
            }
        };
        Some(Instance {
            id: self.id(&step.name.value),
            step: step.name.value.clone(),
            at: step.name.span,
            combination: self.values.combination.clone(),
            environment: environment.name.value.clone(),
            root: self.root(environment),
            mounts,
            from,
            needs: step.needs.iter().map(|need| self.id(&need.value)).collect(),
            env: self.env(environment, step, noted)?,
            run: step.run.value.clone(),
            run_at: step.run.span,
            outputs,
            limits: step.limits,
            timeout: step.timeout,
            cpus: step.cpus,
            widen: step.widen,
            role,
        })
    }

    fn id(&self, step: &Ident) -> StepId {
        StepId { name: step.clone(), choice: self.values.combination.choice() }
    }

    fn output(&self, reference: &OutputRef) -> OutputOf {
        OutputOf { step: self.id(&reference.step), output: reference.output.clone() }
    }

    fn root(&self, environment: &Environment) -> Option<OutputOf> {
        match &environment.kind {
            EnvironmentKind::Host(_) => None,
            EnvironmentKind::Step(reference) => Some(self.output(&reference.value)),
        }
    }

    /// Takes what an instance holds besides texts off the room: its names, each with the matrix
    /// choice, and its command.
    fn charge(&self, step: &Step, noted: &mut Noted<'_, '_, '_>) -> Option<()> {
        let choice: usize =
            self.values.combination.iter().map(|(_, value)| value.len() + ENTRY_BYTES).sum();
        let names = 2 + step.needs.len() + step.from.len();
        let words = match &step.run.value {
            Run::Argv(words) => words.iter().map(|word| word.len() + ENTRY_BYTES).sum(),
            Run::Script { text, shell } => {
                text.len() + shell.iter().map(String::len).sum::<usize>()
            }
        };
        self.take(names * (choice + ENTRY_BYTES) + words, step.name.span, noted)
    }

    fn take(&self, bytes: usize, span: Span, noted: &mut Noted<'_, '_, '_>) -> Option<()> {
        let left = noted.room.checked_sub(bytes);
        if left.is_none() && noted.blamed.insert((usize::MAX, Code::WrongValue)) {
            let headline = "the matrix makes too much text";
            noted.problems.add(span, too_much(headline, EXPANDED_BYTES_MAX, "bytes in all"));
        }
        *noted.room = left.unwrap_or(0);
        left.map(|_| ())
    }

    /// Returns the text of a template, as long as there is room for it.
    fn text(&self, template: &At<Template>, noted: &mut Noted<'_, '_, '_>) -> Option<String> {
        let text = template.value.expand(self.values);
        self.take(text.len() + ENTRY_BYTES, template.span, noted)?;
        Some(text)
    }

    fn inside(
        &self,
        path: &At<Template>,
        label: &str,
        noted: &mut Noted<'_, '_, '_>,
    ) -> Option<RelPath> {
        let text = self.text(path, noted)?;
        RelPath::new(&text)
            .map_err(|error| noted.add(path.span, bad_path(&text, label, "/build", error)))
            .ok()
    }

    fn mounts(&self, step: &Step, noted: &mut Noted<'_, '_, '_>) -> Option<Vec<MountAt>> {
        let mut found = Vec::with_capacity(step.mounts.len());
        for mount in &step.mounts {
            let label = format!("the place of source `{}`", mount.source.value);
            let path = self.inside(&mount.path, &label, noted)?;
            found.push(MountAt { source: mount.source.value.clone(), path, at: mount.path.span });
        }
        found.sort_by(|left, right| left.path.cmp(&right.path));
        Some(found)
    }

    fn from(&self, step: &Step, noted: &mut Noted<'_, '_, '_>) -> Option<Vec<TakenAt>> {
        let mut found = Vec::with_capacity(step.from.len());
        for taken in &step.from {
            let output = self.output(&taken.output.value);
            let label = format!("the place of `{}`", taken.output.value);
            let text = self.text(&taken.path, noted)?;
            let path = if text.starts_with('/') {
                AbsPath::new(&text)
            } else {
                RelPath::new(&text).map(|below| build_folder().join(&below))
            };
            let path = path
                .map_err(|error| {
                    noted.add(taken.path.span, bad_path(&text, &label, "the root", error))
                })
                .ok()?;
            let kilns = below_one_of(&path, &["/proc", "/sys", "/dev", "/kiln"]);
            if kilns || path == AbsPath::default() || path.to_string() == "/tmp" {
                let headline = format!("{label} would hide what kiln puts there");
                noted.add(
                    taken.path.span,
                    Diagnostic::new(Code::Collision, headline)
                        .expected("a place outside /, /proc, /sys, /dev, /kiln and /tmp itself")
                        .got(quoted(&text)),
                );
                return None;
            }
            found.push(TakenAt { output, path, at: taken.path.span });
        }
        found.sort_by(|left, right| left.path.cmp(&right.path));
        Some(found)
    }

    /// Notes two things that land on one place. Nesting is fine; that nothing is hidden there can
    /// be told only once the files are known.
    fn places(
        &self,
        step: &Step,
        mounts: &[MountAt],
        from: &[TakenAt],
        noted: &mut Noted<'_, '_, '_>,
    ) {
        let sources = mounts.iter().map(|mount| {
            (build_folder().join(&mount.path), format!("source `{}`", mount.source), mount.at)
        });
        let outputs = from.iter().map(|taken| {
            (taken.path.clone(), format!("output `{}`", taken.output.output), taken.at)
        });
        let mut taken: BTreeMap<AbsPath, String> = BTreeMap::new();
        for (path, what, at) in sources.chain(outputs) {
            if let Some(other) = taken.get(&path) {
                let headline = format!("two things land on {path} in step `{}`", step.name.value);
                noted.add(
                    at,
                    Diagnostic::new(Code::Collision, headline)
                        .why(format!("{other} and {what} have the same place"))
                        .help("give one of them a place of its own; nesting is fine"),
                );
            }
            taken.insert(path, what);
        }
    }

    fn env(
        &self,
        environment: &Environment,
        step: &Step,
        noted: &mut Noted<'_, '_, '_>,
    ) -> Option<BTreeMap<String, String>> {
        let mut env = BTreeMap::new();
        for (name, value) in environment.env.iter().chain(&step.env) {
            env.insert(name.as_str().to_owned(), self.text(value, noted)?);
        }
        Some(env)
    }

    fn outputs(
        &self,
        step: &Step,
        noted: &mut Noted<'_, '_, '_>,
    ) -> Option<BTreeMap<Ident, OutputAt>> {
        let mut found: BTreeMap<Ident, OutputAt> = BTreeMap::new();
        let mut paths: BTreeMap<RelPath, &Ident> = BTreeMap::new();
        for (name, output) in &step.outputs {
            let label = format!("output `{name}` of step `{}`", step.name.value);
            let path = self.inside(&output.path, &label, noted)?;
            let at = output.path.span;
            if path.is_here() {
                noted.add(
                    at,
                    Diagnostic::new(Code::WrongValue, format!("{label} is the whole work folder"))
                        .expected("a file or folder below /build")
                        .got(".")
                        .help("let the command write into a folder of its own, such as out/"),
                );
                return None;
            }
            if let Some(other) = paths.insert(path.clone(), name) {
                let headline = format!("outputs `{other}` and `{name}` are one path");
                let help = "keep one of the two";
                noted.add(at, Diagnostic::new(Code::Collision, headline).help(help));
            }
            found.insert(name.clone(), OutputAt { path, kind: output.kind, at });
        }
        Some(found)
    }

    fn artifact(
        &self,
        artifact: &Artifact,
        noted: &mut Noted<'_, '_, '_>,
    ) -> Option<ArtifactInstance> {
        let (name, kind) = match &artifact.kind {
            ArtifactKind::File { file, name, mode } => {
                let name = match name {
                    Some(name) => self.name(&self.text(name, noted)?, name.span, noted)?,
                    None => self.file_name(file, noted)?,
                };
                (name, ArtifactInstanceKind::File { file: self.output(&file.value), mode: *mode })
            }
            ArtifactKind::Archive { members, name, prefix } => {
                let text = self.text(name, noted)?;
                let checked = self.name(&text, name.span, noted)?;
                let (format, stem) = archive_format(&text).or_else(|| {
                    noted.add(
                        name.span,
                        Diagnostic::new(
                            Code::WrongValue,
                            "the name of an archive has no known suffix",
                        )
                        .expected("one of .tar, .tar.gz, .tar.zst after a name")
                        .got(quoted(&text)),
                    );
                    None
                })?;
                let prefix = match prefix {
                    Some(prefix) => self.prefix(prefix, noted)?,
                    None => RelPath::new(stem).ok()?,
                };
                self.members(&checked, members, noted);
                let members = members.iter().map(|member| self.output(&member.value)).collect();
                (checked, ArtifactInstanceKind::Archive { members, format, prefix })
            }
        };
        let combination = self.values.combination.clone();
        Some(ArtifactInstance { name, combination, at: artifact.at, kind })
    }

    /// Notes two files of an archive that have one name. What folders hold is known only at the end.
    fn members(&self, archive: &Name, members: &[At<OutputRef>], noted: &mut Noted<'_, '_, '_>) {
        let mut taken: BTreeMap<Name, &OutputRef> = BTreeMap::new();
        for member in members {
            let Some(OutputKind::File) = self.declared(&member.value).map(|output| output.kind)
            else {
                continue;
            };
            let Some(name) = self.file_name(member, noted) else { continue };
            let Some(other) = taken.insert(name.clone(), &member.value) else { continue };
            if *other == member.value {
                continue;
            }
            let (archive, name) = (brief(archive.as_str()), brief(name.as_str()));
            let headline = format!("two outputs are called `{name}` in archive `{archive}`");
            noted.add(
                member.span,
                Diagnostic::new(Code::Collision, headline)
                    .why(format!("a file keeps its name there, and `{other}` has the same"))
                    .help("give one of them another path, or an archive of its own"),
            );
        }
    }

    fn declared(&self, output: &OutputRef) -> Option<&Output> {
        self.manifest.step(&output.step)?.outputs.get(&output.output)
    }

    fn prefix(&self, prefix: &At<Template>, noted: &mut Noted<'_, '_, '_>) -> Option<RelPath> {
        let text = self.text(prefix, noted)?;
        RelPath::new(&text)
            .map_err(|error| {
                noted.add(
                    prefix.span,
                    bad_path(&text, "the prefix of an archive", "the archive", error),
                );
            })
            .ok()
    }

    /// Returns the file name of an output: what an artifact that names none is called.
    fn file_name(&self, file: &At<OutputRef>, noted: &mut Noted<'_, '_, '_>) -> Option<Name> {
        let output = self.declared(&file.value)?;
        let path = self.inside(&output.path, "an output", noted)?;
        let (_, name) = path.split_last()?;
        self.name(name.as_str(), file.span, noted)
    }

    fn name(&self, text: &str, span: Span, noted: &mut Noted<'_, '_, '_>) -> Option<Name> {
        // It is shown to people and signed, so nothing in it may hide or need an escape.
        let plain = model::text::escape(text.as_bytes()) == text && text.trim() == text;
        let found = Name::new(text).ok().filter(|_| plain);
        if found.is_none() {
            noted.add(
                span,
                Diagnostic::new(Code::WrongValue, "the name of an artifact is no file name")
                    .expected(
                        "1 to 255 bytes, no slash either way, nothing invisible, not `.` or `..`",
                    )
                    .got(quoted(text))
                    .help("give the artifact a plain name:  name: …"),
            );
        }
        found
    }
}

fn archive_format(name: &str) -> Option<(ArchiveFormat, &str)> {
    ArchiveFormat::ALL.into_iter().find_map(|(format, suffix)| {
        name.strip_suffix(suffix).filter(|stem| !stem.is_empty()).map(|stem| (format, stem))
    })
}

/// The work folder, the same in every step.
fn build_folder() -> AbsPath {
    AbsPath::new(WORK_FOLDER).unwrap_or_default()
}
