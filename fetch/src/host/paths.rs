//! The folders that a build file names by path: found, checked again where they really are, listed.
//!
//! A name in the build file can lead through links to a place that is refused, so the check of
//! `asked.rs` is repeated on the real path. The last name itself is not followed: what it leads to
//! has a name of its own, and that one should stand in the build file.
//!
//! Works without a package database. Takes no part in the stamp: listing is cheap, and the caller
//! keeps what it knows of each file by its own means.

use std::collections::HashMap;
use std::path::Path;

use model::relpath::PathError;
use model::{AbsPath, RelPath};

use super::asked::{Asked, AskedError, AskedPath};
use super::entry::{Entry, EntryKind};
use super::observation::HostPath;
use super::observe::ROOT_LINKS;
use super::places::{Places, PlacesError};
use super::walk::{self, WalkError};

/// Why a path that was asked for cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// There is nothing.
    #[error("{path} does not exist on this host")]
    Absent {
        /// The path asked for.
        path: AbsPath,
    },
    /// It is a link.
    #[error("{path} is a link to `{}`; name what it leads to", model::text::escape(.target.as_os_str().as_encoded_bytes()))]
    Link {
        /// The path asked for.
        path: AbsPath,
        /// The link's text.
        target: Box<Path>,
    },
    /// It leads through links to a place that is refused.
    #[error("{path} leads to a place that cannot be an input")]
    Forbidden {
        /// The path asked for.
        path: AbsPath,
        /// The cause.
        #[source]
        source: AskedError,
    },
    /// A file, where `path-prefix` wants a folder.
    #[error("{path} is no folder, so it cannot go into PATH")]
    NoFolder {
        /// The path asked for.
        path: AbsPath,
    },
    /// Its place is taken by a file of a package or of another path.
    #[error("{path} would hide /{at}")]
    Hides {
        /// The path asked for.
        path: AbsPath,
        /// What it hides.
        at: RelPath,
    },
    /// The way to it cannot be looked at.
    #[error("cannot find {path}")]
    Places {
        /// The path asked for.
        path: AbsPath,
        /// The cause.
        #[source]
        source: PlacesError,
    },
    /// It cannot be listed.
    #[error("cannot list {path}")]
    Walk {
        /// The path asked for.
        path: AbsPath,
        /// The cause.
        #[source]
        source: WalkError,
    },
    /// Its place is not one that a tree can hold.
    #[error("{path} is no place for a tree")]
    Place {
        /// The path asked for.
        path: AbsPath,
        /// The cause.
        #[source]
        source: PathError,
    },
}

impl PathsError {
    /// Returns the path that was asked for.
    pub fn path(&self) -> &AbsPath {
        match self {
            PathsError::Absent { path }
            | PathsError::Link { path, .. }
            | PathsError::Forbidden { path, .. }
            | PathsError::NoFolder { path }
            | PathsError::Hides { path, .. }
            | PathsError::Places { path, .. }
            | PathsError::Walk { path, .. }
            | PathsError::Place { path, .. } => path,
        }
    }
}

/// Lists the folders asked for by path, and what goes to the front of `PATH`, both in the order
/// asked. Used alone on a second use, when the packages are known by their stamp.
///
/// # Errors
/// Fails where a path is absent, a link, refused at its real place, or holds what no tree can.
pub fn observe_paths(
    asked: &Asked,
    host_root: &Path,
) -> Result<(Vec<HostPath>, Vec<AbsPath>), PathsError> {
    // A folder that only its owner may enter is fine here: the build file names what is in it.
    let mut places = Places::into_closed(host_root);
    let mut prefixes = Vec::new();
    let mut found = Vec::new();
    for path in asked.paths() {
        let real = real_place(path, asked, &mut places)?;
        let at = place_in_root(path, &places)?;
        let walked = walk::walk(&places.on_host(&real), &at);
        let entries =
            walked.map_err(|source| PathsError::Walk { path: path.from.clone(), source })?;
        if path.path_prefix {
            prefixes.push(prefix(path, &at, &entries)?);
        }
        found.push(HostPath { from: path.from.clone(), at, entries });
    }
    Ok((found, prefixes))
}

