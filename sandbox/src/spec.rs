//! What a step may see and do, checked once: holding a [`Spec`] proves that it is not nonsense.
//!
//! The check runs on the final request, whatever made it (command line, build file, retry), so no
//! path around it exists. It looks at names only. Whether a mount point leads through a symlink of
//! the environment is seen later, by descriptor, when the point is made.
//!
//! Does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use model::isolation::Guarantee;
use model::limits::{Limits, Millis};
use model::{AbsPath, Digest};

pub use model::step::{MountMode, Widen};

/// Most mounts of one step: far above any real build, far below the kernel's 100,000 of a namespace.
pub const MOUNTS_MAX: usize = 4096;

/// Places that are kiln's own: nothing is mounted on them or beneath them.
const CLOSED: [&str; 3] = ["dev", "kiln", "proc"];

/// One input at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it appears, mostly beneath `/build`.
    pub at: AbsPath,
    /// Where it lies on the host: a folder, or one file.
    pub source: PathBuf,
    /// Whether the step gets a private writable view of it.
    pub mode: MountMode,
}

/// One file that kiln adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedFile {
    /// Where it appears. A file that is there already is replaced in the step's view.
    pub at: AbsPath,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its permission bits, at most 0777.
    pub mode: u32,
}

/// A folder of the host that may hold what a step writes, where memory is no place for it.
///
/// It is empty, nobody but kiln can reach it, it is given to the step's user, and whoever made it
/// removes it when the outcome is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// The folder.
    pub folder: PathBuf,
    /// Whether it is used even where memory would do.
    pub always: bool,
}

/// A request that nobody has checked yet. Every field is public; [`Spec::check`] turns it into a [`Spec`].
#[derive(Clone, Debug)]
pub struct Parts {
    /// Checkout of the environment on the host. It becomes `/`, read-only.
    pub root: PathBuf,
    /// The digest of that tree, after which an engine's image is named.
    pub tree: Digest,
    /// The inputs, parents before children.
    pub mounts: Vec<Mount>,
    /// Files that kiln adds, with time T0.
    pub files: Vec<InjectedFile>,
    /// Empty writable folders that kiln adds beneath `/tmp` or `/build`, with time T0.
    pub folders: Vec<AbsPath>,
    /// Program and arguments. A program without a slash is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment; nothing is added to it.
    pub env: BTreeMap<String, String>,
    /// The working folder.
    pub cwd: AbsPath,
    /// What it may use.
    pub limits: Limits,
    /// How long it may run.
    pub timeout: Millis,
    /// How many processors it is pinned to.
    pub cpus: Option<NonZeroU32>,
    /// What it widens, by name.
    pub widen: Widen,
    /// Guarantees that may be missing.
    pub waived: BTreeSet<Guarantee>,
    /// Where the writable space may lie instead of in memory.
    pub scratch: Option<Scratch>,
}

/// A request that was checked.
#[derive(Clone, Debug)]
pub struct Spec(Parts);

/// Why a request is nonsense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A path on the host is relative, has a part `..`, or holds a NUL.
    #[error("host path {} is not absolute and plain", path.display())]
    HostPath {
        /// The path.
        path: PathBuf,
    },
    /// A place inside is kiln's own.
    #[error("{at} is kiln's own place")]
    Closed {
        /// The place.
        at: AbsPath,
    },
    /// Two things are put at one place.
    #[error("two inputs at {at}")]
    Twice {
        /// The place.
        at: AbsPath,
    },
    /// Something would hide what was put there before.
    #[error("{at} would hide {hidden}")]
    Hides {
        /// The later one.
        at: AbsPath,
        /// What it would hide.
        hidden: AbsPath,
    },
    /// The work folder must be writable, or the step could leave no output.
    #[error("a read-only input at the work folder /build")]
    WorkFolderReadOnly,
    /// An added folder lies where the step may not write.
    #[error("added folder {at} is neither beneath /tmp nor beneath /build")]
    FolderPlace {
        /// The place.
        at: AbsPath,
    },
    /// The working folder is a place of the kernel's or of kiln's.
    #[error("working folder {at} is no place for a step")]
    WorkingFolder {
        /// The place.
        at: AbsPath,
    },
    /// There is no program.
    #[error("no program to run")]
    NoProgram,
    /// An argument holds a NUL.
    #[error("argument {index} holds a NUL byte")]
    Argument {
        /// Its place, counted from 0.
        index: usize,
    },
    /// A variable's name is empty or holds `=` or NUL, or its value holds a NUL.
    #[error("variable {name:?} cannot be set")]
    Variable {
        /// Its name.
        name: String,
    },
    /// An added file's mode has bits beyond the nine permissions.
    #[error("mode {mode:o} of {at} has bits beyond 0777")]
    Mode {
        /// The file.
        at: AbsPath,
        /// The mode asked for.
        mode: u32,
    },
    /// A limit or the timeout is zero.
    #[error("a limit is zero")]
    ZeroLimit,
    /// More mounts than [`MOUNTS_MAX`].
    #[error("more than {MOUNTS_MAX} mounts")]
    TooManyMounts,
}

