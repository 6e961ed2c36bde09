//! Walks the project once, by descriptors, and names every file of every local source.
//!
//! Folders are walked in parallel. In a folder: list it, decide by name what belongs (tracked, or
//! not ignored; not left out), ask `lstat`, and open only files that the cache does not know. No
//! symlink is followed: each folder is opened by one name in the folder above.
//!
//! Empty folders count outside git. In git they do not, so that a clone is the same source.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use model::Name;
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::error::SourceError;
use super::exclude::{GIT_FOLDER, OUTPUT_FOLDER};
use super::git::id::ObjectKind;
use super::git::ignore::{Level, Rules};
use super::git::index::{Below, Index, Known};
use super::git::repository::{Repository, TEXT_BYTES_MAX, read_file};
use super::git::{GitError, GitFormat};
use super::node::{Entry, Folder, SourceSet, What, is_recorded};
use super::open;
use super::scan::LocalSource;
use super::stat_cache::{Remembered, Stamp, StatCache};
use crate::file_times::Telling;

/// Bytes of a folder's listing taken from the kernel at a time.
const LISTING_BYTES: usize = 32 << 10;

/// Folders deeper than this are walked by one thread each. A thread that waits takes up other work
/// on top of its stack, so only shallow folders may wait.
pub(super) const PARALLEL_DEPTH: usize = 8;

/// Files of one folder from which on they are looked at in parallel.
const PARALLEL_FILES: usize = 256;

/// What stays the same over the whole walk.
pub(super) struct Walk<'w> {
    /// The folder of the outermost repository, or of the project outside git.
    pub(super) work_tree: &'w Path,
    /// Length in bytes of the project's path below it, with its final slash.
    pub(super) project_at: usize,
    pub(super) sources: &'w [LocalSource],
    pub(super) cache: &'w StatCache,
    /// The user's own ignore rules.
    pub(super) user_rules: &'w [u8],
    /// Which file systems' times are believed.
    pub(super) telling: Telling,
    /// What had to be hashed, and may be remembered.
    pub(super) fresh: Mutex<Vec<(Stamp, Remembered)>>,
}

/// Where the walk is.
pub(super) struct Place<'p> {
    pub(super) folder: &'p OwnedFd,
    /// Path below the work tree, empty or with a final slash.
    pub(super) path: &'p str,
    /// Sources that hold what lies here, unless they leave it out.
    pub(super) active: SourceSet,
    /// Sources that start somewhere below.
    pub(super) pending: SourceSet,
    pub(super) git: Option<InGit<'p>>,
    /// How many folders deep below the project.
    pub(super) depth: usize,
}

/// What git says of a place.
#[derive(Clone)]
pub(super) struct InGit<'p> {
    pub(super) format: GitFormat,
    pub(super) tracked: Below<'p>,
    pub(super) rules: Option<Arc<Level>>,
    /// Whether this folder or one above is ignored: only tracked files count.
    pub(super) ignored: bool,
}

/// A name that belongs, before it is looked at.
struct Candidate {
    name: Name,
    kind: FileType,
    sources: SourceSet,
    pending: SourceSet,
    /// Sources that start at this very name.
    starting: SourceSet,
    gitlink: bool,
    ignored: bool,
}

