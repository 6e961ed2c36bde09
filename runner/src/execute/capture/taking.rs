//! What all outputs and reports of one step share: the budget, the inodes that were read, the button.
//!
//! A step decides how many outputs it fills, so what is bounded for each alone is not bounded. And it
//! decides how many names a file has, so an inode is read once, whatever leads to it.
//!
//! Before bytes are taken they are held against what is free of the store's disk: of that a part is kept,
//! as it is from a running step. The first [`UNASKED`] bytes of a step are taken without a look, so that
//! a host with little room can still build small things, as it can keep their logs and results.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Blob, RelPath};
use rustix::fs::Stat;
use sandbox::Cancel;

use super::Caps;
use super::error::{CaptureError, storing};
use crate::store::{self, Store};

/// Bytes that a step's outputs may have without a look at the disk.
const UNASKED: u64 = 16 << 20;
/// Bytes that are taken between two looks: others fill the disk meanwhile.
const GRANT: u64 = 16 << 20;
/// What a file takes of the disk besides its bytes.
const FILE_BYTES: u64 = 4096;
/// A file of this size is remembered although it has one name: two outputs may hold it.
const REMEMBERED: u64 = 1 << 20;
/// Unit of `st_blocks`, stat(2).
const BLOCK_BYTES: u64 = 512;

/// A step's outputs on their way into the store.
#[derive(Debug)]
pub struct Taking<'a> {
    pub(super) store: &'a Store,
    pub(super) caps: Caps,
    cancel: &'a Cancel,
    spent: Mutex<Spent>,
}

#[derive(Debug)]
struct Spent {
    holes: u64,
    /// Bytes that may be taken before the next look at the disk.
    granted: u64,
    /// Files that may come again, and their bytes once they were read.
    inodes: HashMap<Inode, Option<Blob>>,
}

/// Which file a name leads to. Nobody is left who could put another one there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    device: u64,
    number: u64,
    size: u64,
}

impl<'a> Taking<'a> {
    /// Begins, with nothing taken.
    pub fn begin(store: &'a Store, cancel: &'a Cancel, caps: Caps) -> Taking<'a> {
        let spent = Spent { holes: 0, granted: UNASKED, inodes: HashMap::new() };
        Taking { store, caps, cancel, spent: Mutex::new(spent) }
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses to go on once the button was pressed.
    pub(super) fn go_on(&self) -> Result<(), CaptureError> {
        if self.cancel.is_triggered() { Err(CaptureError::Cancelled) } else { Ok(()) }
    }

    /// Counts the holes of a file, once for each inode.
    pub(super) fn count_holes(&self, at: &RelPath, stat: &Stat) -> Result<(), CaptureError> {
        let mut spent = self.spent();
        if let Some(inode) = Inode::of(stat) {
            match spent.inodes.entry(inode) {
                Entry::Occupied(_) => return Ok(()),
                Entry::Vacant(place) => place.insert(None),
            };
        }
        let held = stat.st_blocks.cast_unsigned().saturating_mul(BLOCK_BYTES);
        let holes = stat.st_size.cast_unsigned().saturating_sub(held);
        spent.holes = spent.holes.saturating_add(holes);
        if spent.holes > self.caps.holes.0 {
            return Err(CaptureError::TooHollow { at: at.clone(), cap: self.caps.holes });
        }
        Ok(())
    }

    /// Returns the bytes of a file that was read under another name.
    pub(super) fn known(&self, stat: &Stat) -> Option<Blob> {
        self.spent().inodes.get(&Inode::of(stat)?).copied().flatten()
    }

    /// Reads a file into the store, as long as nobody presses the button and the disk has room.
    pub(super) fn import(
        &self,
        file: impl AsFd,
        stat: &Stat,
        at: &RelPath,
    ) -> Result<Blob, CaptureError> {
        self.go_on()?;
        self.reserve(FILE_BYTES, at)?;
        let mut why = None;
        let imported = self.store.import_file(file, &mut |piece| {
            let asked = self.go_on().and_then(|()| self.reserve(piece.len() as u64, at));
            asked.map_err(|error| {
                why = Some(error);
                store::Error::Stopped
            })
        });
        let blob = match why {
            Some(error) => return Err(error),
            None => imported.map_err(storing(at))?,
        };
        if let Some(inode) = Inode::of(stat) {
            self.spent().inodes.insert(inode, Some(blob));
        }
        Ok(blob)
    }

    /// Takes bytes from what is free of the disk, and leaves its reserve.
    fn reserve(&self, bytes: u64, at: &RelPath) -> Result<(), CaptureError> {
        let mut spent = self.spent();
        if bytes > spent.granted {
            spent.granted = self.store.free().map_err(storing(at))?.min(GRANT);
        }
        match spent.granted.checked_sub(bytes) {
            Some(left) => spent.granted = left,
            None => return Err(CaptureError::HostFull { at: at.clone() }),
        }
        Ok(())
    }
}

impl Inode {
    /// Returns the inode of a file that may come again; none for a small one with a single name.
    pub(super) fn of(stat: &Stat) -> Option<Inode> {
        let size = stat.st_size.cast_unsigned();
        let again = stat.st_nlink > 1 || size >= REMEMBERED;
        again.then_some(Inode { device: stat.st_dev, number: stat.st_ino, size })
    }
}
