//! What a case needs of the host, and what is said where the host does not have it.

use std::path::Path;
use std::sync::OnceLock;

use super::Arena;
use crate::support::backend::Reach;
use crate::support::{Ran, Who};

/// Something that not every host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A control group that limits memory.
    MemoryGroup,
    /// The lack of one.
    NoMemoryGroup,
    /// Node.js.
    Node,
    /// A file system that does not tell `A` from `a`.
    CaseBlind,
    /// A kernel that answers calls of i386.
    I386,
    /// A kernel that lets its user type into a terminal by a call.
    TerminalTyping,
    /// The architecture of the committed table.
    X86,
}

impl Need {
    /// All of them.
    pub const ALL: [Need; 7] = [
        Need::MemoryGroup,
        Need::NoMemoryGroup,
        Need::Node,
        Need::CaseBlind,
        Need::I386,
        Need::TerminalTyping,
        Need::X86,
    ];

    /// Returns what is said where it is absent.
    pub fn lack(self) -> &'static str {
        match self {
            Need::MemoryGroup => "no control group that limits memory may be made here",
            Need::NoMemoryGroup => "memory can be limited here",
            Need::Node => "no unaltered package of Node.js is installed here",
            Need::CaseBlind => "no file system here takes `A` and `a` for one name",
            Need::I386 => "this kernel answers no call of i386 anyway",
            Need::TerminalTyping => "dev.tty.legacy_tiocsti is off, so nobody types here",
            Need::X86 => "the machine is not x86_64, of which the committed table is",
        }
    }

    /// Says whether the host has it for the backend of an arena.
    pub fn is_met(self, arena: &Arena) -> bool {
        let world = &arena.world;
        match self {
            Need::MemoryGroup => memory_is_limited(arena),
            Need::NoMemoryGroup => !memory_is_limited(arena),
            Need::X86 => cfg!(target_arch = "x86_64"),
            Need::Node => {
                let intact = world.run(&["dpkg", "--verify", "nodejs"], &[]);
                Path::new("/usr/bin/node").exists() && intact.code == 0 && intact.stdout.is_empty()
            }
            // None is mounted by these tests.
            Need::CaseBlind => false,
            // Root may do it whatever the setting says.
            Need::TerminalTyping => world.who == Who::Root || !arena.is_helped || host_lets_type(),
            Need::I386 if cfg!(not(target_arch = "x86_64")) => false,
            Need::I386 => {
                let source = world.path("project/src");
                let attack = ["/usr/bin/python3", "attack.py", "S-A19-i386"];
                let mut command = world.command(&attack, &[("PYTHONDONTWRITEBYTECODE", "1")]);
                let output = command.current_dir(source).output().expect("python starts");
                Ran::of(&output).says("BREACH")
            }
        }
    }
}

/// Says whether the host lets a user type into a terminal by a call. Asked once, and before another test switches
/// the setting for its own time: it is looked at here while a case is got ready, and has to hold until its end.
pub fn host_lets_type() -> bool {
    static LETS: OnceLock<bool> = OnceLock::new();
    *LETS.get_or_init(|| {
        let setting = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
        setting.is_ok_and(|text| text.trim() == "1")
    })
}

fn memory_is_limited(arena: &Arena) -> bool {
    if let Reach::Confined(_) = arena.reach {
        let look = "test -w /sys/fs/cgroup/memory || test -w /sys/fs/cgroup/cgroup.procs";
        return arena.reach.run(&arena.world, &["sh", "-c", look], &[]).code == 0;
    }
    !arena.reach.kiln(&arena.world, &["doctor"]).says("memory is not limited")
}
