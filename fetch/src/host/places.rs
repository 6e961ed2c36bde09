//! Where a package's paths really lie: folders that are links are followed, inside the host's root.
//!
//! dpkg's lists still say `/bin/dash` and `/lib/x86_64-linux-gnu/libc.so.6` on hosts where `/bin`
//! and `/lib` are links into `/usr`. An environment must have each file once, under its real place,
//! and the links beside it; so every folder on the way to a file is resolved here, once, and the
//! links that were walked through are remembered: they are part of the environment too.
//!
//! Only folders are followed, never a last name. A link never leads out of the root given. What lies
//! beyond a folder that not everybody may enter is marked so, and never asked for: a build as root
//! must see what a build as a user sees.
//!
//! Rules: Debian Policy, section 10.1 ("usrmerge", the merged `/usr`); path_resolution(7).

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::read::is_absent;

/// Most links that are followed on the way to one folder, as in the kernel (`MAXSYMLINKS`).
pub const LINKS_MAX: u32 = 40;

/// Places that kiln makes itself in every sandbox: nothing of a host lies at or below them.
pub(super) const KILNS_OWN: [&str; 7] = ["build", "dev", "kiln", "proc", "run", "sys", "tmp"];

/// Resolves paths below a host's root, and remembers what it saw.
pub(super) struct Places<'h> {
    root: &'h Path,
    folders: HashMap<String, Folder>,
    links: BTreeMap<String, String>,
    into_closed: bool,
}

/// A folder after all links: where it lies and what may be done there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    /// Its path below the root, without links; empty for the root itself.
    pub(super) real: String,
    /// Whether everybody may enter it and all above it.
    pub(super) open: bool,
}

/// Why a place could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// The kernel refused to look.
    #[error("cannot look at {}", .path.display())]
    Look {
        /// The path on the host.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Links lead in a circle, or through more than [`LINKS_MAX`] others.
    #[error("too many links on the way to {}", .path.display())]
    Loop {
        /// The path on the host.
        path: PathBuf,
    },
    /// A link's text is not UTF-8, which a tree cannot hold.
    #[error("the link {} leads to a name that is not UTF-8", .path.display())]
    NotUtf8 {
        /// The path on the host.
        path: PathBuf,
    },
}

impl<'h> Places<'h> {
    /// Starts at a root; nothing is looked at yet.
    pub(super) fn new(root: &'h Path) -> Places<'h> {
        Places { root, folders: HashMap::new(), links: BTreeMap::new(), into_closed: false }
    }

    /// Starts at a root, and looks into folders that only their owner may enter as well.
    pub(super) fn into_closed(root: &'h Path) -> Places<'h> {
        Places { into_closed: true, ..Places::new(root) }
    }

    /// Returns the path on the host of a real path below the root.
    pub(super) fn on_host(&self, real: &str) -> PathBuf {
        self.root.join(real)
    }

    /// Returns the links that were walked through: real path and text.
    pub(super) fn links(&self) -> &BTreeMap<String, String> {
        &self.links
    }

    /// Resolves a folder, given from the root; a leading slash is ignored.
    pub(super) fn folder(&mut self, path: &str) -> Result<Folder, PlacesError> {
        let top = Folder { real: String::new(), open: true };
        self.descend(top, path, LINKS_MAX)
    }

    /// Resolves all of a path but its last name. None if that name is `..` or there is none.
    pub(super) fn place(&mut self, path: &str) -> Result<Option<(Folder, String)>, PlacesError> {
        let path = path.trim_end_matches('/');
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Ok(None);
        }
        let folder = self.folder(above)?;
        let at = join(&folder.real, name);
        Ok(Some((folder, at)))
    }

    /// Follows what a link says, all but its last name, from the folder that holds the link.
    pub(super) fn target(
        &mut self,
        holder: &Folder,
        text: &str,
    ) -> Result<Option<String>, PlacesError> {
        if text.starts_with('/') {
            return Ok(self.place(text)?.map(|(_, at)| at));
        }
        let (above, name) = text.rsplit_once('/').unwrap_or(("", text));
        if matches!(name, "" | "." | "..") {
            return Ok(None);
        }
        let folder = self.descend(holder.clone(), above, LINKS_MAX)?;
        Ok(Some(join(&folder.real, name)))
    }

    /// Looks at what lies at a real path, without following it. None if there is nothing.
    pub(super) fn look(&self, real: &str) -> Result<Option<std::fs::Metadata>, PlacesError> {
        let path = self.on_host(real);
        match path.symlink_metadata() {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(source) => Err(PlacesError::Look { path, source }),
        }
    }

    /// Reads the text of a link at a real path.
    pub(super) fn link(&self, real: &str) -> Result<String, PlacesError> {
        let path = self.on_host(real);
        match std::fs::read_link(&path) {
            Ok(text) => {
                text.into_os_string().into_string().map_err(|_| PlacesError::NotUtf8 { path })
            }
            Err(source) => Err(PlacesError::Look { path, source }),
        }
    }

    fn descend(
        &mut self,
        from: Folder,
        path: &str,
        links_left: u32,
    ) -> Result<Folder, PlacesError> {
        let mut at = from;
        if path.starts_with('/') {
            at = Folder { real: String::new(), open: true };
        }
        for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
            at = if name == ".." { self.above(&at) } else { self.enter(&at, name, links_left)? };
        }
        Ok(at)
    }

