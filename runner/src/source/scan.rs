//! One pass over the project's local sources: our digests, git's names, dirty or not.
//!
//! The story of [`scan`], in numbered steps:
//! 1. Find the repository around the project and read which paths it tracks.
//! 2. Walk what the sources name; hash only what the cache does not know.
//! 3. Make one tree per source.
//! 4. Compare with the commit that is checked out.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use model::reapi::DIRECTORY_BYTES_MAX;
use model::{Ident, RelPath};

use super::compare::{self, Comparison, DirtyPath};
use super::error::SourceError;
use super::exclude::Exclude;
use super::git::config::Config;
use super::git::id::ObjectKind;
use super::git::ignore::Level;
use super::git::index::{Below, Index};
use super::git::repository::{Repository, TEXT_BYTES_MAX, read_file};
use super::git::{GitError, GitId};
use super::node::{self, Folder, What};
use super::open::{self, Project};
use super::stat_cache::StatCache;
use super::tree::{self, Held, SourceContent, SourceTree};
use super::walk::{self, InGit, Place, Walk};
use crate::file_times::Telling;

/// Most local sources of one project: their membership is kept in one word per file.
pub const SOURCES_MAX: usize = 64;

/// Stack of a thread in bytes: enough for the deepest tree in a build without optimisation, and only
/// what is used of it is ever taken from the system.
const STACK_BYTES: usize = 16 << 20;

/// A source of kind `local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSource {
    /// Its name in the build file.
    pub name: Ident,
    /// A folder or file below the project.
    pub path: RelPath,
    /// What it leaves out.
    pub exclude: Exclude,
}

/// Where the user's own git settings lie. They are read as text, for the ignore file they name.
#[derive(Debug, Clone, Default)]
pub struct UserGit {
    /// Configuration files, the strongest last: usually `/etc/gitconfig`, `~/.config/git/config`,
    /// `~/.gitconfig`. A missing one is fine.
    pub configs: Vec<PathBuf>,
    /// The ignore file if no setting names another: usually `~/.config/git/ignore`.
    pub ignore: Option<PathBuf>,
    /// What `~/` in a setting stands for.
    pub home: Option<PathBuf>,
}

/// What is to be scanned.
#[derive(Debug)]
pub struct Scan<'s> {
    /// The folder of the build file, an absolute path.
    pub project: &'s Path,
    /// Its local sources.
    pub sources: &'s [LocalSource],
    /// The user's own git settings.
    pub user: &'s UserGit,
    /// The time when the scan begins, for the racy rule of [`StatCache`].
    pub now: SystemTime,
}

/// What was found.
#[derive(Debug)]
pub struct Scanned {
    /// Each source's tree.
    pub sources: BTreeMap<Ident, SourceTree>,
    /// What git would call the project.
    pub git: GitIdentity,
}

/// Whether and how the project is under git, computed from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitIdentity {
    /// Outside git, or in a folder that the repository around it ignores: revision `none`, never
    /// dirty.
    None,
    /// In a work tree.
    Git(Checkout),
}

/// A project in a git work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The commit that is checked out; none before the first one, and then all files are dirty.
    pub commit: Option<GitId>,
    /// When that was committed, in seconds since 1970.
    pub commit_seconds: Option<i64>,
    /// The branch's full name; none when detached.
    pub branch: Option<String>,
    /// Where the project lies in the repository.
    pub subfolder: RelPath,
    /// The name of the project's tree: the commit's, with the sources, the build file and the lock
    /// file as they lie in the work tree. Equal to the commit's own if nothing is dirty.
    pub git_tree: GitId,
    /// Every path that differs from the commit, sorted. Empty: clean.
    pub dirty: Vec<DirtyPath>,
    /// The address of the remote `origin`, without user, password and query.
    pub remote: Option<String>,
}

impl LocalSource {
    /// Says whether the source holds a path below the project, if something lies there.
    pub(super) fn covers(&self, path: &str, is_folder: bool) -> bool {
        let below = match path.strip_prefix(self.path.as_str()) {
            Some("") => return true,
            Some(rest) if self.path.is_here() => rest,
            Some(rest) => match rest.strip_prefix('/') {
                Some(below) => below,
                None => return false,
            },
            None => return false,
        };
        let folders = below.match_indices('/').map(|(at, _)| &below[..at]);
        let left_out = folders.map(|folder| (folder, true)).chain([(below, is_folder)]);
        !left_out.into_iter().any(|(path, folder)| self.exclude.leaves_out(path, folder))
    }

    /// Returns a path below the project as a path below this source.
    pub(super) fn below<'path>(&self, path: &'path str) -> &'path str {
        let rest = path.get(self.path.as_str().len()..).unwrap_or_default();
        rest.strip_prefix('/').unwrap_or(rest)
    }
}