/// Refuses paths that hide a file, link or folder of the environment, or one another. Folders merge.
pub(super) fn refuse_hiding<'e>(
    set: impl Iterator<Item = &'e Entry>,
    paths: &'e [HostPath],
) -> Result<(), PathsError> {
    if paths.is_empty() {
        return Ok(());
    }
    let mut folders: HashMap<&str, bool> = HashMap::new();
    for entry in set {
        folders.insert(entry.at.as_str(), entry.kind == EntryKind::Dir);
    }
    for path in paths {
        let hides = |at: &str| {
            let at = RelPath::new(at).unwrap_or_default();
            PathsError::Hides { path: path.from.clone(), at }
        };
        let above = path.at.as_str().match_indices('/').map(|(end, _)| &path.at.as_str()[..end]);
        if let Some(file) = above.into_iter().find(|above| folders.get(above) == Some(&false)) {
            return Err(hides(file));
        }
        for entry in &path.entries {
            let is_folder = entry.kind == EntryKind::Dir;
            if folders
                .insert(entry.at.as_str(), is_folder)
                .is_some_and(|before| !(before && is_folder))
            {
                return Err(hides(entry.at.as_str()));
            }
        }
    }
    Ok(())
}

fn real_place(path: &AskedPath, asked: &Asked, places: &mut Places) -> Result<String, PathsError> {
    let failed = |source| PathsError::Places { path: path.from.clone(), source };
    let absent = || PathsError::Absent { path: path.from.clone() };
    let (_, real) =
        places.place(path.from.below_root().as_str()).map_err(failed)?.ok_or_else(absent)?;
    let found = places.look(&real).map_err(failed)?.ok_or_else(absent)?;
    if found.is_symlink() {
        let target = places.link(&real).map_err(failed)?;
        return Err(PathsError::Link {
            path: path.from.clone(),
            target: Path::new(&target).into(),
        });
    }
    let place = |source| PathsError::Place { path: path.from.clone(), source };
    let checked = RelPath::new(&real).map(AbsPath::from_root).map_err(place)?;
    let forbidden = asked.forbidden().check(&checked);
    forbidden.map_err(|source| PathsError::Forbidden { path: path.from.clone(), source })?;
    Ok(real)
}

/// The place in the root, behind the links of the merged `/usr`.
fn place_in_root(path: &AskedPath, places: &Places) -> Result<RelPath, PathsError> {
    let asked = path.place().below_root();
    let Some((first, rest)) = asked.as_str().split_once('/') else { return Ok(asked.clone()) };
    let failed = |source| PathsError::Places { path: path.from.clone(), source };
    if !ROOT_LINKS.contains(&first)
        || !places.look(first).map_err(failed)?.is_some_and(|found| found.is_symlink())
    {
        return Ok(asked.clone());
    }
    let target = places.link(first).map_err(failed)?;
    RelPath::new(&format!("{}/{rest}", target.trim_start_matches('/')))
        .map_err(|source| PathsError::Place { path: path.from.clone(), source })
}

fn prefix(path: &AskedPath, at: &RelPath, entries: &[Entry]) -> Result<AbsPath, PathsError> {
    let is_folder = |place: &RelPath| {
        let found = entries.binary_search_by(|entry| entry.at.cmp(place));
        found.is_ok_and(|index| entries[index].kind == EntryKind::Dir)
    };
    if !is_folder(at) {
        return Err(PathsError::NoFolder { path: path.from.clone() });
    }
    let bin = RelPath::new("bin")
        .map_err(|source| PathsError::Place { path: path.from.clone(), source })?;
    let bin = at.join(&bin);
    Ok(AbsPath::from_root(if is_folder(&bin) { bin } else { at.clone() }))
}
