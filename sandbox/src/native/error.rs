//! What the child was doing when something failed, in a form that crosses the pipe.
//!
//! The child cannot send a Rust error, so it sends the move, its operand and the kernel's number.
//! The build process turns the three into [`crate::Error`], adding which guarantee rests on the move.

use std::io;

use model::isolation::Guarantee;
use serde::{Deserialize, Serialize};

/// One thing that the sandbox does on its way to the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Doing {
    #[error("copy kiln's own program into a sealed memory file")]
    Image,
    #[error("start the sandbox child")]
    Start,
    #[error("talk with the sandbox child")]
    Talk,
    #[error("watch the step's processes and output")]
    Watch,
    #[error("close inherited descriptors")]
    CloseDescriptors,
    #[error("reset signals")]
    ResetSignals,
    #[error("tie the child's life to its parent's")]
    TieLife,
    #[error("pin the processors")]
    PinProcessors,
    #[error("hand the output pipes to the step's user")]
    HandPipes,
    #[error("open the mount source")]
    OpenSource,
    #[error("give up root's ids")]
    DropIds,
    #[error("make a user namespace")]
    UserNamespace,
    #[error("write the id map")]
    IdMap,
    #[error("set the clock offsets")]
    ClockOffsets,
    #[error("make the mount namespace")]
    MountNamespace,
    #[error("make the network namespace")]
    NetworkNamespace,
    #[error("make the pid and ipc namespaces")]
    PidNamespace,
    #[error("make the host-name and control-group namespaces")]
    NameNamespaces,
    #[error("start the first process")]
    FirstProcess,
    #[error("make mounts private")]
    Private,
    #[error("mount a tmpfs at")]
    Tmpfs,
    #[error("mount an overlay at")]
    Overlay,
    #[error("mount a fresh proc")]
    Proc,
    #[error("bind the device")]
    Device,
    #[error("bind")]
    Bind,
    #[error("make read-only")]
    ReadOnly,
    #[error("make a place at")]
    Point,
    #[error("check that a folder is used at")]
    PointKind,
    #[error("check that nothing is hidden at")]
    PointOccupied,
    #[error("make the folder")]
    Folder,
    #[error("make the symlink")]
    Symlink,
    #[error("write the file")]
    WriteFile,
    #[error("copy the file")]
    CopyFile,
    #[error("open the writable place")]
    OpenPlace,
    #[error("change the root")]
    Pivot,
    #[error("forbid further user namespaces")]
    NoMoreNamespaces,
    #[error("set the host name")]
    HostName,
    #[error("switch the loopback on")]
    Loopback,
    #[error("bind the resolver stub")]
    Resolver,
    #[error("give up capabilities")]
    Capabilities,
    #[error("forbid new privileges")]
    NoNewPrivileges,
    #[error("restrict by Landlock")]
    Landlock,
    #[error("install the system call filter")]
    Filter,
    #[error("read back what was enforced")]
    ReadBack,
    #[error("start the step's process")]
    StepProcess,
    #[error("fix the resource limits")]
    ResourceLimits,
    #[error("fix the execution domain")]
    Personality,
    #[error("enter the working folder")]
    WorkingFolder,
    #[error("execute")]
    Execute,
    #[error("open the step's device")]
    TryDevice,
    #[error("use the step's own loopback")]
    TryLoopback,
    #[error("use the control group")]
    ControlGroup,
    #[error("take a user of its own for the step")]
    OwnUser,
    #[error("use the right of root to")]
    RootRight,
    #[error("make the device node")]
    DeviceNode,
    #[error("prepare the root in")]
    PreparedRoot,
    #[error("find the prepared root as it was")]
    RootUnchanged,
    #[error("remove what the step left in")]
    Wipe,
    #[error("kill every process of the step's user")]
    KillByUser,
    #[error("be the parent of what loses its own")]
    Subreaper,
    #[error("find that no socket can be made")]
    NoSocket,
    #[error("restrict files by Landlock of the least interface")]
    LandlockCore,
}

/// One failed move, as it crosses the pipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The move.
    pub doing: Doing,
    /// With what.
    pub operand: String,
    /// The kernel's error number.
    pub errno: i32,
}

impl Doing {
    /// Returns the guarantee that rests on this move, if one does.
    pub fn guarantee(self) -> Option<Guarantee> {
        match self {
            Doing::UserNamespace
            | Doing::IdMap
            | Doing::DropIds
            | Doing::NameNamespaces
            | Doing::HostName
            | Doing::ClockOffsets
            | Doing::Capabilities
            | Doing::OwnUser
            | Doing::RootRight
            | Doing::NoMoreNamespaces => Some(Guarantee::Identity),
            Doing::MountNamespace
            | Doing::Private
            | Doing::Tmpfs
            | Doing::Overlay
            | Doing::Device
            | Doing::Bind
            | Doing::ReadOnly
            | Doing::DeviceNode
            | Doing::TryDevice
            | Doing::RootUnchanged
            | Doing::LandlockCore
            | Doing::Pivot => Some(Guarantee::Files),
            Doing::PidNamespace
            | Doing::Proc
            | Doing::FirstProcess
            | Doing::KillByUser
            | Doing::Subreaper => Some(Guarantee::Processes),
            Doing::NetworkNamespace
            | Doing::Loopback
            | Doing::TryLoopback
            | Doing::Resolver
            | Doing::NoSocket => Some(Guarantee::Network),
            Doing::NoNewPrivileges | Doing::Filter => Some(Guarantee::Syscalls),
            Doing::Landlock => Some(Guarantee::Landlock),
            Doing::Image
            | Doing::Start
            | Doing::Talk
            | Doing::Watch
            | Doing::CloseDescriptors
            | Doing::ResetSignals
            | Doing::TieLife
            | Doing::PinProcessors
            | Doing::HandPipes
            | Doing::OpenSource
            | Doing::Point
            | Doing::PointKind
            | Doing::PointOccupied
            | Doing::Folder
            | Doing::Symlink
            | Doing::WriteFile
            | Doing::CopyFile
            | Doing::OpenPlace
            | Doing::ReadBack
            | Doing::StepProcess
            | Doing::ResourceLimits
            | Doing::Personality
            | Doing::WorkingFolder
            | Doing::Execute
            | Doing::ControlGroup
            | Doing::PreparedRoot
            | Doing::Wipe => None,
        }
    }

    /// Returns this move, failed.
    pub fn failed(self, operand: &str, cause: &io::Error) -> Failure {
        let errno = cause.raw_os_error().unwrap_or(libc::EIO);
        Failure { doing: self, operand: operand.to_owned(), errno }
    }
}

/// Names the move and its operand on any failure of the kernel's.
pub trait Naming<T> {
    /// Turns the kernel's error into a [`Failure`] of `doing`.
    fn or_fail(self, doing: Doing, operand: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Naming<T> for Result<T, E> {
    fn or_fail(self, doing: Doing, operand: &str) -> Result<T, Failure> {
        self.map_err(|cause| doing.failed(operand, &cause.into()))
    }
}
