//! Why a step could not be run, as opposed to how it ended.
//!
//! A failed step is an `Outcome`. An `Error` means that the step did not run to its end under the
//! guarantees, so there is nothing to capture. The cause of a missing guarantee is told apart,
//! because each has its own remedy.

use std::io;
use std::path::PathBuf;

use model::AbsPath;
use model::isolation::Guarantee;

use crate::docker::EngineError;
use crate::native::Doing;

/// Why a guarantee cannot be kept on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// AppArmor restricts user namespaces of unprivileged programs (Ubuntu 23.10 and later).
    AppArmor,
    /// A seccomp filter around kiln refuses it, as in a container with the default profile.
    OuterSeccomp,
    /// A setting of the kernel refuses it.
    KernelSetting {
        /// The file beneath `/proc/sys`, such as `user/max_user_namespaces`.
        setting: &'static str,
        /// Its value now.
        value: u64,
    },
    /// The kernel is too old or built without it.
    NotInKernel,
    /// A fresh `/proc` is refused because the host's own is partly masked, as in a container.
    MaskedProc,
    /// The backend works as root alone, and kiln is another user.
    NotRoot,
    /// A right that root has by default was taken away here, as `MKNOD` is by some engines.
    NoRight {
        /// The capability, without `CAP_`.
        right: &'static str,
    },
    /// Landlock is absent or older than the backend needs.
    OldLandlock {
        /// The interface of the running kernel; 0 for none.
        running: i32,
        /// The least one.
        least: i32,
    },
    /// Device nodes on the store's file system cannot be opened, as on one mounted `nodev`.
    NoDevices,
    /// Rules on devices around kiln, of a control group or of Landlock.
    DeviceRules {
        /// The device, and what was refused.
        refused: String,
    },
    /// Rules on sockets around kiln, of a control group or of Landlock.
    SocketRules {
        /// What was refused, and of which address.
        refused: String,
    },
    /// None of the known ones; the error of the system call tells more.
    Unknown,
}

/// A limit by the name that the build file gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitName {
    /// Processor time.
    #[error("cpu")]
    Cpu,
    /// Memory.
    #[error("memory")]
    Memory,
    /// Writable space.
    #[error("disk")]
    Disk,
    /// Processes and threads.
    #[error("pids")]
    Pids,
    /// Open files.
    #[error("files")]
    Files,
}

/// A limit of the caller's that goes down to all that it starts, and that no step is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallerLimit {
    /// All that a process maps.
    #[error("address space")]
    AddressSpace,
    /// What a process maps for itself alone.
    #[error("data")]
    Data,
    /// The size of one file.
    #[error("file size")]
    FileSize,
    /// Processor time of one process.
    #[error("processor time")]
    ProcessorTime,
    /// Memory that was written may not be executed.
    #[error("executable memory")]
    ExecutableMemory,
}

/// What is wrong with a place where something should be mounted or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountProblem {
    /// A part of the path is a symlink, or it is a file where a folder is needed.
    NotAFolder,
    /// Something that is not empty is there already and would be hidden.
    Occupied,
    /// The environment has a non-folder where kiln puts its own folder.
    EnvironmentNotAFolder,
    /// A source is neither a folder nor a plain file.
    SourceKind,
    /// A name is not UTF-8.
    NotUtf8,
}

/// Why a step could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A core guarantee cannot be kept here (exit 7).
    #[error("cannot keep the guarantee `{guarantee}` on this host: {doing}")]
    Missing {
        /// The guarantee.
        guarantee: Guarantee,
        /// What was refused.
        doing: Doing,
        /// Why, if it is known.
        cause: Cause,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A limit of the step cannot be kept here (exit 7).
    #[error("cannot keep the limit `{limit}` on this host")]
    Unenforceable {
        /// The limit.
        limit: LimitName,
    },
    /// A limit of the step's leaves too little for it to be started: it never ran (exit 1).
    #[error("its limit `{limit}` is too low for anything to be started")]
    TooLow {
        /// The limit.
        limit: LimitName,
        /// What the kernel or the engine answered.
        #[source]
        source: io::Error,
    },
    /// The caller has a limit that no step has, so that a step might meet it unseen (exit 7).
    #[error("kiln was started with a limit of its {limit}, which is no limit of the step")]
    CallerLimited {
        /// The limit.
        limit: CallerLimit,
    },
    /// The user's own limit leaves a step fewer processes than it is to have (exit 7).
    #[error(
        "kiln was started with a limit of its processes, {allowed}, which leaves {left} for the step, fewer than {wanted}"
    )]
    FewProcesses {
        /// Most that all processes of kiln's user may be.
        allowed: u64,
        /// What is left beside those that there are, and what kiln keeps for itself.
        left: u64,
        /// What the step is to have at least.
        wanted: u64,
    },
    /// An option of the step that this host cannot give (exit 7).
    #[error("this host cannot give the step its option `{option}`: {why}")]
    CannotWiden {
        /// The option, as the build file names it.
        option: &'static str,
        /// What is missing.
        why: &'static str,
    },
    /// Fewer processors than `cpus` asks for (exit 7).
    #[error("{asked} processors asked for, {present} present")]
    TooFewProcessors {
        /// What was asked for.
        asked: u32,
        /// What this process may use.
        present: u32,
    },
    /// A backend that this kiln does not have yet.
    #[error("the backend `{backend}` is not built yet")]
    NotBuilt {
        /// Its name.
        backend: &'static str,
    },
    /// The container engine cannot run it (exit 7).
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A place inside cannot take what should go there.
    #[error("cannot put anything at {at}")]
    Place {
        /// The place inside.
        at: AbsPath,
        /// What is wrong with it.
        problem: MountProblem,
    },
    /// The environment or an input on the host cannot be read.
    #[error("cannot use {} as an input", path.display())]
    Source {
        /// The path on the host.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program of the step cannot be executed.
    #[error("cannot execute {program:?}")]
    Program {
        /// The program as the step names it.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something in the set-up failed that no guarantee explains.
    #[error("cannot set up the sandbox: {doing}{}", named(operand))]
    Setup {
        /// What was attempted.
        doing: Doing,
        /// With what; empty where there is nothing to name.
        operand: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The child ended without saying why.
    #[error("the sandbox child ended before the step did")]
    ChildLost,
    /// The child said something that is no message of ours.
    #[error("the sandbox child sent no valid message")]
    Garbled {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Not every process of the step could be shown to be dead in time; nothing may be captured.
    #[error("processes of the step are still alive: {pids:?}")]
    StillAlive {
        /// Their numbers on the host, where known.
        pids: Vec<u32>,
    },
}

/// Returns an operand as it follows a verb; nothing where there is nothing to name.
fn named(operand: &str) -> String {
    if operand.is_empty() { String::new() } else { format!(" {operand:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_named_where_there_is_nothing_to_name() {
        let told = |operand: &str| {
            let (operand, source) = (operand.to_owned(), io::ErrorKind::Other.into());
            Error::Setup { doing: Doing::Talk, operand, source }.to_string()
        };
        assert_eq!(
            told("order"),
            "cannot set up the sandbox: talk with the sandbox child \"order\""
        );
        assert_eq!(told(""), "cannot set up the sandbox: talk with the sandbox child");
    }
}
