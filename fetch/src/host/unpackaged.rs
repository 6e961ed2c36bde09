//! The files of no package that an environment needs: links of the merged `/usr`, alternatives,
//! generated files, kiln's own `/etc`.
//!
//! They are the only entries without a package's name, so there is a reason for each: a folder that
//! was walked through, a row of a table, an administrative file of update-alternatives. A place that
//! a package has already is left to the package, but for kiln's own files, which replace it.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;

use model::RelPath;
use model::relpath::PathError;

use super::absent::Why;
use super::alternatives::{Alternative, AlternativesError};
use super::contents::Contents;
use super::database::Package;
use super::entry::{Entry, EntryKind};
use super::generated::{GENERATED, Take};
use super::observation::HostPath;
use super::observe::ROOT_LINKS;
use super::ownership;
use super::places::{self, Places, PlacesError};
use super::read::{self, ReadError};
use super::synthetic;
use super::walk::{self, WalkError};

/// Why the files of no package do not come together.
#[derive(Debug, thiserror::Error)]
pub enum UnpackagedError {
    /// A place cannot be looked at.
    #[error("cannot find a file of no package")]
    Places(#[from] PlacesError),
    /// A file cannot be looked at.
    #[error("cannot look at a file of no package")]
    Walk(#[from] WalkError),
    /// An administrative file cannot be read.
    #[error("cannot read the alternatives")]
    Read(#[from] ReadError),
    /// An administrative file has another shape.
    #[error(transparent)]
    Alternatives(#[from] AlternativesError),
    /// A place is not one that a tree can hold.
    #[error("a file of no package has no good place")]
    Place(#[from] PathError),
}

/// The environment so far: what more can be added depends on it.
struct Set<'p, 'h> {
    places: &'p mut Places<'h>,
    files: HashSet<String>,
    added: Vec<Entry>,
}

/// Returns the files of no package, sorted, and takes from the packages what they replace.
pub(super) fn unpackaged(
    packages: &[&Package],
    contents: &mut [Contents],
    paths: &[HostPath],
    places: &mut Places,
) -> Result<Vec<Entry>, UnpackagedError> {
    let mut added = links(contents, paths, places)?;
    let own = synthetic::entries()?;
    let absent = synthetic::ABSENT.iter().map(|at| RelPath::new(at));
    let replaced: HashSet<RelPath> = own
        .iter()
        .map(|entry| Ok(entry.at.clone()))
        .chain(absent)
        .collect::<Result<_, PathError>>()?;
    for contents in contents.iter_mut() {
        ownership::leave_out(contents, &replaced, Why::Replaced);
    }
    let entries = contents.iter().flat_map(|contents| &contents.entries).chain(&added);
    let files = entries
        .filter(|entry| entry.kind != EntryKind::Dir)
        .map(|entry| entry.at.as_str().to_owned());
    let files = files.chain(own.iter().map(|entry| entry.at.as_str().to_owned())).collect();
    added.extend(own);
    let mut set = Set { places, files, added };
    if !packages.is_empty() {
        set.add_alternatives()?;
        set.add_generated(packages)?;
    }
    set.added.sort_unstable();
    Ok(set.added)
}

/// The folders that are links and were walked through, and those of the root that lead to something.
fn links(
    contents: &[Contents],
    paths: &[HostPath],
    places: &mut Places,
) -> Result<Vec<Entry>, UnpackagedError> {
    let mut found: Vec<(String, String)> =
        places.links().iter().map(|(at, text)| (at.clone(), text.clone())).collect();
    for at in ROOT_LINKS {
        let known = places.links().contains_key(at);
        if known || !places.look(at)?.is_some_and(|found| found.is_symlink()) {
            continue;
        }
        let text = places.link(at)?;
        let led = RelPath::new(text.trim_start_matches('/'))?;
        let packaged = contents.iter().flat_map(|contents| &contents.entries);
        let entries = packaged.chain(paths.iter().flat_map(|path| &path.entries));
        let (mut owned, mut leads_somewhere) = (false, false);
        for entry in entries {
            owned |= entry.at.as_str() == at;
            leads_somewhere |= entry.at.strip_prefix(&led).is_some();
        }
        if leads_somewhere && !owned {
            found.push((at.to_owned(), text));
        }
    }
    let kept = found.into_iter().filter(|(at, _)| !places::is_kilns_own(at));
    kept.map(|(at, target)| {
        Ok(Entry { at: RelPath::new(&at)?, kind: EntryKind::Symlink { target } })
    })
    .collect()
}

impl Set<'_, '_> {
    fn add(&mut self, at: &str, kind: EntryKind) -> Result<(), UnpackagedError> {
        if !places::is_kilns_own(at) && self.files.insert(at.to_owned()) {
            self.added.push(Entry { at: RelPath::new(at)?, kind });
        }
        Ok(())
    }

    fn add_alternatives(&mut self) -> Result<(), UnpackagedError> {
        let folder = self.places.on_host("var/lib/dpkg/alternatives");
        for name in read::names(&folder)? {
            let Some(text) = read::text(&folder.join(&name))? else { continue };
            let malformed = || -> UnpackagedError {
                match RelPath::new(&format!("var/lib/dpkg/alternatives/{name}")) {
                    Ok(at) => AlternativesError { at }.into(),
                    Err(error) => error.into(),
                }
            };
            let alternative = Alternative::parse(&text).ok_or_else(malformed)?;
            let holder = format!("etc/alternatives/{name}");
            let current = match self.places.look(&holder)? {
                Some(found) if found.is_symlink() => Some(self.places.link(&holder)?),
                _ => None,
            };
            let (places, files) = (&mut *self.places, &self.files);
            let in_set =
                |path: &str| Ok(places.place(path)?.is_some_and(|(_, at)| files.contains(&at)));
            let chosen = alternative.choose::<PlacesError>(&name, current.as_deref(), in_set)?;
            for chosen in chosen {
                let Some((_, link)) = self.places.place(chosen.link)? else { continue };
                let holder = format!("etc/alternatives/{}", chosen.name);
                let target = chosen.target.to_owned();
                self.add(&link, EntryKind::Symlink { target: format!("/{holder}") })?;
                self.add(&holder, EntryKind::Symlink { target })?;
            }
        }
        Ok(())
    }

    fn add_generated(&mut self, packages: &[&Package]) -> Result<(), UnpackagedError> {
        for row in GENERATED
            .iter()
            .filter(|row| packages.iter().any(|package| package.name == row.package))
        {
            match row.take {
                Take::Itself => self.add_itself(row.at)?,
                Take::LinksIn => self.add_links_in(row.at)?,
            }
        }
        Ok(())
    }

    fn add_itself(&mut self, at: &str) -> Result<(), UnpackagedError> {
        match self.places.look(at)? {
            Some(found) if found.is_symlink() || (found.is_file() && found.mode() & 0o004 != 0) => {
                let kind = walk::look(&self.places.on_host(at))?;
                self.add(at, kind)
            }
            _ => Ok(()),
        }
    }

    /// Links to links come in on a later round; each round but the last adds one at least.
    fn add_links_in(&mut self, folder: &str) -> Result<(), UnpackagedError> {
        let mut todo: Vec<(String, String)> = Vec::new();
        for name in read::names(&self.places.on_host(folder))? {
            let at = format!("{folder}/{name}");
            if self.places.look(&at)?.is_some_and(|found| found.is_symlink()) {
                let text = self.places.link(&at)?;
                todo.push((at, text));
            }
        }
        let holder = self.places.folder(folder)?;
        loop {
            let before = todo.len();
            let mut left = Vec::new();
            for (at, text) in todo {
                let led = self.places.target(&holder, &text)?;
                if led.is_some_and(|led| self.files.contains(&led)) {
                    self.add(&at, EntryKind::Symlink { target: text })?;
                } else {
                    left.push((at, text));
                }
            }
            if left.is_empty() || left.len() == before {
                return Ok(());
            }
            todo = left;
        }
    }
}