/// Scans the local sources of a project. `cache` learns what had to be hashed.
///
/// # Errors
/// See [`SourceError`]; nothing is passed over in silence.
pub fn scan(scan: &Scan<'_>, cache: &mut StatCache) -> Result<Scanned, SourceError> {
    if scan.sources.len() > SOURCES_MAX {
        return Err(SourceError::TooMany { max: SOURCES_MAX });
    }
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK_BYTES);
    pool.build().map_err(SourceError::Threads)?.install(|| scan_on_threads(scan, cache))
}

fn scan_on_threads(scan: &Scan<'_>, cache: &mut StatCache) -> Result<Scanned, SourceError> {
    let root = Project::open(scan.project)?;

    // 1. Find the repository around the project and read which paths it tracks.
    let around = Around::of(scan)?;
    let Around { project, repository, prefix, index, rules, ignored, user_rules } = around;
    let tracked = below(&index, &prefix);

    // 2. Walk what the sources name; hash only what the cache does not know.
    let work_tree = repository.as_ref().map_or(project.as_path(), |git| git.work_tree.as_path());
    let walk = Walk {
        work_tree,
        project_at: prefix.len(),
        sources: scan.sources,
        cache,
        user_rules: &user_rules,
        telling: Telling::default(),
        fresh: Mutex::default(),
    };
    let git = repository.as_ref().map(|git| InGit { format: git.format, tracked, rules, ignored });
    let found = walk::folder(&walk, start(root.folder(), &prefix, scan.sources, git))?;
    let fresh = walk.fresh.into_inner().unwrap_or_else(PoisonError::into_inner);
    fresh.iter().for_each(|(stamp, what)| cache.remember(stamp, *what, scan.now));

    // 3. Make one tree per source.
    let mut sources = BTreeMap::new();
    for (position, source) in scan.sources.iter().enumerate() {
        let keep_empty = repository.is_none();
        let tree = source_tree(&found, source, position, root.folder(), keep_empty)?;
        fits(&tree)?;
        sources.insert(source.name.clone(), tree);
    }

    // 4. Compare with the commit that is checked out.
    let git = match &repository {
        None => GitIdentity::None,
        Some(repository) => GitIdentity::Git(checkout(repository, scan, &found, &prefix)?),
    };
    Ok(Scanned { sources, git })
}

/// What is around a project.
pub(super) struct Around {
    /// The project's folder without links.
    project: PathBuf,
    /// None outside git, or in a folder that the repository ignores.
    pub(super) repository: Option<Repository>,
    /// The project's path below the work tree, empty or with a final slash.
    pub(super) prefix: String,
    pub(super) index: Index,
    /// The rules of the folders above the project.
    rules: Option<Arc<Level>>,
    ignored: bool,
    pub(super) user_rules: Vec<u8>,
}

impl Around {
    /// Finds the repository around the project and reads which paths it tracks.
    pub(super) fn of(scan: &Scan<'_>) -> Result<Around, SourceError> {
        let project = scan
            .project
            .canonicalize()
            .map_err(|source| SourceError::Project { path: scan.project.to_owned(), source })?;
        let repository = Repository::discover(&project)?;
        let user_rules = user_rules(repository.as_ref(), scan.user)?;
        let mut prefix = String::new();
        let mut index = Index::default();
        let mut rules = None;
        let mut ignored = false;
        if let Some(repository) = &repository {
            prefix = prefix_of(&project, &repository.work_tree)?;
            index = Index::read(&repository.git_dir, repository.format)?;
            let base = walk::base_rules(repository, &user_rules, 0)?;
            (rules, ignored) = rules_above(&repository.work_tree, &prefix, base)?;
        }
        let counts = !(ignored && below(&index, &prefix).is_empty());
        let repository = repository.filter(|_| counts);
        if repository.is_none() {
            prefix.clear();
        }
        Ok(Around { project, repository, prefix, index, rules, ignored, user_rules })
    }
}

fn start<'p>(
    folder: &'p OwnedFd,
    prefix: &'p str,
    sources: &[LocalSource],
    git: Option<InGit<'p>>,
) -> Place<'p> {
    let (mut active, mut pending) = (0, 0);
    for (position, source) in sources.iter().enumerate() {
        let set = if source.path.is_here() { &mut active } else { &mut pending };
        *set |= 1 << position;
    }
    Place { folder, path: prefix, active, pending, git, depth: 0 }
}

/// Refuses a folder whose message nobody could read back, before anything of it is stored.
fn fits(source: &SourceTree) -> Result<(), SourceError> {
    let SourceContent::Folder(tree) = &source.content else { return Ok(()) };
    let Some((below, size)) = tree.too_large() else { return Ok(()) };
    let path = source.path.join(&below).to_string();
    Err(SourceError::FolderTooLarge { path, size, max: DIRECTORY_BYTES_MAX })
}

