//! Files that say whom kiln believes: read only where nobody but this user and root can have written them.
//!
//! The file and the folder that holds it are opened once, looked at through what was opened, and read from it: a name
//! that means something else a moment later changes nothing. Where the file is a link, what it leads to counts, and the
//! folder of that. So does every folder on the way, from the root on ([`way`]): who may write one of them may put
//! another in the place of what lies below. A link to nothing is no absent file: what it led to may have been what
//! revoked a key. Where there is no file, nothing is looked at, since nothing is believed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use attestor::process::way::{self, OpenTo, Way};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most links that are followed, as many as the kernel would.
const LINKS_MAX: usize = 40;

/// A file that is believed.
#[derive(Debug)]
pub struct Believed {
    /// What it says.
    pub bytes: Vec<u8>,
    /// The folder that holds it, where its links lead; opened without a right to read it.
    pub folder: OwnedFd,
    /// Its name there.
    pub name: String,
}

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Unbelieved {
    /// It, or its folder, can not be opened or read.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link that leads nowhere.
    #[error("{} is a link to what is not there", path.display())]
    Dangling {
        /// The link.
        path: PathBuf,
    },
    /// Others can write it, or put another in its place.
    #[error("others can write {}", path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Whether that is this user or root.
        ours: bool,
        /// Its mode.
        mode: u32,
    },
    /// Others can put another folder in the place of one on the way to it.
    #[error("others can write {}", .0.path.display())]
    Above(OpenTo),
}

/// Reads the file `name` of a folder; none if there is nothing of that name.
///
/// # Errors
/// What can not be read, a link to nothing, and what others can write.
pub fn read(folder: &Path, name: &str) -> Result<Option<Believed>, Unbelieved> {
    let mut path = folder.join(name);
    for turn in 0..LINKS_MAX {
        let is_first = turn == 0;
        let failed = |source: Errno| Unbelieved::Io { path: path.clone(), source: source.into() };
        let (above, last) = split(&path)?;
        let Way { folder: holder, open } = match way::walk(&above) {
            Ok(way) => way,
            Err(Errno::NOENT) if is_first && is_nothing(&above) => return Ok(None),
            Err(Errno::NOENT) => return Err(Unbelieved::Dangling { path: folder.join(name) }),
            Err(errno) => return Err(failed(errno)),
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        match rustix::fs::openat(&holder, &last, flags | OFlags::CLOEXEC, Mode::empty()) {
            Ok(opened) => {
                closed_to_others(&above, &holder)?;
                open.map_or(Ok(()), |open| Err(Unbelieved::Above(open)))?;
                let bytes = content(&path, &File::from(opened))?;
                return Ok(Some(Believed { bytes, folder: holder, name: last }));
            }
            Err(Errno::NOENT) if is_first => return Ok(None),
            Err(Errno::NOENT) => return Err(Unbelieved::Dangling { path: folder.join(name) }),
            Err(Errno::LOOP) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let target = rustix::fs::readlinkat(&holder, &last, Vec::new()).map_err(failed)?;
        closed_to_others(&above, &holder)?;
        open.map_or(Ok(()), |open| Err(Unbelieved::Above(open)))?;
        path = above.join(std::ffi::OsStr::from_bytes(target.as_bytes()));
    }
    Err(Unbelieved::Io { path, source: Errno::LOOP.into() })
}

/// Checks that what is written into a folder would be believed there.
///
/// # Errors
/// What can not be reached, and what others can write.
pub fn would_be(folder: &Path) -> Result<(), Unbelieved> {
    let failed = |source: Errno| Unbelieved::Io { path: folder.to_owned(), source: source.into() };
    let Way { folder: holder, open } = way::walk(folder).map_err(failed)?;
    closed_to_others(folder, &holder)?;
    open.map_or(Ok(()), |open| Err(Unbelieved::Above(open)))
}

/// Returns the folder of a path and the last name in it, which has to be one.
fn split(path: &Path) -> Result<(PathBuf, String), Unbelieved> {
    let last = match path.components().next_back() {
        Some(Component::Normal(last)) => last.to_str().map(str::to_owned),
        Some(_) | None => None,
    };
    match (path.parent(), last) {
        (Some(above), Some(last)) => Ok((above.to_owned(), last)),
        _ => Err(Unbelieved::Io {
            path: path.to_owned(),
            source: io::Error::other("it names no file in words"),
        }),
    }
}

/// Says whether not even a link has this name.
fn is_nothing(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn content(path: &Path, file: &File) -> Result<Vec<u8>, Unbelieved> {
    let failed = |source| Unbelieved::Io { path: path.to_owned(), source };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a plain file")));
    }
    closed_to_others(path, file)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(io::Error::other("the file is larger than 64 MiB")));
    }
    Ok(bytes)
}