/// Walks a folder and everything below.
pub(super) fn folder(walk: &Walk<'_>, mut place: Place<'_>) -> Result<Folder, SourceError> {
    let listing = list(place.folder, place.path)?;
    if let Some(git) = &mut place.git
        && listing
            .names()
            .any(|(name, kind)| name == b".gitignore" && kind == FileType::RegularFile)
    {
        let rules = read_rules(place.folder, place.path)?;
        git.rules = Level::over(git.rules.take(), rules, place.path.len());
    }
    let mut folders = Vec::new();
    let mut files = Vec::new();
    let mut path = place.path.as_bytes().to_vec();
    for (name, kind) in listing.names() {
        path.truncate(place.path.len());
        path.extend_from_slice(name);
        match walk.belongs(&place, &path, kind)? {
            Some(candidate) if candidate.kind == FileType::Directory => folders.push(candidate),
            Some(candidate) => files.push(candidate),
            None => {}
        }
    }
    let mut entries = walk.look_at_all(&place, files)?;
    let below = |folder| walk.below(&place, folder).transpose();
    if place.depth < PARALLEL_DEPTH && folders.len() > 1 {
        let below = folders.into_par_iter().filter_map(below);
        entries.append(&mut below.collect::<Result<Vec<_>, _>>()?);
    } else {
        for folder in folders.into_iter().filter_map(below) {
            entries.push(folder?);
        }
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let has_submodule = entries
        .iter()
        .any(|entry| matches!(&entry.what, What::Folder(folder) if folder.has_submodule));
    let mut folder = Folder { entries, has_submodule, ..Folder::default() };
    folder.git = place.git.as_ref().and_then(|git| folder.name_for_git(git.format));
    Ok(folder)
}

impl Walk<'_> {
    /// Decides by path and kind whether an entry is looked at, for which sources.
    fn belongs(
        &self,
        place: &Place<'_>,
        path: &[u8],
        kind: FileType,
    ) -> Result<Option<Candidate>, SourceError> {
        let name = &path[place.path.len()..];
        let at_project = place.path.len() == self.project_at;
        if name == GIT_FOLDER.as_bytes() || (at_project && name == OUTPUT_FOLDER.as_bytes()) {
            return Ok(None);
        }
        let is_folder = kind == FileType::Directory;
        let mut known = Known::No;
        // The build file and the lock count for "clean", whatever an ignore rule says of them.
        let counts = at_project && std::str::from_utf8(name).is_ok_and(is_recorded);
        let mut ignored = false;
        if let Some(git) = &place.git {
            known = git.tracked.file(name);
            if is_folder || known == Known::No {
                ignored =
                    git.ignored || git.rules.as_ref().is_some_and(|r| r.ignores(path, is_folder));
                let holds_tracked =
                    is_folder && (known == Known::Gitlink || !git.tracked.folder(name).is_empty());
                if ignored && !holds_tracked && !counts {
                    return Ok(None);
                }
            }
        }
        let not_utf8 = || {
            let path = String::from_utf8_lossy(&path[self.project_at..]).into_owned();
            SourceError::NotUtf8 { path }
        };
        let name = std::str::from_utf8(name).map_err(|_| not_utf8())?;
        let below_project =
            std::str::from_utf8(&path[self.project_at..]).map_err(|_| not_utf8())?;
        let recorded = at_project && is_recorded(below_project);
        let (mut sources, mut pending, mut starting) = (0, 0, 0);
        if !recorded {
            sources = self.holding(place.active, below_project, is_folder);
            if place.pending != 0 {
                let (here, below) = self.starting(place.pending, below_project);
                starting = here;
                sources |= here;
                pending = if is_folder { below } else { 0 };
            }
            if sources | pending == 0 {
                return Ok(None);
            }
        }
        let changed = || SourceError::Changed { path: below_project.to_owned() };
        let name = Name::new(name).map_err(|_| changed())?;
        let gitlink = is_folder && known == Known::Gitlink;
        Ok(Some(Candidate { name, kind, sources, pending, starting, gitlink, ignored }))
    }

    /// Returns those of `active` that do not leave a path out.
    fn holding(&self, active: SourceSet, path: &str, is_folder: bool) -> SourceSet {
        let mut holding = active;
        for (bit, source) in self.each(active) {
            if !source.exclude.is_empty()
                && source.exclude.leaves_out(source.below(path), is_folder)
            {
                holding &= !bit;
            }
        }
        holding
    }

    /// Returns which of `pending` start at a path, and which below it.
    fn starting(&self, pending: SourceSet, path: &str) -> (SourceSet, SourceSet) {
        let (mut here, mut below) = (0, 0);
        for (bit, source) in self.each(pending) {
            match source.path.as_str().strip_prefix(path) {
                Some("") => here |= bit,
                Some(rest) if rest.starts_with('/') => below |= bit,
                _ => {}
            }
        }
        (here, below)
    }

    fn each(&self, set: SourceSet) -> impl Iterator<Item = (SourceSet, &LocalSource)> {
        let bits = self.sources.iter().enumerate().map(|(at, source)| (1 << at, source));
        bits.filter(move |(bit, _)| set & bit != 0)
    }

    /// Looks at the files and symlinks of one folder.
    fn look_at_all(
        &self,
        place: &Place<'_>,
        files: Vec<Candidate>,
    ) -> Result<Vec<Entry>, SourceError> {
        if files.len() < PARALLEL_FILES {
            let mut near = 0;
            files.into_iter().map(|file| self.look(place, file, &mut near)).collect()
        } else {
            let files = files.into_par_iter();
            files.map_init(|| 0, |near, file| self.look(place, file, near)).collect()
        }
    }

    /// Looks at one file or symlink.
    fn look(
        &self,
        place: &Place<'_>,
        candidate: Candidate,
        near: &mut usize,
    ) -> Result<Entry, SourceError> {
        let Candidate { name, kind, sources, .. } = candidate;
        let path = || format!("{}{name}", &place.path[self.project_at..]);
        let format = place.git.as_ref().map(|git| git.format);
        let what = match kind {
            FileType::RegularFile => self.look_at_file(place, &name, format, near, path)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(place.folder, name.as_str(), Vec::new())
                    .map_err(|_| SourceError::Changed { path: path() })?
                    .into_string()
                    .map_err(|_| SourceError::NotUtf8 { path: path() })?;
                if target.is_empty() || target.len() > model::relpath::PATH_BYTES_MAX {
                    return Err(SourceError::Target { path: path() });
                }
                let git = format.map(|format| format.name(ObjectKind::Blob, target.as_bytes()));
                What::Symlink { target, git }
            }
            other => return Err(SourceError::Special { path: path(), kind: kind_name(other) }),
        };
        Ok(Entry { name, sources, what })
    }

    fn look_at_file(
        &self,
        place: &Place<'_>,
        name: &Name,
        format: Option<GitFormat>,
        near: &mut usize,
        path: impl Fn() -> String,
    ) -> Result<What, SourceError> {
        let stat = rustix::fs::statat(place.folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| open::open_error(error, &path()))?;
        if !open::is_regular(&stat) {
            return Err(SourceError::Changed { path: path() });
        }
        let stamp = open::stamp(&stat);
        let executable = stamp.executable;
        let tells = self.telling.tells(stamp.device, || {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(place.folder, name.as_str(), flags, Mode::empty())
        });
        let known = tells.then(|| self.cache.look_up(&stamp, format, near)).flatten();
        if let Some(Remembered { digest, git }) = known {
            let blob = model::Blob { digest, size: stamp.size };
            return Ok(What::File { blob, executable, git: format.and(git) });
        }
        let (blob, git) = open::hash_at(place.folder, name.as_str(), &path(), &stamp, format)?;
        if tells {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            fresh.push((stamp, Remembered { digest: blob.digest, git }));
        }
        Ok(What::File { blob, executable, git })
    }

    /// Walks a folder below; none if it holds nothing that counts.
    fn below(&self, place: &Place<'_>, candidate: Candidate) -> Result<Option<Entry>, SourceError> {
        let Candidate { name, sources, pending, starting, gitlink, ignored, .. } = candidate;
        let path = format!("{}{name}/", place.path);
        let depth = place.depth + 1;
        let shown = &path[self.project_at..path.len() - 1];
        if depth > model::tree::DEPTH_MAX {
            let max = model::tree::DEPTH_MAX;
            return Err(SourceError::TooDeep { path: shown.to_owned(), max });
        }
        let opened = open::open_folder(place.folder, name.as_str(), shown)?;
        let next =
            Place { folder: &opened, path: &path, active: sources, pending, git: None, depth };
        let sources = sources | pending;
        if gitlink && let Some(repository) = Repository::open(&self.work_tree.join(&path))? {
            let what = What::Folder(self.submodule(repository, next, place)?);
            return Ok(Some(Entry { name, sources, what }));
        }
        let git = place.git.as_ref().map(|git| InGit {
            format: git.format,
            tracked: git.tracked.folder(name.as_str().as_bytes()),
            rules: git.rules.clone(),
            ignored,
        });
        let in_git = git.is_some();
        let found = folder(self, Place { git, ..next })?;
        if in_git && found.entries.is_empty() && starting == 0 {
            return Ok(None);
        }
        Ok(Some(Entry { name, sources, what: What::Folder(found) }))
    }

    /// Walks a submodule: its own index and its own rules say what belongs.
    fn submodule(
        &self,
        repository: Repository,
        place: Place<'_>,
        outer: &Place<'_>,
    ) -> Result<Folder, SourceError> {
        if outer.git.as_ref().is_none_or(|git| git.format != repository.format) {
            return Err(SourceError::Git(GitError::Unsupported {
                path: repository.git_dir,
                feature: "another object format than the repository around it",
                remedy: "remove the submodule",
            }));
        }
        let index = Index::read(&repository.git_dir, repository.format)?;
        let git = InGit {
            format: repository.format,
            tracked: index.all(),
            rules: base_rules(&repository, self.user_rules, place.path.len())?,
            ignored: false,
        };
        let found = folder(self, Place { git: Some(git), ..place })?;
        Ok(Folder { submodule: Some(Box::new(repository)), has_submodule: true, ..found })
    }
}

