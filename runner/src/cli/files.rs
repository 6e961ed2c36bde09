//! Files that the verifying commands read: whole, and of a bounded size.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Largest evidence, key or trust file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Suffixes of evidence beside a file, in the order in which they are looked for.
pub const EVIDENCE: [&str; 3] = [".sigstore.json", ".sigstore", ".intoto.jsonl"];
/// What the name of a summary ends with that is a bare line.
pub const SUMMARY: &str = ".vsa.jsonl";

/// Returns the path of `path` with a suffix.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens a plain file; a named pipe or device in its place is refused instead of waited for.
///
/// # Errors
/// What cannot be opened, and what is no plain file.
pub fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(std::io::Error::other("not a plain file"))
    }
}

/// Returns the error of a file that has to be there.
pub fn missing() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such file")
}

/// Returns the bytes of a file, or none if there is no such file.
///
/// # Errors
/// A file that cannot be read, or is larger than 64 MiB.
pub fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match open(path) {
        Ok(file) => file,
        // No file has a name that is too long for one, as an artifact's with a suffix may be.
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidFilename
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("the file is larger than 64 MiB"));
    }
    Ok(Some(bytes))
}