impl Spec {
    /// Checks a request.
    ///
    /// # Errors
    /// The first thing found wrong, see [`SpecError`].
    pub fn check(parts: Parts) -> Result<Spec, SpecError> {
        if parts.mounts.len() + parts.files.len() + parts.folders.len() > MOUNTS_MAX {
            return Err(SpecError::TooManyMounts);
        }
        check_host_path(&parts.root)?;
        for mount in &parts.mounts {
            check_host_path(&mount.source)?;
        }
        if let Some(scratch) = &parts.scratch {
            check_host_path(&scratch.folder)?;
        }
        check_places(&parts)?;
        check_program(&parts)?;
        check_limits(&parts)?;
        Ok(Spec(parts))
    }

    /// Returns the first option that widens something, if there is one.
    pub fn widens(&self) -> Option<&'static str> {
        let Widen { nested, fakeroot, abi32 } = self.0.widen;
        let all = [("nested", nested), ("fakeroot", fakeroot), ("abi32", abi32)];
        all.into_iter().find(|(_, on)| *on).map(|(name, _)| name)
    }

    /// Returns what was asked for.
    pub fn parts(&self) -> &Parts {
        &self.0
    }
}

fn check_host_path(path: &Path) -> Result<(), SpecError> {
    let plain = path.is_absolute()
        && !path.as_os_str().as_bytes().contains(&0)
        && path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if plain { Ok(()) } else { Err(SpecError::HostPath { path: path.to_owned() }) }
}

fn check_places(parts: &Parts) -> Result<(), SpecError> {
    let mut taken: Vec<&AbsPath> = Vec::new();
    for mount in &parts.mounts {
        let first = mount.at.below_root().parts().next();
        if first.is_none_or(|name| CLOSED.contains(&name)) || is(&mount.at, "tmp") {
            return Err(SpecError::Closed { at: mount.at.clone() });
        }
        if is(&mount.at, "build") && mount.mode == MountMode::ReadOnly {
            return Err(SpecError::WorkFolderReadOnly);
        }
        take(&mut taken, &mount.at)?;
    }
    for at in &parts.folders {
        let first = at.below_root().parts().next();
        if !matches!(first, Some("tmp" | "build")) || at.below_root().parts().count() < 2 {
            return Err(SpecError::FolderPlace { at: at.clone() });
        }
        take(&mut taken, at)?;
    }
    for file in &parts.files {
        let mut names = file.at.below_root().parts();
        let first = names.next();
        if first.is_none_or(|name| matches!(name, "dev" | "proc")) || names.next().is_none() {
            return Err(SpecError::Closed { at: file.at.clone() });
        }
        if file.mode & !0o777 != 0 {
            return Err(SpecError::Mode { at: file.at.clone(), mode: file.mode });
        }
        take(&mut taken, &file.at)?;
    }
    let first = parts.cwd.below_root().parts().next();
    if first.is_some_and(|name| CLOSED.contains(&name)) {
        return Err(SpecError::WorkingFolder { at: parts.cwd.clone() });
    }
    Ok(())
}

fn take<'spec>(taken: &mut Vec<&'spec AbsPath>, at: &'spec AbsPath) -> Result<(), SpecError> {
    for earlier in taken.iter() {
        if *earlier == at {
            return Err(SpecError::Twice { at: at.clone() });
        }
        if earlier.strip_prefix(at).is_some() {
            return Err(SpecError::Hides { at: at.clone(), hidden: (*earlier).clone() });
        }
    }
    taken.push(at);
    Ok(())
}

fn is(at: &AbsPath, name: &str) -> bool {
    at.below_root().as_str() == name
}

fn check_program(parts: &Parts) -> Result<(), SpecError> {
    if parts.argv.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoProgram);
    }
    if let Some(index) = parts.argv.iter().position(|argument| argument.contains('\0')) {
        return Err(SpecError::Argument { index });
    }
    for (name, value) in &parts.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(SpecError::Variable { name: name.clone() });
        }
    }
    Ok(())
}

