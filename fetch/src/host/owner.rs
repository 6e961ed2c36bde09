//! Which package a command of the host belongs to: what `kiln run` adds to an environment by itself.
//!
//! The command is looked up in the folders of a search path, links are resolved, and the lists of the
//! package database are read for the place that was found. A command of no package is no error: it
//! may be a script of the project.
//!
//! Runs nothing, and reads nothing but names and the database's lists.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::package::{AskedPackage, PackageName};
use super::read::is_absent;

/// Why the owner of a command cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The database's folder of lists cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Returns the package that owns the program `command`, looked up in the folders of `search`.
///
/// # Errors
/// Fails where the package database cannot be read; a host without one owns nothing.
pub fn owner(
    command: &str,
    search: &[&str],
    host_root: &Path,
) -> Result<Option<AskedPackage>, OwnerError> {
    let Some(places) = places(command, search, host_root) else { return Ok(None) };
    let info = host_root.join("var/lib/dpkg/info");
    let folder = match fs::read_dir(&info) {
        Ok(folder) => folder,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(source) => return Err(OwnerError::Read { path: info, source }),
    };
    for entry in folder {
        let path = entry.map_err(|source| OwnerError::Read { path: info.clone(), source })?.path();
        if path.extension() == Some(OsStr::new("list")) && lists(&path, &places)? {
            let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
            let name = stem.split(':').next().unwrap_or_default();
            return Ok(PackageName::new(name).ok().and_then(|_| AskedPackage::new(name).ok()));
        }
    }
    Ok(None)
}

/// Returns the places under which a package may list the command: as it was found and as it really
/// is, each with and without the `/usr` of a merged host.
fn places(command: &str, search: &[&str], host_root: &Path) -> Option<Vec<String>> {
    let found = if command.contains('/') {
        PathBuf::from(command)
            .is_absolute()
            .then(|| host_root.join(command.trim_start_matches('/')))?
    } else {
        let candidates = search
            .iter()
            .map(|folder| host_root.join(folder.trim_start_matches('/')).join(command));
        candidates.into_iter().find(|path| path.is_file())?
    };
    let real = found.canonicalize().ok();
    let mut places = Vec::new();
    for path in [real, Some(found)].into_iter().flatten() {
        let below = path.strip_prefix(host_root).ok()?.to_str()?.to_owned();
        places.push(format!("/{below}"));
        match below.strip_prefix("usr/") {
            Some(rest) => places.push(format!("/{rest}")),
            None => places.push(format!("/usr/{below}")),
        }
    }
    Some(places)
}

fn lists(path: &Path, places: &[String]) -> Result<bool, OwnerError> {
    let fail = |source| OwnerError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(fail)?;
    for line in BufReader::new(file).lines() {
        match line {
            Ok(line) if places.contains(&line) => return Ok(true),
            Ok(_) => {}
            // A list may hold names that are no UTF-8; none of them is a command's.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {}
            Err(source) => return Err(fail(source)),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_through_links_and_a_merged_usr() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in ["usr/bin", "var/lib/dpkg/info", "etc/alternatives"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::File::create(at("usr/bin/gcc-12")).unwrap();
        std::os::unix::fs::symlink("gcc-12", at("usr/bin/gcc")).unwrap();
        let mut list = fs::File::create(at("var/lib/dpkg/info/gcc-12:amd64.list")).unwrap();
        std::io::Write::write_all(&mut list, b"/.\n/usr/bin/gcc-12\n").unwrap();
        let found = owner("gcc", &["/bin", "/usr/bin"], root.path()).unwrap();
        assert_eq!(found, AskedPackage::new("gcc-12").ok());
        assert_eq!(owner("nothing", &["/usr/bin"], root.path()).unwrap(), None);
        assert_eq!(owner("./configure", &["/usr/bin"], root.path()).unwrap(), None);
    }
}