/// Checks that only this user and root can have written what was opened.
fn closed_to_others(path: &Path, opened: impl AsFd) -> Result<(), Unbelieved> {
    let found = rustix::fs::fstat(opened)
        .map_err(|source| Unbelieved::Io { path: path.to_owned(), source: source.into() })?;
    let (owner, mode) = (found.st_uid, found.st_mode & 0o7777);
    let ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
    if ours && mode & 0o022 == 0 {
        return Ok(());
    }
    Err(Unbelieved::Open { path: path.to_owned(), owner, ours, mode })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const FILE: &str = "trust.toml";

    /// Returns a folder with `good/t`, and with `open/t` in a folder that others can write.
    fn scene() -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        for (name, mode) in [("good", 0o755), ("open", 0o777), ("config", 0o700)] {
            let folder = top.path().join(name);
            fs::create_dir(&folder).unwrap();
            let mut file = File::create(folder.join("t")).unwrap();
            file.write_all(name.as_bytes()).unwrap();
            fs::set_permissions(folder.join("t"), fs::Permissions::from_mode(0o644)).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        }
        top
    }

    /// A link that means one file when it is opened and another when it is looked at.
    #[test]
    fn what_is_read_is_what_was_looked_at() {
        let top = scene();
        let config = top.path().join("config");
        let swap = |target: &str| {
            symlink(top.path().join(target).join("t"), config.join("new")).unwrap();
            fs::rename(config.join("new"), config.join(FILE)).unwrap();
        };
        swap("good");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    swap("open");
                    swap("good");
                }
            });
            let mut seen = [0, 0];
            let mut wrong = None;
            for _ in 0..20_000 {
                match read(&config, FILE) {
                    Ok(Some(found)) if found.bytes == b"good" => seen[0] += 1,
                    Err(Unbelieved::Open { .. }) => seen[1] += 1,
                    other => wrong = Some(other),
                }
                if wrong.is_some() || seen.iter().all(|count| *count > 2_000) {
                    break;
                }
            }
            // First, so that a failure ends.
            stop.store(true, Ordering::Relaxed);
            assert!(wrong.is_none(), "{wrong:?}");
        });
    }

    #[test]
    fn nothing_is_no_file_and_a_link_to_nothing_is_no_nothing() {
        let top = scene();
        let config = top.path().join("config");
        assert!(read(&config, FILE).unwrap().is_none());
        assert!(read(&top.path().join("absent"), FILE).unwrap().is_none());
        symlink("/nowhere/at/all", top.path().join("gone")).unwrap();
        assert!(matches!(read(&top.path().join("gone"), FILE), Err(Unbelieved::Dangling { .. })));
        for target in ["nothing", "../good/nothing", "/nowhere/at/all"] {
            symlink(target, config.join(FILE)).unwrap();
            let refused = read(&config, FILE);
            assert!(matches!(refused, Err(Unbelieved::Dangling { .. })), "{target}: {refused:?}");
            fs::remove_file(config.join(FILE)).unwrap();
        }
        for target in [FILE, "..", "../good", "/dev/null"] {
            symlink(target, config.join(FILE)).unwrap();
            let refused = read(&config, FILE);
            assert!(matches!(refused, Err(Unbelieved::Io { .. } | Unbelieved::Open { .. })));
            fs::remove_file(config.join(FILE)).unwrap();
        }
        symlink("../good/t", config.join("again")).unwrap();
        symlink("again", config.join(FILE)).unwrap();
        let found = read(&config, FILE).unwrap().unwrap();
        assert_eq!((found.bytes.as_slice(), found.name.as_str()), (&b"good"[..], "t"));
        fs::remove_file(config.join("again")).unwrap();
        symlink("../open/t", config.join("again")).unwrap();
        assert!(matches!(
            read(&config, FILE),
            Err(Unbelieved::Open { mode: 0o777, ours: true, .. })
        ));
    }
}
