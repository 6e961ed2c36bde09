//! Who may connect at all: nobody whom the table gives nothing to ask for. The kernel is told so, by an access
//! list on the socket's name.
//!
//! To be refused is not enough to be harmless. What a peer puts into a connection is the attestor's to let go of,
//! read or not: a descriptor whose last holder the kernel keeps waiting, for as long as whoever made it likes.
//!
//! Does not catch: who has a listed group only beside its own, and whomever a service manager's socket admits. They
//! are told that they have no role; `watch` says what they can do.
//!
//! Source: acl(5); the kernel's `posix_acl_xattr.h`.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, XattrFlags};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use crate::access::Access;

/// Under which name a file has its access list.
const LIST: &str = "system.posix_acl_access";
/// The version of the format.
const VERSION: u32 = 2;
/// To connect takes what to write takes; some programs ask whether they may read as well.
const MAY: u16 = 6;
/// The number of an entry that is for nobody in particular.
const NOBODY: u32 = u32::MAX;

/// The kinds of entries, in the order in which the kernel wants them.
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Why nobody is let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdmitError {
    #[error("give the socket {} a list of who may connect", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("look who may connect to the socket that was handed over")]
    Look(#[source] Errno),
    #[error("everybody on this host may connect to the socket that was handed over, {place}")]
    Everybody { place: String },
}

/// Lets those connect who are listed, and nobody else. The name must be this process's own, and closed so far.
pub(super) fn admit(path: &Path, access: &Access) -> Result<(), AdmitError> {
    rustix::fs::lsetxattr(path, LIST, &list(access), XattrFlags::empty())
        .map_err(|source| AdmitError::List { path: path.to_owned(), source })
}

fn list(access: &Access) -> Vec<u8> {
    let of = |kind, may, number: u32| (kind, may, number);
    let mut entries = vec![of(OWNER, MAY, NOBODY)];
    entries.extend(access.users().map(|uid| of(USER, MAY, uid)));
    entries.push(of(OWNING_GROUP, 0, NOBODY));
    entries.extend(access.groups().map(|gid| of(GROUP, MAY, gid)));
    entries.extend([of(MASK, MAY, NOBODY), of(OTHER, 0, NOBODY)]);
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (kind, may, number) in entries {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(may.to_le_bytes());
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// Checks that a socket that was handed over does not admit everybody: who may connect is the service manager's.
pub(super) fn check(listener: impl AsFd) -> Result<(), AdmitError> {
    let address = rustix::net::getsockname(listener).map_err(AdmitError::Look)?;
    let address = SocketAddrUnix::try_from(address).map_err(AdmitError::Look)?;
    let Some(path) = address.path() else {
        return Err(AdmitError::Everybody { place: "which has no path".to_owned() });
    };
    let found = rustix::fs::lstat(path.as_ref()).map_err(AdmitError::Look)?;
    match Mode::from_raw_mode(found.st_mode).contains(Mode::WOTH) {
        true => Err(AdmitError::Everybody { place: model::text::escape(path.as_ref().to_bytes()) }),
        false => Ok(()),
    }
}
