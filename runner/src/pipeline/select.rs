//! Which part of a plan is wanted, and what of it this kiln can do.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use fetch::host::AskedPackage;
use model::step::StepId;
use model::text;

use crate::diagnostic::{Code, Diagnostic, Span, nearest, one_of};
use crate::environment;
use crate::manifest::{At, Host, Manifest, Source, SourceKind};
use crate::plan::Plan;
use crate::project::Project;
use crate::refusal;
use crate::source::SourceError;
use crate::source::git::GitError;

/// Keeps what the targets and the matrix choice name, what that needs, and the tests that read it.
///
/// # Errors
/// Names a target or an axis that is not there.
pub fn restrict(
    plan: &mut Plan,
    targets: &[String],
    matrix: &[String],
) -> Result<(), Vec<Diagnostic>> {
    if targets.is_empty() && matrix.is_empty() {
        return Ok(());
    }
    let mut wanted: BTreeSet<StepId> = BTreeSet::new();
    let mut artifacts: BTreeSet<String> = BTreeSet::new();
    for target in targets {
        let steps: Vec<&StepId> = plan
            .steps
            .keys()
            .filter(|id| id.to_string() == *target || id.name.as_str() == target)
            .collect();
        let made: Vec<_> =
            plan.artifacts.iter().filter(|artifact| artifact.name.as_str() == target).collect();
        if steps.is_empty() && made.is_empty() {
            return Err(vec![unknown(plan, target)]);
        }
        wanted.extend(steps.into_iter().cloned());
        wanted.extend(made.iter().flat_map(|artifact| artifact.steps()).cloned());
        artifacts.extend(made.iter().map(|artifact| artifact.name.to_string()));
    }
    if targets.is_empty() {
        wanted = plan.steps.keys().cloned().collect();
    }
    for choice in matrix {
        let (axis, value) = choice.split_once('=').unwrap_or((choice, ""));
        let known = plan.steps.keys().any(|id| {
            id.choice.iter().any(|(name, found)| name.as_str() == axis && found == value)
        });
        if !known {
            return Err(vec![no_choice(plan, choice)]);
        }
        wanted.retain(|id| {
            id.choice.iter().all(|(name, found)| name.as_str() != axis || found == value)
        });
    }
    if wanted.is_empty() {
        return Err(vec![no_combination(matrix)]);
    }
    let mut closure: BTreeSet<StepId> = plan.closure(&wanted).into_iter().cloned().collect();
    let tests: Vec<StepId> = plan
        .steps
        .values()
        .filter(|step| step.test && step.waits_for().iter().any(|id| closure.contains(*id)))
        .map(|step| step.id.clone())
        .collect();
    closure.extend(plan.closure(&tests).into_iter().cloned());
    plan.restrict(&closure);
    if !artifacts.is_empty() {
        plan.artifacts.retain(|artifact| {
            artifacts.contains(artifact.name.as_str())
                || artifact.steps().iter().all(|id| {
                    targets
                        .iter()
                        .any(|target| id.to_string() == *target || id.name.as_str() == target)
                })
        });
    }
    Ok(())
}

fn no_combination(matrix: &[String]) -> Diagnostic {
    let asked = text::escape(matrix.join(" ").as_bytes());
    Diagnostic::new(Code::WrongValue, format!("no combination of the matrix is `{asked}`"))
        .expected("values that occur together in the build file")
        .help("see the combinations:  kiln graph")
}

fn no_choice(plan: &Plan, choice: &str) -> Diagnostic {
    let ids = plan.steps.keys().flat_map(|id| &id.choice);
    let known: BTreeSet<String> = ids.map(|(axis, value)| format!("{axis}={value}")).collect();
    let told = Diagnostic::new(
        Code::WrongValue,
        format!("the matrix has no `{}`", text::escape(choice.as_bytes())),
    )
    .expected(one_of(known.iter().map(String::as_str)));
    match nearest(choice, known.iter().map(String::as_str)).first() {
        Some(near) => told.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => told.help("leave --matrix out: the build file has no matrix"),
        None => told.help("name one of them:  --matrix AXIS=VALUE"),
    }
}

