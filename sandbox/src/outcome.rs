//! What came of a step: how it ended, what held it, what it used, and where it wrote.
//!
//! An `Outcome` exists only after every process of the step is proven dead, so whoever holds one
//! may read the writable places without a race.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use model::AbsPath;
use model::isolation::Enforced;
use model::limits::Bytes;
use serde::{Deserialize, Serialize};

use crate::docker::Staging;
use crate::error::LimitName;

use crate::confined::Used;

/// How a step ended. Only `Exited(0)` is a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The main process exited with this code.
    Exited(i32),
    /// A signal of its own or of a limit of the kernel's ended the main process.
    Signaled(i32),
    /// It ran longer than it may, or was silent longer than it may.
    TimedOut {
        /// Whether it was the limit on silence.
        idle: bool,
    },
    /// The memory limit killed at least one of its processes.
    OutOfMemory,
    /// The kernel killed a process for memory that its own limit still left: because of a limit on a group around
    /// kiln, see [`crate::memory_around`], or since the host had none left. Where it has no group of its own it may
    /// have been another one's process.
    OutOfMemoryAround,
    /// It failed and its writable space was full when it ended, or it wrote more than it may.
    OutOfDisk,
    /// It made more folders inside one another than anybody follows.
    TooDeep,
    /// It was killed to keep the reserve of the host's disk.
    OutOfHostDisk,
    /// [`crate::Cancel`] was pressed.
    Cancelled,
}

/// Where a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1 of the step.
    Stdout,
    /// Descriptor 2 of the step.
    Stderr,
}

/// What a step used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// From the start of its main process to the death of all of them.
    pub wall: Duration,
    /// Processor time of all its processes, user and system.
    pub cpu: Duration,
    /// Most memory held at once, where a control group counted it.
    pub memory_peak: Option<Bytes>,
}

/// What is spoken above an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A stream: a connection.
    Tcp,
    /// Datagrams.
    Udp,
}

/// One attempt to reach out of the sandbox: a look-up, or a connection by address. All texts come from
/// the step and are escaped for display.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkAttempt {
    /// The host name that was asked for, or the address.
    pub host: String,
    /// The port, if it was a connection.
    pub port: Option<u16>,
    /// What it would have spoken, if it was a connection and is known.
    pub protocol: Option<Protocol>,
    /// The name of the process, empty if it was gone before it could be asked for.
    pub process: String,
    /// The first words of its command line.
    pub command: String,
}

/// `HOST`, `ADDRESS:PORT`, each with ` by PROCESS` where that is known: as the Record has it.
impl fmt::Display for NetworkAttempt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => out.write_str(&self.host)?,
            Some(port) if self.host.contains(':') => write!(out, "[{}]:{port}", self.host)?,
            Some(port) => write!(out, "{}:{port}", self.host)?,
        }
        if self.process.is_empty() { Ok(()) } else { write!(out, " by {}", self.process) }
    }
}

/// One place where the step could write, to be read now that the step is dead.
#[derive(Debug)]
pub struct Writable {
    /// Where it was inside.
    pub at: AbsPath,
    /// Its folder, open for reading; beneath it no other mount is visible.
    pub dir: OwnedFd,
}

/// Everything known about a step that ran.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub exit: Exit,
    /// What was applied and read back, and which extra was absent.
    pub enforced: Enforced,
    /// What it used.
    pub usage: Usage,
    /// Processes that were still alive when the main one ended, and were killed.
    pub left_processes: u32,
    /// Whether output beyond the log limit was dropped.
    pub log_cut: bool,
    /// Limits that refused it something, whether or not it took notice: what it left is not to be
    /// believed a second time. Open files are not among them, since nobody else can see that.
    pub limits_hit: Vec<LimitName>,
    /// Where it wanted to go, sorted, each once.
    pub network_attempts: Vec<NetworkAttempt>,
    /// Whether it was heard where it wanted to go, from its first call to its last; else
    /// `network_attempts` says nothing.
    pub network_heard: bool,
    /// The work folder `/build` and each view, parents before children.
    pub views: Vec<Writable>,
    /// What the views lie in, where it has to outlive the step; it goes when this is dropped.
    pub staging: Option<Staging>,
    /// The same for a confined step; none where it vanishes by itself.
    pub(crate) _place: Option<Used>,
}
