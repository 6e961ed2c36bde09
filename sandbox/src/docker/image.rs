//! An environment as the tar stream that an engine takes as an image.
//!
//! The image is made from the checkout that the native sandbox mounts, so a step finds the same
//! files in both. Every entry has one owner and one time, as a step sees them on the native backend;
//! names are sorted, so the same tree gives the same stream. kiln's own folders are in it, since the
//! engine would otherwise make them with the time of now.
//!
//! The tag names the tree's digest. It never leaves the engine's own list: nothing is pushed and
//! nothing pulled.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::Digest;
use tar::{Builder, EntryType, Header};

use super::USER;
use crate::native::setup::OWN;

/// The name of every image of kiln's.
const REPOSITORY: &str = "kiln-root";

/// Returns the name and tag of a tree's image. Podman would put a registry's host before it.
pub fn reference(tree: &Digest, podman: bool) -> String {
    let host = if podman { "localhost/" } else { "" };
    format!("{host}{REPOSITORY}:{}", tree.hex())
}

/// Writes the image of the environment at `root`.
///
/// # Errors
/// What cannot be read, or is neither folder, file nor symlink.
pub fn write(root: &Path, out: impl Write) -> io::Result<()> {
    let mut tar = Builder::new(out);
    tar.append_data(&mut header(EntryType::Directory, 0o755, 0), "./", io::empty())?;
    for name in OWN {
        let mode = if name == "tmp" { 0o1777 } else { 0o755 };
        tar.append_data(&mut header(EntryType::Directory, mode, 0), name, io::empty())?;
    }
    let mut open: Vec<PathBuf> = children(root, Path::new(""))?;
    open.retain(|path| !OWN.iter().any(|name| path == Path::new(name)));
    open.reverse();
    while let Some(path) = open.pop() {
        let host = root.join(&path);
        let found = host.symlink_metadata()?;
        if found.is_dir() {
            let mode = found.mode() & 0o777;
            tar.append_data(&mut header(EntryType::Directory, mode, 0), &path, io::empty())?;
            open.extend(children(root, &path)?.into_iter().rev());
        } else if found.is_file() {
            let mut header = header(EntryType::Regular, found.mode() & 0o777, found.len());
            tar.append_data(&mut header, &path, std::fs::File::open(&host)?)?;
        } else if found.is_symlink() {
            let text = std::fs::read_link(&host)?;
            tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), &path, text)?;
        } else {
            return Err(io::ErrorKind::InvalidInput.into());
        }
    }
    tar.into_inner()?.flush()
}

fn children(root: &Path, below: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join(below))? {
        names.push(entry?.file_name());
    }
    names.sort_by(|left, right| left.as_bytes().cmp(right.as_bytes()));
    Ok(names.into_iter().map(|name| below.join(name)).collect())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(USER.into());
    header.set_gid(USER.into());
    header.set_mtime(model::T0_SECONDS.unsigned_abs());
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_has_one_owner_one_time_and_sorted_names() {
        let top = tempfile::tempdir().expect("a folder");
        for folder in ["usr/bin", "proc/leftover"] {
            std::fs::create_dir_all(top.path().join(folder)).expect("a folder");
        }
        std::fs::File::create(top.path().join("usr/bin/b")).expect("a file");
        std::fs::File::create(top.path().join("usr/bin/a")).expect("a file");
        std::os::unix::fs::symlink("usr/bin", top.path().join("bin")).expect("a link");
        let mut bytes = Vec::new();
        write(top.path(), &mut bytes).expect("a stream");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut names = Vec::new();
        for entry in archive.entries().expect("entries") {
            let entry = entry.expect("an entry");
            let header = entry.header();
            assert_eq!(header.uid().expect("a uid"), 1000);
            assert_eq!(header.gid().expect("a gid"), 1000);
            assert_eq!(header.mtime().expect("a time"), 318_211_200);
            names.push(entry.path().expect("a path").display().to_string());
        }
        let own = ["./", "build", "dev", "kiln", "proc", "tmp"];
        let rest = ["bin", "usr", "usr/bin", "usr/bin/a", "usr/bin/b"];
        assert_eq!(names, [&own[..], &rest[..]].concat());
    }
}
