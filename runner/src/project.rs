//! Where a project is: its build file, found from the current folder upward.
//!
//! The search ends at the top of the git work tree, or at the root of the file system outside one, so
//! that a forgotten build file high above is not taken for the project's.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Origin};

/// The name of the build file.
pub const BUILD_FILE: &str = "kiln.yaml";
/// The name of the lock.
pub const LOCK_FILE: &str = "kiln.lock";
/// The folder that artifacts go to.
pub const OUTPUT_FOLDER: &str = "kiln-out";
/// Largest build file or lock that is read, in bytes; the build file's own limit is 1 MiB, and one
/// byte more is read so that its parser can say so.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A project that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The folder of the build file.
    pub folder: PathBuf,
    /// The build file's bytes.
    pub build_file: Vec<u8>,
    /// What the build file was made of, where there is no file: errors point at that.
    pub made_of: Option<Origin>,
    /// The lock's bytes, if there is one.
    pub lock: Option<Vec<u8>>,
}

/// Finds the project of `from`.
///
/// # Errors
/// Says where it looked, or what could not be read.
pub fn find(from: &Path) -> Result<Project, Diagnostic> {
    let mut folder = from;
    loop {
        if let Ok(found) = folder.join(BUILD_FILE).symlink_metadata() {
            // What stands in a folder above was not chosen by being there: in a shared one it may be
            // anybody's, and it would run with our rights.
            let ours = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
            if folder != from && !ours {
                return Err(foreign(folder, found.uid()));
            }
            return open(folder);
        }
        let top = folder.join(".git").symlink_metadata().is_ok();
        match folder.parent() {
            Some(above) if !top => folder = above,
            _ => break,
        }
    }
    Err(Diagnostic::new(
        Code::NoBuildFile,
        format!("no {BUILD_FILE} in {} or above it", from.display()),
    )
    .help("write one:  kiln init")
    .help("or wrap one command:  kiln run --output FILE -- CMD"))
}

fn foreign(folder: &Path, owner: u32) -> Diagnostic {
    Diagnostic::new(Code::NoBuildFile, format!("{BUILD_FILE} in {} belongs to user {owner}", folder.display()))
        .why("a build file found in a folder above must be yours or root's: it says which files go in, with your rights")
        .help("go to that folder if you mean it:  kiln -C DIR build")
}

/// Reads the project in `folder`.
///
/// # Errors
/// Says which file could not be read.
pub fn open(folder: &Path) -> Result<Project, Diagnostic> {
    let build_file = read(&folder.join(BUILD_FILE))?.ok_or_else(|| {
        Diagnostic::new(Code::NoBuildFile, format!("no {BUILD_FILE} in {}", folder.display()))
    })?;
    let lock = read(&folder.join(LOCK_FILE))?;
    Ok(Project { folder: folder.to_owned(), build_file, made_of: None, lock })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Diagnostic> {
    let refuse = |error: &std::io::Error| {
        Diagnostic::new(Code::NoBuildFile, format!("cannot read {}", path.display()))
            .caused_by(error)
            .help("make it a plain file that you may read")
    };
    let file = match rustix::fs::open(
        path,
        rustix::fs::OFlags::RDONLY
            | rustix::fs::OFlags::NOFOLLOW
            | rustix::fs::OFlags::NONBLOCK
            | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => {
            return Err(refuse(&std::io::Error::other(
                "it is a symlink, so no commit can name what it says",
            )));
        }
        Err(error) => return Err(refuse(&error.into())),
    };
    let plain = file.metadata().map_err(|error| refuse(&error))?.is_file();
    if !plain {
        return Err(refuse(&std::io::Error::other("not a plain file")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| refuse(&error))?;
    Ok(Some(bytes))
}