fn source_tree(
    found: &Folder,
    source: &LocalSource,
    position: usize,
    root: &OwnedFd,
    keep_empty: bool,
) -> Result<SourceTree, SourceError> {
    let held = Held { bit: 1 << position, keep_empty };
    if source.path.is_here() {
        return Ok(tree::of_folder(found, held, &source.path));
    }
    match node::find(found, &source.path).map(|entry| &entry.what) {
        Some(What::Folder(folder)) => Ok(tree::of_folder(folder, held, &source.path)),
        Some(What::File { blob, executable, .. }) => {
            Ok(tree::of_file(*blob, *executable, &source.path))
        }
        Some(What::Symlink { .. }) => Err(missing(source)),
        None if open::exists(root, &source.path) => {
            Err(SourceError::Ignored { name: source.name.clone(), path: source.path.clone() })
        }
        None => Err(missing(source)),
    }
}

fn missing(source: &LocalSource) -> SourceError {
    SourceError::Missing { name: source.name.clone(), path: source.path.clone() }
}

fn checkout(
    repository: &Repository,
    scan: &Scan<'_>,
    found: &Folder,
    prefix: &str,
) -> Result<Checkout, SourceError> {
    let objects = &repository.objects;
    let (mut committed, mut commit_seconds) = (None, None);
    if let Some(commit) = &repository.head.commit {
        commit_seconds = objects.commit_seconds(commit)?;
        let root = objects.commit_tree(commit)?;
        committed = compare::subfolder(objects, root, prefix)?;
    }
    let comparison = Comparison { objects, format: repository.format, sources: scan.sources };
    let mut dirty = Vec::new();
    let merged = compare::folder(&comparison, committed.as_ref(), Some(found), "", &mut dirty)?;
    dirty.sort_unstable();
    Ok(Checkout {
        commit: repository.head.commit,
        commit_seconds,
        branch: repository.head.branch.clone(),
        subfolder: RelPath::new(&format!("./{prefix}")).unwrap_or_default(),
        git_tree: merged.unwrap_or_else(|| repository.format.name(ObjectKind::Tree, b"")),
        dirty,
        remote: repository.origin(),
    })
}

/// Returns the user's ignore rules: of the file that a setting names, else of the usual one.
fn user_rules(repository: Option<&Repository>, user: &UserGit) -> Result<Vec<u8>, GitError> {
    let Some(repository) = repository else { return Ok(Vec::new()) };
    let mut named = None;
    for path in &user.configs {
        let config = Config::parse(&read_file(path, TEXT_BYTES_MAX)?.unwrap_or_default());
        named = config.get("core.excludesfile").map(str::to_owned).or(named);
    }
    let named = repository.config.get("core.excludesfile").map(str::to_owned).or(named);
    let path = match (named, &user.home) {
        (None, _) => user.ignore.clone(),
        (Some(path), Some(home)) if path.starts_with("~/") => Some(home.join(&path[2..])),
        (Some(path), _) => Some(repository.work_tree.join(path)),
    };
    Ok(match path {
        Some(path) => read_file(&path, TEXT_BYTES_MAX)?.unwrap_or_default(),
        None => Vec::new(),
    })
}

/// Returns the project's path below the work tree, empty or with a final slash.
fn prefix_of(project: &Path, work_tree: &Path) -> Result<String, SourceError> {
    let prefix = project.strip_prefix(work_tree).unwrap_or(Path::new(""));
    let not_utf8 = || SourceError::NotUtf8 { path: prefix.display().to_string() };
    let text = prefix.to_str().ok_or_else(not_utf8)?;
    Ok(if text.is_empty() { String::new() } else { format!("{text}/") })
}

/// Collects the `.gitignore` files above the project, and says whether it lies in an ignored folder.
fn rules_above(
    work_tree: &Path,
    prefix: &str,
    base: Option<Arc<Level>>,
) -> Result<(Option<Arc<Level>>, bool), SourceError> {
    let mut rules = base;
    for (slash, _) in prefix.match_indices('/') {
        let above = prefix[..slash].rfind('/').map_or(0, |at| at + 1);
        let folder = Project::open(&work_tree.join(&prefix[..above]))?;
        let here = walk::read_rules_if_any(folder.folder(), &prefix[..above])?;
        rules = Level::over(rules, here, above);
        let ignores = |level: &Arc<Level>| level.ignores(&prefix.as_bytes()[..slash], true);
        if rules.as_ref().is_some_and(ignores) {
            return Ok((rules, true));
        }
    }
    Ok((rules, false))
}

pub(super) fn below<'index>(index: &'index Index, prefix: &str) -> Below<'index> {
    let parts = prefix.split('/').filter(|part| !part.is_empty());
    parts.fold(index.all(), |below, part| below.folder(part.as_bytes()))
}