/// Returns the rules that stand above every `.gitignore`: the user's, then `info/exclude`.
pub(super) fn base_rules(
    repository: &Repository,
    user_rules: &[u8],
    base: usize,
) -> Result<Option<Arc<Level>>, GitError> {
    let user = Level::over(None, Rules::parse(user_rules), base);
    let exclude = read_file(&repository.common_dir.join("info/exclude"), TEXT_BYTES_MAX)?;
    Ok(Level::over(user, Rules::parse(&exclude.unwrap_or_default()), base))
}

/// Reads the `.gitignore` of a folder, never through a symlink: git does not either.
pub(super) fn read_rules(folder: &OwnedFd, path: &str) -> Result<Rules, SourceError> {
    let shown = || format!("{path}.gitignore");
    let bytes = open::read_small(folder, ".gitignore", &shown(), TEXT_BYTES_MAX)?;
    Ok(Rules::parse(&bytes))
}

/// As [`read_rules`], for a folder that may have none.
pub(super) fn read_rules_if_any(folder: &OwnedFd, path: &str) -> Result<Rules, SourceError> {
    match rustix::fs::statat(folder, ".gitignore", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if open::is_regular(&stat) => read_rules(folder, path),
        Ok(_) | Err(Errno::NOENT) => Ok(Rules::default()),
        Err(error) => Err(open::unreadable(error, path)),
    }
}

/// The names in a folder, one behind the other. They are bytes, since git may ignore those that are
/// no UTF-8.
#[derive(Default)]
struct Listing {
    text: Vec<u8>,
    ends: Vec<(usize, FileType)>,
}

impl Listing {
    fn names(&self) -> impl Iterator<Item = (&[u8], FileType)> {
        let mut start = 0;
        self.ends.iter().map(move |&(end, kind)| {
            let name = &self.text[start..end];
            start = end;
            (name, kind)
        })
    }
}

#[inline(never)] // Its buffer must not lie on the stack while folders below are walked.
fn list(folder: &OwnedFd, path: &str) -> Result<Listing, SourceError> {
    let mut buffer = [MaybeUninit::uninit(); LISTING_BYTES];
    let mut entries = RawDir::new(folder, &mut buffer);
    let mut listing = Listing::default();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| open::unreadable(error, path))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
            let stat = stat.map_err(|error| open::unreadable(error, path))?;
            kind = FileType::from_raw_mode(stat.st_mode);
        }
        listing.text.extend_from_slice(name.to_bytes());
        listing.ends.push((listing.text.len(), kind));
    }
    Ok(listing)
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown kind",
    }
}
