//! Hashes an artifact from the descriptor that was handed over, and compares with what was claimed.
//!
//! The attestor hashes for itself: between capture and signing nobody can slip other bytes in
//! (S-J03). It reads from offset 0 whatever the descriptor's own offset is.
//!
//! A file's own size is compared before a byte is read. For a user who shares the attestor with others it reads only
//! while somebody waits for the answer, and not without end: it has so few readers.
//!
//! Does not catch: bytes that change after they were hashed; the digest is what is signed. Nor a file system of the
//! kernel's whose reads never return, as of an overlay above FUSE, which cannot be told from a container's: it holds its
//! user's connections for that long.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use model::digest::{Blob, Hasher};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

/// File systems whose reads a user decides about, and so how long they take. Source: statfs(2).
const SERVED_BY_USERS: [u64; 2] = [0x6573_5546, 0x9fa0];

/// Bytes read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Longest that the subjects of one request are read for, whatever its Order allows: some hundred GiB.
const READING_SECONDS: u64 = 600;

/// For whom subjects are read, and until when.
pub(super) struct Wait<'a> {
    peer: BorrowedFd<'a>,
    until: Instant,
}

impl<'a> Wait<'a> {
    /// Begins to read for a peer whose Order has some `seconds` left.
    pub(super) fn new(peer: BorrowedFd<'a>, seconds: i64) -> Wait<'a> {
        let seconds = u64::try_from(seconds).unwrap_or(0).clamp(1, READING_SECONDS);
        Wait { peer, until: Instant::now() + Duration::from_secs(seconds) }
    }

    /// Says whether to stop, and why.
    fn is_over(&self) -> Option<&'static str> {
        let mut sockets = [PollFd::new(&self.peer, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = PollFlags::HUP | PollFlags::ERR;
        match rustix::event::poll(&mut sockets, Some(&at_once)) {
            Ok(1..) if sockets[0].revents().intersects(gone) => Some("whoever asked is gone"),
            _ if Instant::now() >= self.until => Some("its time is over"),
            _ => None,
        }
    }
}

/// Why a subject is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum SubjectError {
    #[error("{claimed} subjects are claimed and {came} descriptors came")]
    Count { claimed: usize, came: usize },
    #[error("look at subject {index}")]
    Look {
        index: usize,
        #[source]
        source: Errno,
    },
    #[error("subject {index} is no regular file opened for reading only")]
    Kind { index: usize },
    #[error("subject {index} lies on a file system that a user serves (FUSE) or in /proc")]
    Served { index: usize },
    #[error(
        "subject {index} is not what was claimed: expected {claimed} bytes, its file has {got}"
    )]
    Size { index: usize, claimed: u64, got: u64 },
    #[error("subject {index} was not read to its end: {why}")]
    Over { index: usize, why: &'static str },
    #[error("read subject {index}")]
    Read {
        index: usize,
        #[source]
        source: Errno,
    },
    #[error(
        "subject {index} is not what was claimed: expected {} of {} bytes, got {} of {} bytes",
        claimed.digest, claimed.size, got.digest, got.size
    )]
    Differs { index: usize, claimed: Blob, got: Blob },
}

/// Checks that the descriptors hold exactly the claimed bytes, in the claimed order.
pub(super) fn check(
    claimed: &[Blob],
    descriptors: &[OwnedFd],
    wait: Option<&Wait<'_>>,
) -> Result<(), SubjectError> {
    if claimed.len() != descriptors.len() {
        return Err(SubjectError::Count { claimed: claimed.len(), came: descriptors.len() });
    }
    for (index, (claimed, descriptor)) in claimed.iter().zip(descriptors).enumerate() {
        let got = hash(index, descriptor, claimed.size, wait)?;
        if got != *claimed {
            return Err(SubjectError::Differs { index, claimed: *claimed, got });
        }
    }
    Ok(())
}

/// Refuses files that could keep the reader waiting for ever: on a socket, others wait behind it.
pub(super) fn check_places(descriptors: &[OwnedFd]) -> Result<(), SubjectError> {
    for (index, descriptor) in descriptors.iter().enumerate() {
        let found = rustix::fs::fstatfs(descriptor)
            .map_err(|source| SubjectError::Look { index, source })?;
        let kind = u64::try_from(found.f_type).unwrap_or_default();
        if SERVED_BY_USERS.contains(&kind) {
            return Err(SubjectError::Served { index });
        }
    }
    Ok(())
}

/// Hashes one file; stops one piece after the claimed size, since it differs then in any case.
fn hash(
    index: usize,
    descriptor: &OwnedFd,
    claimed_size: u64,
    wait: Option<&Wait<'_>>,
) -> Result<Blob, SubjectError> {
    let look = |source| SubjectError::Look { index, source };
    let stat = rustix::fs::fstat(descriptor).map_err(look)?;
    let flags = rustix::fs::fcntl_getfl(descriptor).map_err(look)?;
    let read_only = flags & OFlags::RWMODE == OFlags::RDONLY && !flags.contains(OFlags::PATH);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !read_only {
        return Err(SubjectError::Kind { index });
    }
    let got = u64::try_from(stat.st_size).unwrap_or_default();
    if got != claimed_size {
        return Err(SubjectError::Size { index, claimed: claimed_size, got });
    }
    let mut hasher = Hasher::new();
    let mut piece = vec![0_u8; PIECE_BYTES];
    let mut offset = 0_u64;
    while offset <= claimed_size {
        if let Some(why) = wait.and_then(Wait::is_over) {
            return Err(SubjectError::Over { index, why });
        }
        match rustix::io::pread(descriptor.as_fd(), &mut piece, offset) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&piece[..count]);
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(source) => return Err(SubjectError::Read { index, source }),
        }
    }
    Ok(hasher.finish())
}
