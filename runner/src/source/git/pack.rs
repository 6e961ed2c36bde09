//! Reads objects out of pack files: index version 2, offset and reference deltas.
//!
//! Index and pack are read with positioned reads of the few bytes needed; they are never mapped,
//! since another process may cut them short.
//!
//! Source: gitformat-pack(5).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;

use super::delta;
use super::error::GitError;
use super::id::{GitFormat, GitId, ObjectKind};
use super::object::{OBJECT_BYTES_MAX, Object};
use super::repository::open_file;

/// Longest chain of deltas that is followed; git writes at most 4095.
const DELTAS_MAX: usize = 4095;

/// One pack with its index.
#[derive(Debug)]
pub(super) struct Pack {
    index_path: PathBuf,
    index: File,
    pack: File,
    format: GitFormat,
    /// How many names start with a byte up to and including the position.
    fanout: Vec<u32>,
}

/// One entry as stored: an object, or a delta with the place of its base.
enum Stored {
    Whole(ObjectKind),
    DeltaOf(u64),
}

impl Pack {
    /// Opens every pack of the object folders.
    pub(super) fn open_all(folders: &[PathBuf], format: GitFormat) -> Result<Vec<Pack>, GitError> {
        let mut packs = Vec::new();
        for folder in folders {
            let folder = folder.join("pack");
            let listing = match std::fs::read_dir(&folder) {
                Ok(listing) => listing,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(GitError::Read { path: folder, source }),
            };
            for entry in listing {
                let path =
                    entry.map_err(|source| GitError::Read { path: folder.clone(), source })?.path();
                if path.extension().is_some_and(|extension| extension == "idx") {
                    packs.extend(Pack::open(&path, format)?);
                }
            }
        }
        Ok(packs)
    }

    /// Opens one pack; one that `git gc` has just removed is none.
    fn open(path: &Path, format: GitFormat) -> Result<Option<Pack>, GitError> {
        let Some(index) = open_file(path)? else { return Ok(None) };
        let Some(pack) = open_file(&path.with_extension("pack"))? else { return Ok(None) };
        let mut header = [0_u8; 8 + 1024];
        let damaged = |what| GitError::Damaged { path: path.to_owned(), what };
        index.read_exact_at(&mut header, 0).map_err(|_| damaged("it is cut short"))?;
        if header[..8] != *b"\xfftOc\0\0\0\x02" {
            return Err(GitError::Unsupported {
                path: path.to_owned(),
                feature: "a pack index that is not of version 2",
                remedy: "git repack -a -d",
            });
        }
        let fanout: Vec<u32> =
            header[8..].chunks_exact(4).map(|four| be32(four).unwrap_or_default()).collect();
        if !fanout.is_sorted() {
            return Err(damaged("its fan-out table is not sorted"));
        }
        Ok(Some(Pack { index_path: path.to_owned(), index, pack, format, fanout }))
    }

