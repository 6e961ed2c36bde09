//! What the build process and the sandbox child say to each other, and how descriptors cross.
//!
//! One socket pair of whole messages. The order travels in a sealed memory file, because it may
//! hold files of megabytes and a message may not. Everything else is one small JSON message, some
//! with descriptors. The first process of the step is ours until it is dead, so these messages are
//! trusted; what it heard of the step is not, and is escaped.
//!
//! ```text
//! order file: length of the head (8 bytes, little endian) · head (JSON) · bodies of added files
//! ```

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use model::AbsPath;
use model::step::Widen;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::met::{Met, Most};
use super::outer::Outer;
use super::setup::Op;
use super::trial::Trial;
use crate::outcome::NetworkAttempt;

/// Longest message, in bytes: far below the default socket buffer (212,992).
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Most descriptors in one message: below the kernel's `SCM_MAX_FD` (253).
pub const DESCRIPTORS_MAX: usize = 64;

/// Everything the child has to know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Sources on the host, by the number that the operations use.
    pub sources: Vec<PathBuf>,
    /// The folder on the host for the writable space, which comes after the sources by number.
    pub scratch: Option<PathBuf>,
    /// What to build, in order.
    pub ops: Vec<Op>,
    /// Who to become, for a child that was started as root.
    pub outer: Option<Outer>,
    /// Processors to run on.
    pub processors: Option<Vec<usize>>,
    /// Places where Landlock allows writing.
    pub writable: Vec<AbsPath>,
    /// What the step widens.
    pub widen: Widen,
    /// The step's own.
    pub program: Program,
    /// What may be missing.
    pub may_miss: MayMiss,
    /// What to look at while the step runs.
    pub most: Most,
    /// The namespaces of the build process, which none of the step's may equal.
    pub host_namespaces: BTreeMap<String, String>,
    /// The filter, one instruction each: code, jump if true, jump if false, operand.
    pub filter: Vec<(u16, u8, u8, u32)>,
}

/// The step itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The working folder.
    pub cwd: AbsPath,
    /// Open files, soft limit.
    pub files: u64,
    /// Processes, where no control group limits them.
    pub processes: Option<u64>,
    /// Bytes of one file, where no file system of its own limits them all.
    pub file_bytes: Option<u64>,
    /// What is tried of its place before.
    pub trial: Trial,
    /// Whether it may go on with random addresses, where a filter around kiln forbids fixed ones.
    pub may_randomize: bool,
}

/// Waivers, as far as this backend can go on without the guarantee.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MayMiss {
    /// Go on in the host's network if no own one can be made.
    pub network: bool,
    /// Go on without the filter if none can be installed.
    pub syscalls: bool,
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    /// The user namespace that shows what the step is given as its own, newly made, comes along.
    Showing,
    /// The first process exists; its pidfd comes along.
    First,
    /// Some of the writable places; their descriptors come along in the same order.
    Places {
        /// The number of the first of them among the order's `Op::Open`s.
        first: usize,
    },
    /// All is in place; the step starts now.
    Sealed(Facts),
    /// Something failed.
    Failed(Failure),
    /// The step wanted something of a network.
    Wanted(NetworkAttempt),
    /// There is more in the writable space than may be.
    Over,
    /// The main process ended and nothing else lives.
    Ended {
        /// Its exit code, or the negative number of the signal.
        status: i32,
        /// How many others were killed.
        left: u32,
        /// Which limits were seen to be met.
        met: Met,
    },
}

/// What was read back in the sealed process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The namespaces by name, as `/proc/self/ns` shows them.
    pub namespaces: BTreeMap<String, String>,
    /// Names of the network interfaces.
    pub interfaces: Vec<String>,
    /// The id map.
    pub uid_map: String,
    /// Host name and domain.
    pub host: String,
    /// The bits of the capability sets, if all five agree.
    pub capabilities: Option<u64>,
    /// Whether no-new-privileges is set.
    pub no_new_privileges: bool,
    /// Whether a filter is installed.
    pub filter: bool,
    /// How many processors it may use.
    pub processors: u32,
    /// The Landlock interface enforced, and none where it is not.
    pub landlock: Option<i32>,
    /// Whether the root is read-only.
    pub root_read_only: bool,
    /// Whether a view is a copy, because no overlay could be one here.
    pub views_copied: bool,
    /// Whether all that is read-only has inodes of the step's own.
    pub own_inodes: bool,
    /// Whether the device nodes have, too.
    pub own_devices: bool,
    /// Whether what the kernel counts by user has the step's own ceilings.
    pub ceilings: bool,
    /// Whether user namespaces are at an end here.
    pub no_more_namespaces: bool,
    /// Whether addresses are random, because a filter around kiln forbids fixed ones.
    pub random_addresses: bool,
    /// Whether both what is asked for by name and what is connected to is heard.
    pub network_heard: bool,
}

/// What comes with the order of a step in namespaces of its own.
pub const ORDER: &[u8] = b"order";
/// What comes with the order of a confined step.
pub const CONFINED: &[u8] = b"confined";
/// What comes with the order to kill what is left of a confined step.
pub const SWEEP: &[u8] = b"sweep";
/// What comes with the order to keep an engine's container.
pub const KEEP: &[u8] = b"keep";
/// What the build process says after the order, once the child is in its control group.
pub const GO_ON: &[u8] = b"go on";
/// What it says to stop the step.
pub const TERMINATE: &[u8] = b"terminate";
/// What it says to kill the step, where the end of its first process does not.
pub const KILL: &[u8] = b"kill";

/// Writes an order and the bodies of added files into a memory file.
pub fn pack(order: &impl Serialize, bodies: &[&[u8]]) -> io::Result<OwnedFd> {
    let head = serde_json::to_vec(order).map_err(io::Error::from)?;
    let file = rustix::fs::memfd_create("kiln-order", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(&(head.len() as u64).to_le_bytes())?;
    file.write_all(&head)?;
    for body in bodies {
        file.write_all(body)?;
    }
    Ok(file.into())
}

/// Reads what [`pack`] wrote: the order, and the bodies in one piece.
pub fn unpack<O: DeserializeOwned>(file: OwnedFd) -> io::Result<(O, Vec<u8>)> {
    let mut file = std::fs::File::from(file);
    io::Seek::rewind(&mut file)?;
    let mut all = Vec::new();
    file.read_to_end(&mut all)?;
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let (length, rest) = all.split_first_chunk::<8>().ok_or_else(broken)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| broken())?;
    let head = rest.get(..length).ok_or_else(broken)?;
    let order = serde_json::from_slice(head)?;
    let body_start = 8 + length;
    all.drain(..body_start);
    Ok((order, all))
}

/// Sends one message with descriptors.
///
/// Without any it is a plain call: under its own filter the first process would wait for itself to look
/// at `sendmsg`.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.is_empty() {
        rustix::net::send(socket, message, SendFlags::NOSIGNAL)?;
        return Ok(());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Sends one word.
pub fn say(socket: BorrowedFd<'_>, word: &Word, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let message = serde_json::to_vec(word).map_err(io::Error::from)?;
    send(socket, &message, fds)
}

/// Receives one message with its descriptors; an empty one means that the other side is gone.
pub fn receive(socket: impl AsFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    // On the stack: the heap would give so much back to the kernel each time, and get it anew.
    let mut message = [0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut message)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            fds.extend(passed);
        }
    }
    Ok((message.get(..got.bytes).unwrap_or_default().to_vec(), fds))
}
