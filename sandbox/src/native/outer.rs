//! The user on the host that a step runs as, when kiln itself runs as root.
//!
//! Never root and never the shared "nobody": a high id that no account has. Inside it shows as 1000:1000, as in
//! rootless mode, where the outer id is the user's own.
//!
//! What the kernel counts by user (pipe pages, descriptors on their way, inotify instances) is one account for
//! all steps of one id. So each running step has a slot: an id that no other one has meanwhile. A slot is a lock
//! on a file that only root can open; the first process of the step holds it too, so it is free when both that
//! and the build process are gone. Checkouts belong to root then, and their mounts show them as the step's
//! (`MOUNT_ATTR_IDMAP` of mount_setattr(2)).
//!
//! Where the kernel or a file system refuses such mounts, checkouts are given to one fixed id and all steps run
//! as that one. Which of the two it is follows from who owns the checkout, and whoever makes one asks
//! `probe_in` first.
//!
//! ```text
//! /run/kiln-users/4026600000      locked while a step runs as this id
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, mkdir, open, openat};
use serde::{Deserialize, Serialize};

use super::error::{Doing, Failure, Naming};
use crate::id_map::{holds, ranges};

/// The fixed id, if the host maps it: beyond what distributions and container engines hand out.
const PREFERRED: u32 = 1_879_100_000;
/// "nobody", which other services share.
const NOBODY: u32 = 65_534;
/// The first id of the first block of slots: above those of confined steps.
const FIRST_SLOT: u32 = 4_026_600_000;
/// How many steps of one pid namespace can run at once.
const SLOTS: u32 = 2048;
/// How many blocks there are: a pid namespace has one of its own, so that containers do not share ids.
const BLOCKS: u64 = 1 << 16;
/// Where the locks are.
const LOCKS: &str = "/run/kiln-users";

/// Who a step is on the host, where kiln is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outer {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The owner, on the disk, of what it is given, which its mounts show as its own; none where that is
    /// its own already.
    pub shown: Option<(u32, u32)>,
}

/// Decides who a step is that gets `given`: of a slot, unless that belongs to the fixed id. Returns the slot's
/// lock with it.
pub fn assign(given: Option<&Path>) -> Result<(Option<Outer>, Option<OwnedFd>), Failure> {
    let Some((uid, gid)) = outer_owner() else { return Ok((None, None)) };
    let owner = match given {
        Some(path) => {
            let seen =
                fs::symlink_metadata(path).or_fail(Doing::OpenSource, &path.to_string_lossy())?;
            (seen.uid(), seen.gid())
        }
        None => (uid, gid),
    };
    if owner == (uid, gid) {
        return Ok((Some(Outer { uid, gid, shown: None }), None));
    }
    let (slot, lock) = take().or_fail(Doing::OwnUser, LOCKS)?;
    Ok((Some(Outer { uid: slot, gid: slot, shown: Some(owner) }), Some(lock)))
}

/// User namespaces that show one owner as another, by both: each is made by the first step that needs it, and
/// belongs to no process.
static SHOWING: Mutex<BTreeMap<Shows, Arc<OwnedFd>>> = Mutex::new(BTreeMap::new());
/// How many of them are kept; each is a descriptor. More steps than this at once make their own.
const SHOWING_MAX: usize = 64;
/// The owner on the disk, and as whom it is shown.
type Shows = ((u32, u32), (u32, u32));

impl Outer {
    fn shows(&self) -> Option<Shows> {
        self.shown.map(|owner| (owner, (self.uid, self.gid)))
    }

    /// Returns the user namespace that shows what this step is given as its own, if an earlier step made it.
    pub fn showing(&self) -> Option<Arc<OwnedFd>> {
        let kept = SHOWING.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&self.shows()?).map(Arc::clone)
    }

    /// Keeps that namespace for later steps.
    pub fn keep(&self, made: OwnedFd) {
        let mut kept = SHOWING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shows) = self.shows().filter(|_| kept.len() < SHOWING_MAX) {
            kept.insert(shows, Arc::new(made));
        }
    }
}

/// Takes the lowest slot that is free, so that a step alone always is the same user.
fn take() -> io::Result<(u32, OwnedFd)> {
    let block = u32::try_from(fs::metadata("/proc/self/ns/pid")?.ino() % BLOCKS).unwrap_or(0);
    let first = FIRST_SLOT + block * SLOTS;
    for map in ["uid_map", "gid_map"] {
        if !holds(&fs::read_to_string(format!("/proc/self/{map}"))?, first, SLOTS) {
            return Err(io::ErrorKind::Unsupported.into());
        }
    }
    let folder = locks()?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for slot in first..first + SLOTS {
        let lock = openat(&folder, slot.to_string(), flags, Mode::RUSR | Mode::WUSR)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok((slot, lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

fn locks() -> io::Result<OwnedFd> {
    match mkdir(LOCKS, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(cause) => return Err(cause.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(LOCKS, flags, Mode::empty())?;
    let seen = fstat(&folder)?;
    if seen.st_uid == 0 && seen.st_mode & 0o077 == 0 {
        Ok(folder)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Returns the fixed id; none where kiln is an ordinary user, or root over no other id, and the owner is
/// that user.
pub fn outer_owner() -> Option<(u32, u32)> {
    static OWNER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *OWNER.get_or_init(|| {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let uid = pick(&fs::read_to_string("/proc/self/uid_map").ok()?)?;
        let gid = pick(&fs::read_to_string("/proc/self/gid_map").ok()?)?;
        Some((uid, gid))
    })
}

/// Picks an id out of a map: the preferred one, else the highest that is neither 0 nor "nobody".
fn pick(map: &str) -> Option<u32> {
    if holds(map, PREFERRED, 1) {
        return Some(PREFERRED);
    }
    let highest = ranges(map).map(|(_, last)| last).max()?;
    let highest = u32::try_from(highest).unwrap_or(u32::MAX - 1);
    [highest, highest.checked_sub(1)?]
        .into_iter()
        .find(|id| *id != 0 && *id != NOBODY && holds(map, *id, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_id_is_never_root_or_nobody() {
        for (map, want) in [
            ("         0          0 4294967295\n", Some(PREFERRED)),
            ("0 100000 65536\n", Some(65_535)),
            ("0 100000 65535\n", Some(65_533)),
            ("0 1000 1\n", None),
            ("0 1000 1\n1 100000 1000\n", Some(1000)),
            ("", None),
        ] {
            assert_eq!(pick(map), want, "{map:?}");
        }
    }

    #[test]
    fn every_block_of_slots_lies_among_the_ids_there_are() {
        let last = u64::from(FIRST_SLOT) + BLOCKS * u64::from(SLOTS);
        assert!(last < u64::from(u32::MAX));
    }
}