    /// Returns the place of an object in the pack, if it is there.
    pub(super) fn find(&self, id: &GitId) -> Result<Option<u64>, GitError> {
        let raw = id.as_bytes();
        let first = usize::from(raw[0]);
        let mut low = if first == 0 { 0 } else { u64::from(self.fanout[first - 1]) };
        let mut high = u64::from(self.fanout[first]);
        let names = 8 + 1024;
        let mut name = [0_u8; 32];
        let name = &mut name[..raw.len()];
        while low < high {
            let middle = low + (high - low) / 2;
            self.index_bytes(name, names + middle * raw.len() as u64)?;
            match (*name).cmp(raw) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.offset(middle).map(Some),
            }
        }
        Ok(None)
    }

    fn offset(&self, position: u64) -> Result<u64, GitError> {
        let count = u64::from(self.fanout[255]);
        let offsets = 8 + 1024 + count * (self.format.raw_len() as u64 + 4);
        let mut four = [0_u8; 4];
        self.index_bytes(&mut four, offsets + position * 4)?;
        let short = u32::from_be_bytes(four);
        if short >> 31 == 0 {
            return Ok(u64::from(short));
        }
        let mut eight = [0_u8; 8];
        let long = offsets + count * 4 + u64::from(short & 0x7fff_ffff) * 8;
        self.index_bytes(&mut eight, long)?;
        Ok(u64::from_be_bytes(eight))
    }

    fn index_bytes(&self, into: &mut [u8], at: u64) -> Result<(), GitError> {
        self.index
            .read_exact_at(into, at)
            .map_err(|source| GitError::Read { path: self.index_path.clone(), source })
    }

    /// Returns the object stored at `offset`, its deltas applied; none if it is malformed.
    pub(super) fn read(&self, offset: u64) -> Result<Option<Object>, GitError> {
        let mut deltas = Vec::new();
        let mut at = offset;
        let (kind, mut content) = loop {
            let Some((stored, bytes)) = self.entry(at)? else { return Ok(None) };
            match stored {
                Stored::Whole(kind) => break (kind, bytes),
                Stored::DeltaOf(base) => {
                    if deltas.len() == DELTAS_MAX {
                        return Ok(None);
                    }
                    deltas.push(bytes);
                    at = base;
                }
            }
        };
        for delta in deltas.iter().rev() {
            match delta::apply(&content, delta, OBJECT_BYTES_MAX) {
                Some(result) => content = result,
                None => return Ok(None),
            }
        }
        Ok(Some((kind, content)))
    }

    fn entry(&self, offset: u64) -> Result<Option<(Stored, Vec<u8>)>, GitError> {
        let mut header = [0_u8; 64];
        let got = self
            .pack
            .read_at(&mut header, offset)
            .map_err(|source| GitError::Read { path: self.pack_path(), source })?;
        let Some((code, size, used)) = type_and_size(&header[..got]) else { return Ok(None) };
        let rest = &header[used..got];
        let (stored, more) = match code {
            1 => (Stored::Whole(ObjectKind::Commit), 0),
            2 => (Stored::Whole(ObjectKind::Tree), 0),
            3 => (Stored::Whole(ObjectKind::Blob), 0),
            4 => (Stored::Whole(ObjectKind::Tag), 0),
            6 => match distance(rest) {
                Some((back, len)) if back > 0 && back < offset => {
                    (Stored::DeltaOf(offset - back), len)
                }
                _ => return Ok(None),
            },
            7 => {
                let Some(base) = self.format.raw(rest) else { return Ok(None) };
                let Some(place) = self.find(&base)? else { return Ok(None) };
                (Stored::DeltaOf(place), self.format.raw_len())
            }
            _ => return Ok(None),
        };
        let bytes = self.inflate(offset + (used + more) as u64, size);
        Ok(bytes.map(|bytes| (stored, bytes)))
    }

    fn inflate(&self, at: u64, size: usize) -> Option<Vec<u8>> {
        if size > OBJECT_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(size);
        let compressed = BufReader::new(At { file: &self.pack, at });
        ZlibDecoder::new(compressed).take(size as u64 + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() == size).then_some(bytes)
    }

    fn pack_path(&self) -> PathBuf {
        self.index_path.with_extension("pack")
    }
}

/// Reads a file from a place on, without moving its shared position.
struct At<'file> {
    file: &'file File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(into, self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

fn be32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// Returns the type, the inflated size in bytes, and the length of this header.
fn type_and_size(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let first = *bytes.first()?;
    let mut size = usize::from(first & 15);
    let mut shift = 4;
    let mut used = 1;
    let mut byte = first;
    while byte & 0x80 != 0 {
        byte = *bytes.get(used)?;
        if shift > usize::BITS - 8 {
            return None;
        }
        size |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        used += 1;
    }
    Some((first >> 4 & 7, size, used))
}

/// Returns how far back the base lies, in bytes, and the length of this number.
fn distance(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut byte = *bytes.first()?;
    let mut back = u64::from(byte & 0x7f);
    let mut used = 1;
    while byte & 0x80 != 0 {
        byte = *bytes.get(used)?;
        back = back.checked_add(1)?.checked_mul(128)? | u64::from(byte & 0x7f);
        used += 1;
    }
    Some((back, used))
}
