//! What a build file asks of the host, checked.
//!
//! `paths` can name any folder, so the places that would bring the machine itself into a build are
//! refused by name: the root, the kernel's file systems, a home with its keys, kiln's own store.
//! Folders below a home are fine: that is where toolchains are installed.
//!
//! Does no I/O: the same check is made again on the real path once the host has been looked at.

use model::AbsPath;

use super::package::AskedPackage;
use super::places;

/// The declared packages and paths of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    packages: Vec<AskedPackage>,
    paths: Vec<AskedPath>,
    forbidden: Forbidden,
}

/// A folder or file of the host: `paths` of the build file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedPath {
    /// Where it lies on the host.
    pub from: AbsPath,
    /// Where it appears in the root; none is the same place.
    pub at: Option<AbsPath>,
    /// Whether its `bin` folder goes to the front of `PATH`.
    pub path_prefix: bool,
}

/// Places of this machine that no build may bring in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forbidden {
    /// Folders of kiln's own, with its store or its keys: neither they, nor what is in or above them.
    pub stores: Vec<AbsPath>,
    /// Homes, beside `/root` and `/home/NAME`: neither they nor what is above them.
    pub homes: Vec<AbsPath>,
}

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskedError {
    /// It is the root folder.
    #[error("the whole root folder cannot be an input")]
    Root,
    /// It lies in the kernel's own file systems.
    #[error("{path} belongs to the kernel and cannot be an input")]
    Kernel {
        /// The path.
        path: AbsPath,
    },
    /// It is a home, or holds homes.
    #[error("{path} is a home or holds one; a folder below a home can be an input")]
    Home {
        /// The path.
        path: AbsPath,
    },
    /// It is, holds or lies in a folder of kiln's own.
    #[error(
        "{path} meets a folder of kiln's own (store, keys, configuration) and cannot be an input"
    )]
    Store {
        /// The path.
        path: AbsPath,
    },
    /// The place in the root is the root itself or one that kiln makes.
    #[error(
        "in a step {at} lies in a folder that kiln makes itself, where nothing of the host is seen"
    )]
    Place {
        /// The place.
        at: AbsPath,
    },
}

impl Asked {
    /// Checks a request. Packages are sorted, each once; paths keep their order, which is that of `PATH`.
    ///
    /// # Errors
    /// Fails as [`AskedPath::check`].
    pub fn new(
        mut packages: Vec<AskedPackage>,
        paths: Vec<AskedPath>,
        forbidden: Forbidden,
    ) -> Result<Asked, AskedError> {
        paths.iter().try_for_each(|path| path.check(&forbidden))?;
        packages.sort();
        packages.dedup();
        Ok(Asked { packages, paths, forbidden })
    }

    /// Returns the packages, sorted.
    pub fn packages(&self) -> &[AskedPackage] {
        &self.packages
    }

    /// Returns the paths in the order asked.
    pub fn paths(&self) -> &[AskedPath] {
        &self.paths
    }

    pub(super) fn forbidden(&self) -> &Forbidden {
        &self.forbidden
    }
}

impl AskedPath {
    /// Returns the place in the root.
    pub fn place(&self) -> &AbsPath {
        self.at.as_ref().unwrap_or(&self.from)
    }

    /// Checks both ends.
    ///
    /// # Errors
    /// Refuses `/`, `/proc`, `/sys`, `/dev`, homes, the store, and places of kiln's own.
    pub fn check(&self, forbidden: &Forbidden) -> Result<(), AskedError> {
        forbidden.check(&self.from)?;
        let place = self.place();
        if place.below_root().is_here() || places::is_kilns_own(place.below_root().as_str()) {
            return Err(AskedError::Place { at: place.clone() });
        }
        Ok(())
    }
}

impl Forbidden {
    /// Checks a path on the host.
    pub(super) fn check(&self, path: &AbsPath) -> Result<(), AskedError> {
        let parts: Vec<&str> = path.below_root().parts().collect();
        let lies_in = |other: &AbsPath| path.strip_prefix(other).is_some();
        let holds = |other: &AbsPath| other.strip_prefix(path).is_some();
        match parts.as_slice() {
            [] => Err(AskedError::Root),
            ["proc" | "sys" | "dev", ..] => Err(AskedError::Kernel { path: path.clone() }),
            ["root" | "home"] | ["home", _] => Err(AskedError::Home { path: path.clone() }),
            _ if self.homes.iter().any(holds) => Err(AskedError::Home { path: path.clone() }),
            _ if self.stores.iter().any(|store| lies_in(store) || holds(store)) => {
                Err(AskedError::Store { path: path.clone() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, at: Option<&str>) -> Result<(), AskedError> {
        let path = |text| AbsPath::new(text).unwrap();
        let forbidden = Forbidden {
            stores: vec![path("/home/u/.cache/kiln")],
            homes: vec![path("/srv/people/me")],
        };
        AskedPath { from: path(from), at: at.map(path), path_prefix: false }.check(&forbidden)
    }

    #[test]
    fn the_machine_itself_cannot_be_an_input() {
        for from in [
            "/",
            "/proc",
            "/proc/self",
            "/sys/fs",
            "/dev",
            "/dev/shm/x",
            "/root",
            "/home",
            "/home/u",
            "/srv",
            "/srv/people/me",
        ] {
            assert!(check(from, Some("/opt/x")).is_err(), "{from}");
        }
        for from in ["/home/u/.cache", "/home/u/.cache/kiln", "/home/u/.cache/kiln/blobs"] {
            assert!(matches!(check(from, None), Err(AskedError::Store { .. })), "{from}");
        }
        for from in [
            "/home/u/.rustup/toolchains/stable",
            "/root/x",
            "/opt",
            "/usr/local",
            "/srv/people/me/x",
            "/devel",
            "/procs",
        ] {
            assert_eq!(check(from, None), Ok(()), "{from}");
        }
    }

    #[test]
    fn places_of_kilns_own_are_refused() {
        for at in ["/", "/build", "/build/x", "/tmp/x", "/proc", "/kiln/script", "/run/x", "/sys"] {
            assert!(matches!(check("/opt/x", Some(at)), Err(AskedError::Place { .. })), "{at}");
        }
        assert!(matches!(check("/tmp/x", None), Err(AskedError::Place { .. })));
        assert_eq!(check("/tmp/x", Some("/opt/x")), Ok(()));
    }
}
