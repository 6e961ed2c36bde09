//! Finds and opens the repository that a project lies in.
//!
//! The work tree is the folder that holds `.git`, whatever `core.worktree` says: what counts is the
//! bytes that lie beside the build file. `.git` may be a folder or a file that names one (linked
//! work trees, submodules).
//!
//! Does not catch: a repository named by environment variables; they are not read.
//!
//! Source: gitrepository-layout(5), git-worktree(1).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use model::address;

use super::config::Config;
use super::error::GitError;
use super::id::GitFormat;
use super::object::Objects;
use super::refs::{self, Head};

/// Largest configuration or ignore file that is read, in bytes.
pub(in crate::source) const TEXT_BYTES_MAX: u64 = 4 << 20;

/// A repository with its work tree.
#[derive(Debug)]
pub(in crate::source) struct Repository {
    /// The folder that holds `.git`.
    pub(in crate::source) work_tree: PathBuf,
    /// What belongs to this work tree alone: `HEAD`, `index`.
    pub(in crate::source) git_dir: PathBuf,
    /// What all linked work trees share: objects, references, configuration.
    pub(in crate::source) common_dir: PathBuf,
    /// How its objects are named.
    pub(in crate::source) format: GitFormat,
    /// Its own configuration.
    pub(in crate::source) config: Config,
    /// Its objects.
    pub(in crate::source) objects: Objects,
    /// What is checked out.
    pub(in crate::source) head: Head,
}

impl Repository {
    /// Looks for a repository from `project` (an absolute path) upward, on its own file system.
    pub(in crate::source) fn discover(project: &Path) -> Result<Option<Repository>, GitError> {
        let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
        let home = device(project);
        for folder in project.ancestors() {
            if device(folder) != home {
                return Ok(None);
            }
            if let Some(repository) = Repository::open(folder)? {
                return Ok(Some(repository));
            }
        }
        Ok(None)
    }

    /// Opens the repository whose `.git` lies in `work_tree`, if there is one.
    pub(in crate::source) fn open(work_tree: &Path) -> Result<Option<Repository>, GitError> {
        let dot_git = work_tree.join(".git");
        let Ok(metadata) = dot_git.metadata() else { return Ok(None) };
        let git_dir = match metadata.is_dir() {
            true => dot_git,
            false => named_in(&dot_git, "gitdir: ")?,
        };
        let common_file = git_dir.join("commondir");
        let common_dir = match is_there(&common_file)? {
            true => named_in(&common_file, "")?,
            false => git_dir.clone(),
        };
        // Git passes over a `.git` that is not a repository, such as an empty folder.
        if !is_there(&git_dir.join("HEAD"))? || !is_there(&common_dir.join("objects"))? {
            return Ok(None);
        }
        let config_path = common_dir.join("config");
        let bytes = read_file(&config_path, TEXT_BYTES_MAX)?.unwrap_or_default();
        let config = Config::parse(&bytes);
        let format = format(&config, &config_path)?;
        let objects = Objects::open(&common_dir.join("objects"), format)?;
        let head = refs::head(&git_dir, &common_dir, format)?;
        let work_tree = work_tree.to_owned();
        Ok(Some(Repository { work_tree, git_dir, common_dir, format, config, objects, head }))
    }

    /// Returns the address of the remote `origin` as provenance writes it; none for one that is no address
    /// others could use.
    pub(in crate::source) fn origin(&self) -> Option<String> {
        self.config.get("remote.origin.url").and_then(address::published)
    }
}

/// Says whether there is such a file or folder. One that may not be looked at is an error and no answer.
fn is_there(path: &Path) -> Result<bool, GitError> {
    path.try_exists().map_err(|source| GitError::Read { path: path.to_owned(), source })
}

/// Opens a regular file for reading without waiting on a FIFO; none if it does not exist.
pub(in crate::source) fn open_file(path: &Path) -> Result<Option<File>, GitError> {
    let read = |source| GitError::Read { path: path.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(read(error.into())),
    };
    if !file.metadata().map_err(read)?.is_file() {
        return Err(read(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file")));
    }
    Ok(Some(file))
}

/// Returns the content of a regular file of at most `bytes_max` bytes; none if it does not exist.
pub(in crate::source) fn read_file(
    path: &Path,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, GitError> {
    let Some(file) = open_file(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| GitError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > bytes_max {
        return Err(GitError::TooLarge { path: path.to_owned(), bytes_max });
    }
    Ok(Some(bytes))
}

/// Reads a file that holds a path, relative to the folder it lies in.
fn named_in(file: &Path, prefix: &str) -> Result<PathBuf, GitError> {
    let damaged = |what| GitError::Damaged { path: file.to_owned(), what };
    let bytes = read_file(file, TEXT_BYTES_MAX)?.unwrap_or_default();
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not UTF-8"))?;
    let path = text
        .trim_end_matches(['\n', '\r'])
        .strip_prefix(prefix)
        .ok_or_else(|| damaged("it names no folder"))?;
    Ok(file.parent().unwrap_or(Path::new("/")).join(path))
}

fn format(config: &Config, path: &Path) -> Result<GitFormat, GitError> {
    let unsupported =
        |feature, remedy| Err(GitError::Unsupported { path: path.to_owned(), feature, remedy });
    if !matches!(config.get("core.repositoryformatversion"), None | Some("0" | "1")) {
        return unsupported("a repository format newer than 1", "use an older git to make it");
    }
    if !matches!(config.get("extensions.refstorage"), None | Some("files")) {
        return unsupported("the reftable format", "git refs migrate --ref-format=files");
    }
    match config.get("extensions.objectformat") {
        None | Some("sha1") => Ok(GitFormat::Sha1),
        Some("sha256") => Ok(GitFormat::Sha256),
        Some(_) => unsupported("an unknown object format", "git init --object-format=sha1"),
    }
}
