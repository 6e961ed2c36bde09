//! Where artifacts go, and where they may not go.
//!
//! A build file names its artifacts, and a caller the folder; neither may come to replace what decides about builds
//! and signatures: kiln's key, trust, journal and store, the build file and its lock, git's own folder. A folder is
//! known by what it is, and not by how it is written: through links and mounts as well.
//!
//! Does not catch: a mount of a folder below one of kiln's own, elsewhere; other files of the project, which an
//! artifact of their name does replace where somebody has it written there.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::build::Wish;
use super::survey::{Surveyed, real};
use crate::cli::Session;
use crate::diagnostic::{Code, Diagnostic};
use crate::project::{BUILD_FILE, LOCK_FILE, OUTPUT_FOLDER, Project};
use crate::source::GIT_FOLDER;

/// What lies in git's own folder, and is git's where that folder has another name.
const GIT_INSIDE: [&str; 7] = ["hooks", "info", "logs", "modules", "objects", "refs", "worktrees"];

/// Returns the folder that artifacts go to.
pub(super) fn folder(session: &Session, project: &Project, wish: &Wish) -> PathBuf {
    match &wish.output {
        Some(named) => session.context.folder.join(named),
        None => project.folder.join(OUTPUT_FOLDER),
    }
}

/// Refuses, before anything runs, an output folder that is no folder, or kiln's or git's own, and an artifact that
/// would replace the build file, its lock or git's folder.
///
/// # Errors
/// KILN-0105.
pub fn check(
    session: &Session,
    project: &Project,
    wish: &Wish,
    surveyed: &Surveyed,
) -> Result<(), Vec<Diagnostic>> {
    let folder = folder(session, project, wish);
    let other = "make it a plain folder, or name another:  -o DIR";
    let what = match folder.symlink_metadata() {
        Ok(found) if found.is_symlink() => Some(("is a symlink".to_owned(), other)),
        Ok(found) if !found.is_dir() => Some(("is no folder".to_owned(), other)),
        Ok(_) | Err(_) => {
            let whose = kilns_own(session, &real(&folder))
                .or_else(|| is_gits_own(&real(&folder)).then_some("git's own folder"));
            whose.map(|whose| (format!("lies in {whose}"), "name another:  -o DIR"))
        }
    };
    if let Some((what, help)) = what {
        let shown = model::text::escape(folder.as_os_str().as_encoded_bytes());
        let told = Diagnostic::new(Code::WrongValue, format!("the output folder {shown} {what}"));
        return Err(vec![told.help(help)]);
    }
    artifacts(project, &folder, surveyed)
}

/// Says which folder of kiln's own a path is, or lies in.
fn kilns_own(session: &Session, path: &Path) -> Option<&'static str> {
    let context = &session.context;
    let own = [
        (&context.config, "kiln's configuration, where key and trust are"),
        (&context.state, "kiln's journal"),
        (&context.store, "kiln's store"),
    ];
    let is_in = |own: &Path| {
        // By its path where it is yet to be made.
        path.starts_with(real(own))
            || identity(own).is_some_and(|own| path.ancestors().any(|at| identity(at) == Some(own)))
    };
    own.into_iter().find(|(own, _)| is_in(own)).map(|(_, whose)| whose)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Says whether a path lies in git's own folder: one of that name, or one that looks like it. Work trees beside the
/// parts of a bare repository are none of git's own.
fn is_gits_own(path: &Path) -> bool {
    let is_one = |at: &Path| {
        at.join("HEAD").is_file() && at.join("objects").is_dir() && at.join("refs").is_dir()
    };
    let mut below = None;
    path.ancestors().any(|at| {
        let name = at.file_name();
        let inside = below.is_none_or(|below| GIT_INSIDE.iter().any(|one| below == *one));
        below = name;
        name.is_some_and(|name| name.eq_ignore_ascii_case(GIT_FOLDER)) || (inside && is_one(at))
    })
}

/// Refuses artifacts whose names are taken where they would land.
fn artifacts(project: &Project, folder: &Path, surveyed: &Surveyed) -> Result<(), Vec<Diagnostic>> {
    let (plan, manifest) = (&surveyed.sketch, &surveyed.manifest);
    let same = |a: &Path, b: &Path| identity(a).is_some_and(|a| identity(b) == Some(a));
    let beside = same(folder, &project.folder);
    let replaces = |name: &str, taken: &str| {
        // Some file systems take letters of either case for the same name.
        name.eq_ignore_ascii_case(taken)
            || (beside && same(&folder.join(name), &project.folder.join(taken)))
    };
    let taken = |name: &str| match replaces(name, GIT_FOLDER) {
        true => Some(GIT_FOLDER),
        false if beside => [BUILD_FILE, LOCK_FILE].into_iter().find(|taken| replaces(name, taken)),
        false => None,
    };
    let found = plan.artifacts.iter().enumerate();
    let mut found = found.filter_map(|(at, one)| Some((at, taken(one.name.as_str())?)));
    let Some((at, taken)) = found.next() else { return Ok(()) };
    let what = match taken {
        GIT_FOLDER => "git's own folder",
        _ => "what says how to build",
    };
    let told = Diagnostic::new(
        Code::WrongValue,
        format!("an artifact would be written over {taken}, {what}"),
    )
    .got(model::text::escape(folder.join(taken).as_os_str().as_encoded_bytes()))
    .help("give it another `name`, or name another folder:  -o DIR");
    // With a matrix or with targets it is not told which of the lines it is.
    let one_each = plan.artifacts.len() == manifest.artifacts.len();
    let line = manifest.artifacts.get(at).filter(|_| one_each);
    Err(vec![match line {
        Some(line) => told.at(manifest.place(line.at)),
        None => told,
    }])
}