fn unknown(plan: &Plan, target: &str) -> Diagnostic {
    let mut names: Vec<String> = plan.steps.keys().map(StepId::to_string).collect();
    names.extend(plan.artifacts.iter().map(|artifact| artifact.name.to_string()));
    let told = Diagnostic::new(
        Code::UnknownName,
        format!("no step or artifact `{}`", text::escape(target.as_bytes())),
    )
    .expected(one_of(names.iter().map(String::as_str)));
    match nearest(target, names.iter().map(String::as_str)).first() {
        Some(near) => told.help(format!("did you mean `{near}`?")),
        None => told.help("see what there is:  kiln graph"),
    }
}

/// Refuses a build file whose local sources are not there, without reading them: what `kiln lock`
/// asks, since it pins no bytes of theirs.
///
/// # Errors
/// KILN-0108 for each source that is absent.
pub fn present(project: &Project, manifest: &Manifest) -> Result<(), Vec<Diagnostic>> {
    let absent = manifest.sources.iter().filter_map(|source| {
        let SourceKind::Local { path, .. } = &source.kind;
        let there = project.folder.join(path.value.as_str()).symlink_metadata().is_ok();
        let missing =
            || SourceError::Missing { name: source.name.value.clone(), path: path.value.clone() };
        (!there).then(|| source_told(&missing()).at(manifest.place(path.span)))
    });
    let absent: Vec<Diagnostic> = absent.collect();
    if absent.is_empty() { Ok(()) } else { Err(absent) }
}

/// Returns what a person reads of a source that cannot be scanned, with its place in the build file.
pub fn source_error(manifest: &Manifest, error: &SourceError) -> Diagnostic {
    let told = source_told(error);
    match manifest.sources.iter().find(|source| is_about(error, source)) {
        Some(source) => {
            let SourceKind::Local { path, .. } = &source.kind;
            let told = told.at(manifest.place(path.span));
            if manifest.file.is_made() { by_option(told, error) } else { told }
        }
        None => told,
    }
}

/// Says whether an error is about a source, by its name or by where the file lies.
fn is_about(error: &SourceError, source: &Source) -> bool {
    match error {
        SourceError::Missing { name, .. } | SourceError::Ignored { name, .. } => {
            source.name.value == *name
        }
        SourceError::Special { path, .. }
        | SourceError::NotUtf8 { path }
        | SourceError::Target { path }
        | SourceError::TooDeep { path, .. }
        | SourceError::FolderTooLarge { path, .. }
        | SourceError::Unreadable { path, .. } => {
            let SourceKind::Local { path: top, .. } = &source.kind;
            let top = top.value.as_str();
            path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                || ["", "."].contains(&top)
        }
        _ => false,
    }
}

/// An input of `kiln run` has an option and no name.
fn by_option(told: Diagnostic, error: &SourceError) -> Diagnostic {
    match error {
        SourceError::Missing { path, .. } => Diagnostic {
            headline: format!("--input: there is no file or folder `{path}`"),
            expected: Some("a file or folder below the current folder".to_owned()),
            help: vec!["make it, or name one that there is:  --input PATH".to_owned()],
            ..told
        },
        _ => told,
    }
}

