//! Writes an archive into the store, member by member.
//!
//! 1. Lay the members into one folder; two things on one path are refused.
//! 2. Refuse links that lead out, before anything is written.
//! 3. Write header and content of every entry, compressed on the way, hashed at the end.

use std::io::{self, Write};

use model::{Blob, RelPath};

use super::entries::{Entry, Folder, Member};
use super::{links, tar};
use crate::store::{self, Store};

/// Compression effort of gzip: the middle of 0 to 9, what the tool itself uses.
const GZIP_LEVEL: u32 = 6;
/// Compression effort of zstd: what the tool itself uses.
const ZSTD_LEVEL: i32 = 3;
/// The operating system field of a gzip header: unknown (RFC 1952, section 2.3.1).
const GZIP_SYSTEM_UNKNOWN: u8 = 255;

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.tar`.
    Tar,
    /// `.tar.gz`.
    TarGz,
    /// `.tar.zst`.
    TarZst,
}

/// Why an archive was not written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A member cannot be read, or the archive not be stored.
    #[error("reading or storing a member")]
    Store(#[from] store::Error),
    /// Two members lie on one path: KILN-0114.
    #[error("two things land on `{}`", model::text::escape(at.as_str().as_bytes()))]
    Collision {
        /// The path, below the prefix.
        at: RelPath,
    },
    /// A link is absolute or leads out of the archive: KILN-0407.
    #[error("the link `{}` leads out, to `{}`", model::text::escape(at.as_str().as_bytes()),
        model::text::escape(target.as_bytes()))]
    LinkLeaves {
        /// The link, below the prefix.
        at: RelPath,
        /// Its target.
        target: String,
    },
    /// The time cannot be expressed.
    #[error("the time {seconds} is before 1970")]
    Time {
        /// Seconds since 1970.
        seconds: i64,
    },
    /// The archive cannot be written.
    #[error("writing the archive")]
    Write(#[source] io::Error),
}

impl Format {
    /// Returns the format and the name without suffix, by the suffix.
    pub fn of_name(name: &str) -> Option<(Format, &str)> {
        [(".tar", Format::Tar), (".tar.gz", Format::TarGz), (".tar.zst", Format::TarZst)]
            .into_iter()
            .find_map(|(suffix, format)| name.strip_suffix(suffix).map(|stem| (format, stem)))
            .filter(|(_, stem)| !stem.is_empty())
    }
}

/// Writes the members below the folder `prefix` into one archive in the store and returns its name.
/// Every entry carries the time `seconds`.
///
/// # Errors
/// [`ArchiveError::Collision`], [`ArchiveError::LinkLeaves`], and what reading and storing refuse.
pub fn write(
    store: &Store,
    format: Format,
    prefix: &RelPath,
    members: &[Member],
    seconds: i64,
) -> Result<Blob, ArchiveError> {
    let seconds = u64::try_from(seconds).map_err(|_| ArchiveError::Time { seconds })?;
    // 1. One folder.
    let top = Folder::of(store, members)?;
    // 2. No link leads out.
    check_links(&top, &top, &RelPath::here())?;
    // 3. Write.
    let mut object = store.writer()?;
    match format {
        Format::Tar => write_all(store, &mut object, prefix, &top, seconds)?,
        Format::TarGz => {
            let mut packer = flate2::GzBuilder::new()
                .mtime(0)
                .operating_system(GZIP_SYSTEM_UNKNOWN)
                .write(&mut object, flate2::Compression::new(GZIP_LEVEL));
            write_all(store, &mut packer, prefix, &top, seconds)?;
            packer.finish().map_err(failed)?;
        }
        Format::TarZst => {
            let mut packer = zstd::Encoder::new(&mut object, ZSTD_LEVEL).map_err(failed)?;
            packer.include_checksum(false).map_err(failed)?;
            packer.include_contentsize(false).map_err(failed)?;
            write_all(store, &mut packer, prefix, &top, seconds)?;
            packer.finish().map_err(failed)?;
        }
    }
    Ok(object.finish()?)
}

fn check_links(top: &Folder, folder: &Folder, at: &RelPath) -> Result<(), ArchiveError> {
    for (name, entry) in &folder.entries {
        match entry {
            Entry::Folder(below) => check_links(top, below, &at.child(name))?,
            Entry::File { .. } | Entry::Link { free: true, .. } => {}
            Entry::Link { target, free: false } => {
                let above: Vec<&str> = at.parts().collect();
                if !links::stays_inside(top, &above, target) {
                    let (at, target) = (at.child(name), target.clone());
                    return Err(ArchiveError::LinkLeaves { at, target });
                }
            }
        }
    }
    Ok(())
}

fn write_all(
    store: &Store,
    out: &mut dyn Write,
    prefix: &RelPath,
    top: &Folder,
    seconds: u64,
) -> Result<(), ArchiveError> {
    let mut above = String::new();
    for part in prefix.parts() {
        above.push_str(part);
        tar::header(out, &above, tar::Kind::Folder, seconds).map_err(failed)?;
        above.push('/');
    }
    write_folder(store, out, prefix, top, seconds)?;
    tar::end(out).map_err(failed)
}

fn write_folder(
    store: &Store,
    out: &mut dyn Write,
    at: &RelPath,
    folder: &Folder,
    seconds: u64,
) -> Result<(), ArchiveError> {
    for (name, entry) in &folder.entries {
        let path = at.child(name);
        let text = path.as_str();
        match entry {
            Entry::Folder(below) => {
                tar::header(out, text, tar::Kind::Folder, seconds).map_err(failed)?;
                write_folder(store, out, &path, below, seconds)?;
            }
            Entry::Link { target, .. } => {
                tar::header(out, text, tar::Kind::Link { target }, seconds).map_err(failed)?;
            }
            Entry::File { blob, executable } => {
                let kind = tar::Kind::File { size: blob.size, executable: *executable };
                tar::header(out, text, kind, seconds).map_err(failed)?;
                store.stream(blob, &mut |bytes| out.write_all(bytes).map_err(failed))?;
                tar::pad(out, blob.size).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Gives back the store's own error where a writer wrapped one, so that a full disk stays one.
fn failed(error: io::Error) -> ArchiveError {
    match error.downcast::<store::Error>() {
        Ok(inner) => ArchiveError::Store(inner),
        Err(error) => ArchiveError::Write(error),
    }
}
