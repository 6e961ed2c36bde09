//! Slots: for each running step one user and one folder, locked while it runs.
//!
//! ```text
//! SLOTS/slot-07/            0700, root's
//! ├── root-HEX/             the prepared root of the environment HEX, see `root.rs`
//! └── seal-HEX              what that root looked like when it was prepared
//! ```
//!
//! A slot is locked twice. The user's number belongs to the whole container, whatever store is used, so
//! it is locked by a name that the kernel keeps for it (an abstract socket, never listened on) and gives
//! back when its holder dies. The folder may be shared with another container, so it is locked as a file.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, mkdirat, open, openat, statat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use super::users::{SLOTS, Users};
use crate::error::Error;
use crate::native::error::{Doing, Failure, Naming};
use crate::native::run::explain;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where the slots are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// A folder of kiln's own, readable by nobody else. It is made when it is needed.
    pub folder: PathBuf,
}

/// One slot in use.
#[derive(Debug)]
pub struct Slot {
    /// Who runs in it.
    pub users: Users,
    /// Its folder.
    pub folder: OwnedFd,
    _name: OwnedFd,
}

/// Takes a free slot, one that holds `wanted` already if there is one.
pub fn take(slots: &Slots, wanted: &str) -> Result<Slot, Error> {
    let operand = slots.folder.to_string_lossy();
    let top = open_top(slots).or_fail(Doing::PreparedRoot, &operand).map_err(explain)?;
    let holds = |number: &u32| {
        statat(&top, format!("{}/{wanted}", name(*number)), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    };
    let (prepared, others): (Vec<u32>, Vec<u32>) = (0..SLOTS).partition(holds);
    for number in prepared.into_iter().chain(others) {
        if let Some(slot) = try_take(&top, number).map_err(explain)? {
            return Ok(slot);
        }
    }
    let busy = io::Error::from_raw_os_error(libc::EBUSY);
    Err(explain(Doing::OwnUser.failed("every slot is taken", &busy)))
}

fn open_top(slots: &Slots) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(&slots.folder)?;
    Ok(open(&slots.folder, FOLDER, Mode::empty())?)
}

fn name(number: u32) -> String {
    format!("slot-{number:02}")
}

fn try_take(top: &OwnedFd, number: u32) -> Result<Option<Slot>, Failure> {
    let none = io::Error::from_raw_os_error(libc::ERANGE);
    let users = Users::of(number).ok_or(none).or_fail(Doing::OwnUser, "no numbers are mapped")?;
    let Some(reserved) = reserve(users.step).or_fail(Doing::OwnUser, "name")? else {
        return Ok(None);
    };
    let name = name(number);
    match mkdirat(top, &name, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(cause) => return Err(Doing::PreparedRoot.failed(&name, &cause.into())),
    }
    let folder = openat(top, &name, FOLDER, Mode::empty()).or_fail(Doing::PreparedRoot, &name)?;
    match flock(folder.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Slot { users, folder, _name: reserved })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(cause) => Err(Doing::PreparedRoot.failed(&name, &cause.into())),
    }
}

/// Reserves a user's number; none if another kiln of this container has it.
fn reserve(user: u32) -> io::Result<Option<OwnedFd>> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let address = SocketAddrUnix::new_abstract_name(format!("kiln-confined-{user}").as_bytes())?;
    match bind(&socket, &address) {
        Ok(()) => Ok(Some(socket)),
        Err(rustix::io::Errno::ADDRINUSE) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}