/// Returns what a person reads of a source that cannot be scanned.
pub fn source_told(error: &SourceError) -> Diagnostic {
    let code = match error {
        SourceError::Missing { .. } | SourceError::Ignored { .. } => Code::UnknownName,
        SourceError::Changed { .. } => Code::DigestMismatch,
        SourceError::TooMany { .. } => Code::WrongValue,
        SourceError::Special { .. }
        | SourceError::NotUtf8 { .. }
        | SourceError::Target { .. }
        | SourceError::TooDeep { .. }
        | SourceError::FolderTooLarge { .. } => Code::SourceUnfit,
        SourceError::Unreadable { source, .. }
        | SourceError::Project { source, .. }
        | SourceError::Git(GitError::Read { source, .. })
            if matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) =>
        {
            Code::SourceUnfit
        }
        _ => Code::StoreUnusable,
    };
    let diagnostic = Diagnostic::new(code, error.to_string());
    let diagnostic = match error {
        SourceError::Changed { .. } => {
            diagnostic.help("start the build again when nothing writes to the sources")
        }
        SourceError::Ignored { path, .. } => diagnostic
            .help(format!("track it, or take it out of the ignore rules:  git add -f {path}")),
        SourceError::Missing { .. } => diagnostic
            .expected("a file or folder below the folder of the build file")
            .help("make it, or name one that there is:  local: PATH"),
        SourceError::Project { .. } => diagnostic.help("make it readable for you"),
        SourceError::Git(GitError::Read { source, .. })
            if source.kind() == ErrorKind::PermissionDenied =>
        {
            diagnostic.help("make it readable for you, and all that lies below `.git`")
        }
        SourceError::Unreadable { .. } => diagnostic
            .help("make it readable for you, or leave it out with `exclude` of the source"),
        SourceError::Special { .. }
        | SourceError::NotUtf8 { .. }
        | SourceError::Target { .. }
        | SourceError::TooDeep { .. } => {
            diagnostic.help("remove it, or leave it out with `exclude` of the source")
        }
        SourceError::FolderTooLarge { .. } => diagnostic.help(
            "spread its files over several folders, or leave some out with `exclude` of the source",
        ),
        SourceError::TooMany { .. } => {
            diagnostic.help("name a folder that holds them, as one source")
        }
        SourceError::Git(_) => diagnostic.help("see that the repository is whole:  git fsck"),
        SourceError::Threads(_) | SourceError::Sink { .. } => diagnostic,
    };
    refusal::with_causes(diagnostic, error)
}

/// Returns the place of the package or path that an environment's error is about.
pub fn blamed(host: &Host, error: &environment::Error) -> Option<Span> {
    let named = |name: String| {
        let is_named = |package: &&At<AskedPackage>| package.value.to_string() == name;
        host.packages.iter().find(is_named).map(|package| package.span)
    };
    match error {
        environment::Error::Observe(cause) => named(refusal::missing_package(cause)?),
        // One that came along with another is written nowhere.
        environment::Error::Altered(altered) => named(altered.package.to_string()),
        environment::Error::Paths(cause) => {
            host.paths.iter().find(|path| path.value.from == *cause.path()).map(|path| path.span)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{self, EnvironmentKind};
    use fetch::checksum::Md5Sum;
    use fetch::host::{Altered, PackageName};

    /// An altered package is blamed where the build file names it, and else the environment is.
    #[test]
    fn an_altered_package_is_shown_where_it_is_named() {
        let file = "kiln: 1\nname: t\nenvironment:\n  host: {packages: [gcc, make]}\nsteps:\n  - {name: a, run: make}\n";
        let manifest = manifest::parse(file.as_bytes(), "kiln.yaml").unwrap();
        let EnvironmentKind::Host(host) = &manifest.environments[0].kind else { panic!("a host") };
        let (at, one, other) =
            (model::RelPath::new("usr/bin/make").unwrap(), Md5Sum::of(b"1"), Md5Sum::of(b"2"));
        let mut altered =
            Altered { package: PackageName::new("make").unwrap(), at, expected: one, found: other };
        let told = |altered: &Altered| {
            let span = blamed(host, &environment::Error::Altered(Box::new(altered.clone())))?;
            manifest.place(span).position.map(|at| (at.line, at.column))
        };
        assert_eq!(told(&altered), Some((4, 26)));
        altered.package = PackageName::new("libc6").unwrap();
        assert_eq!(told(&altered), None);
    }
}