    /// The folder above a real one was walked through on the way, so it is known.
    fn above(&self, at: &Folder) -> Folder {
        let real = at.real.rsplit_once('/').map_or("", |(above, _)| above);
        let open = self.folders.get(real).is_none_or(|folder| folder.open);
        Folder { real: real.to_owned(), open }
    }

    fn enter(&mut self, at: &Folder, name: &str, links_left: u32) -> Result<Folder, PlacesError> {
        let real = join(&at.real, name);
        if let Some(known) = self.folders.get(&real) {
            return Ok(known.clone());
        }
        let found = if at.open || self.into_closed { self.look(&real)? } else { None };
        let folder = match found {
            Some(found) if found.is_symlink() => {
                let text = self.link(&real)?;
                let left = links_left
                    .checked_sub(1)
                    .ok_or_else(|| PlacesError::Loop { path: self.on_host(&real) })?;
                let led = self.descend(at.clone(), &text, left)?;
                self.links.insert(real.clone(), text);
                led
            }
            Some(found) => {
                Folder { real: real.clone(), open: at.open && found.mode() & 0o001 != 0 }
            }
            None => Folder { real: real.clone(), open: at.open },
        };
        self.folders.insert(real, folder.clone());
        Ok(folder)
    }
}

/// Says whether a real path is one of kiln's own places or lies below one.
pub(super) fn is_kilns_own(real: &str) -> bool {
    KILNS_OWN.contains(&real.split('/').next().unwrap_or(""))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn folders_that_are_links_are_followed_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("usr/lib/deep")).unwrap();
        symlink("usr/lib", at("lib")).unwrap();
        symlink("/lib/deep", at("absolute")).unwrap();
        symlink("../../../../lib", at("usr/out")).unwrap();
        let mut places = Places::new(root.path());
        for (path, real) in [
            ("/lib/deep", "usr/lib/deep"),
            ("/absolute", "usr/lib/deep"),
            ("absolute/..", "usr/lib"),
            ("/usr/out/deep", "usr/lib/deep"),
            ("/none/below", "none/below"),
            ("/", ""),
        ] {
            assert_eq!(places.folder(path).unwrap().real, real, "{path}");
        }
        assert_eq!(places.place("/lib/deep/").unwrap().unwrap().1, "usr/lib/deep");
        assert_eq!(places.place("/lib/..").unwrap(), None);
        let links: Vec<_> = places.links().keys().map(String::as_str).collect();
        assert_eq!(links, ["absolute", "lib", "usr/out"]);
    }

    #[test]
    fn circles_of_links_end_in_an_error() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(matches!(Places::new(root.path()).folder("/a/x"), Err(PlacesError::Loop { .. })));
    }

    #[test]
    fn what_lies_in_a_closed_folder_is_marked() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("open/closed/in")).unwrap();
        fs::set_permissions(root.path().join("open/closed"), fs::Permissions::from_mode(0o700))
            .unwrap();
        let mut places = Places::new(root.path());
        assert!(places.folder("open").unwrap().open);
        assert!(!places.folder("open/closed/in").unwrap().open);
        assert!(places.folder("open/closed/..").unwrap().open);
    }

    #[test]
    fn kilns_own_places_are_whole_names() {
        assert!(is_kilns_own("proc/1") && is_kilns_own("tmp"));
        assert!(!is_kilns_own("tmpfiles") && !is_kilns_own("usr/tmp") && !is_kilns_own(""));
    }
}
