//! The bytes of a tar, header by header.
//!
//! ustar, and a pax extended header before an entry only where ustar has no room: a path over 100
//! bytes that does not split, a link target over 100 bytes, a size from 8 GiB on. Numbers are octal
//! with a final NUL; the two device fields are zero.
//!
//! Spec: POSIX.1-2008 pax, "ustar Interchange Format" and "pax Extended Header".

use std::io::{self, Write};

use tar::{EntryType, Header};

/// The unit of a tar, in bytes.
const BLOCK: usize = 512;
/// Room for a name and for a link target in a ustar header, in bytes.
const NAME_BYTES: usize = 100;
/// Room for the part of a path before the name, in bytes.
const PREFIX_BYTES: usize = 155;
/// First size that 11 octal digits cannot express.
const SIZE_LIMIT: u64 = 1 << 33;

/// What an entry is, without its content.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'a> {
    Folder,
    File { size: u64, executable: bool },
    Link { target: &'a str },
}

/// Writes the header of an entry, with a pax header before it if it needs one.
pub(super) fn header(
    out: &mut dyn Write,
    path: &str,
    kind: Kind<'_>,
    seconds: u64,
) -> io::Result<()> {
    let path = match kind {
        Kind::Folder => format!("{path}/"),
        Kind::File { .. } | Kind::Link { .. } => path.to_owned(),
    };
    let size = match kind {
        Kind::File { size, .. } => size,
        Kind::Folder | Kind::Link { .. } => 0,
    };
    let target = match kind {
        Kind::Link { target } => target,
        Kind::Folder | Kind::File { .. } => "",
    };
    let split = split(&path);
    let mut extended = Vec::new();
    if target.len() > NAME_BYTES {
        extended.extend(pax_record("linkpath", target));
    }
    if split.is_none() {
        extended.extend(pax_record("path", &path));
    }
    if size >= SIZE_LIMIT {
        extended.extend(pax_record("size", &size.to_string()));
    }
    if !extended.is_empty() {
        let length = extended.len() as u64;
        let plain = blank(EntryType::XHeader, 0o644, length, seconds);
        finish(out, plain, ("", "pax-header"), "")?;
        out.write_all(&extended)?;
        pad(out, length)?;
    }
    let (entry_type, mode) = match kind {
        Kind::Folder => (EntryType::Directory, 0o755),
        Kind::File { executable: true, .. } => (EntryType::Regular, 0o755),
        Kind::File { executable: false, .. } => (EntryType::Regular, 0o644),
        Kind::Link { .. } => (EntryType::Symlink, 0o777),
    };
    let shown_size = if size >= SIZE_LIMIT { 0 } else { size };
    let plain = blank(entry_type, mode, shown_size, seconds);
    finish(out, plain, split.unwrap_or(("", "long-path")), target)
}

/// Fills the last block of an entry's content.
pub(super) fn pad(out: &mut dyn Write, size: u64) -> io::Result<()> {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if over == 0 { Ok(()) } else { out.write_all(&[0; BLOCK][over..]) }
}

/// Writes the end of the archive: two blocks of zeros.
pub(super) fn end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn blank(entry_type: EntryType, mode: u32, size: u64, seconds: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(seconds);
    header
}

fn finish(
    out: &mut dyn Write,
    mut header: Header,
    (prefix, name): (&str, &str),
    target: &str,
) -> io::Result<()> {
    if let Some(ustar) = header.as_ustar_mut() {
        fill(&mut ustar.prefix, prefix);
        fill(&mut ustar.name, name);
        fill(&mut ustar.linkname, if target.len() > NAME_BYTES { "" } else { target });
        ustar.dev_major = *b"0000000\0";
        ustar.dev_minor = *b"0000000\0";
    }
    header.set_cksum();
    out.write_all(header.as_bytes())
}

fn fill(field: &mut [u8], text: &str) {
    field[..text.len()].copy_from_slice(text.as_bytes());
}

/// Splits a path into the two fields of ustar, at the first slash that leaves room for the rest.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME_BYTES {
        return Some(("", path));
    }
    path.match_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..])).find(|(prefix, name)| {
        prefix.len() <= PREFIX_BYTES && !name.is_empty() && name.len() <= NAME_BYTES
    })
}

/// Returns `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pax_record_counts_itself() {
        assert_eq!(pax_record("path", "ab"), b"11 path=ab\n");
        for size in 80..120 {
            let record = pax_record("path", &"x".repeat(size));
            let said: usize =
                std::str::from_utf8(&record).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, record.len());
        }
    }

    #[test]
    fn long_paths_split_where_ustar_has_room() {
        let path = format!("{}/{}", "p".repeat(155), "n".repeat(100));
        assert!(split(&path).is_some());
        assert!(split(&format!("{path}n")).is_none());
        assert!(split(&"n".repeat(101)).is_none());
        assert_eq!(split("a/b"), Some(("", "a/b")));
    }
}