fn check_limits(parts: &Parts) -> Result<(), SpecError> {
    let Limits { cpu, memory, disk, pids, files, log: _, idle } = &parts.limits;
    let zero = cpu.is_some_and(|limit| limit.value.0 == 0)
        || memory.is_some_and(|limit| limit.value.0 == 0)
        || disk.value.0 == 0
        || pids.value.0 == 0
        || files.value.0 == 0
        || idle.is_some_and(|limit| limit.value.0 == 0)
        || parts.timeout.0 == 0;
    if zero { Err(SpecError::ZeroLimit) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> AbsPath {
        AbsPath::new(path).expect("a clean path")
    }

    fn parts() -> Parts {
        Parts {
            root: "/store/root".into(),
            tree: Digest::of(b""),
            mounts: vec![
                mount("/build", MountMode::View),
                mount("/build/dep", MountMode::ReadOnly),
            ],
            files: vec![InjectedFile { at: at("/kiln/script"), bytes: Vec::new(), mode: 0o555 }],
            folders: vec![at("/tmp/cargo-home")],
            argv: vec!["/bin/sh".to_owned()],
            env: BTreeMap::new(),
            cwd: at("/build"),
            limits: Limits::default(),
            timeout: Millis(1000),
            cpus: None,
            widen: Widen::default(),
            waived: BTreeSet::new(),
            scratch: None,
        }
    }

    fn mount(place: &str, mode: MountMode) -> Mount {
        Mount { at: at(place), source: "/store/source".into(), mode }
    }

    fn refused(change: impl FnOnce(&mut Parts)) -> SpecError {
        let mut parts = parts();
        change(&mut parts);
        Spec::check(parts).expect_err("nonsense")
    }

    #[test]
    fn a_sensible_request_is_taken() {
        assert!(Spec::check(parts()).is_ok());
    }

    #[test]
    fn paths_of_the_host_are_absolute_and_plain() {
        for path in ["store", "/store/../etc", "/a\0b", ""] {
            let path = PathBuf::from(path);
            assert_eq!(
                refused(|parts| parts.root = path.clone()),
                SpecError::HostPath { path: path.clone() }
            );
            let source = path.clone();
            assert_eq!(
                refused(|parts| parts.mounts[0].source = source),
                SpecError::HostPath { path }
            );
        }
    }

    #[test]
    fn kilns_own_places_are_closed() {
        for place in ["/", "/dev", "/dev/x", "/proc", "/proc/self", "/kiln", "/kiln/script", "/tmp"]
        {
            let refusal = refused(|parts| parts.mounts.push(mount(place, MountMode::View)));
            assert_eq!(refusal, SpecError::Closed { at: at(place) });
        }
        for place in ["/", "/top", "/dev/x", "/proc/x"] {
            let file = InjectedFile { at: at(place), bytes: Vec::new(), mode: 0o644 };
            assert_eq!(
                refused(|parts| parts.files.push(file)),
                SpecError::Closed { at: at(place) }
            );
        }
        for place in ["/opt/x", "/tmp", "/build", "/kiln/x"] {
            assert_eq!(
                refused(|parts| parts.folders.push(at(place))),
                SpecError::FolderPlace { at: at(place) }
            );
        }
    }

    #[test]
    fn nothing_hides_what_was_put_before() {
        let twice = refused(|parts| parts.mounts.push(mount("/build/dep", MountMode::View)));
        assert_eq!(twice, SpecError::Twice { at: at("/build/dep") });
        let hides = refused(|parts| parts.mounts.reverse());
        assert_eq!(hides, SpecError::Hides { at: at("/build"), hidden: at("/build/dep") });
        let folder = refused(|parts| parts.folders.push(at("/build/dep")));
        assert_eq!(folder, SpecError::Twice { at: at("/build/dep") });
    }

    #[test]
    fn the_work_folder_is_writable() {
        let refusal = refused(|parts| parts.mounts[0].mode = MountMode::ReadOnly);
        assert_eq!(refusal, SpecError::WorkFolderReadOnly);
    }

    #[test]
    fn programs_variables_modes_and_limits_make_sense() {
        assert_eq!(refused(|parts| parts.argv.clear()), SpecError::NoProgram);
        assert_eq!(refused(|parts| parts.argv[0].clear()), SpecError::NoProgram);
        assert_eq!(
            refused(|parts| parts.argv.push("a\0b".into())),
            SpecError::Argument { index: 1 }
        );
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
            let refusal = refused(|parts| drop(parts.env.insert(name.into(), value.into())));
            assert_eq!(refusal, SpecError::Variable { name: name.into() });
        }
        let mode = refused(|parts| parts.files[0].mode = 0o4755);
        assert_eq!(mode, SpecError::Mode { at: at("/kiln/script"), mode: 0o4755 });
        assert_eq!(refused(|parts| parts.timeout = Millis(0)), SpecError::ZeroLimit);
        assert_eq!(refused(|parts| parts.limits.pids.value.0 = 0), SpecError::ZeroLimit);
    }
}
