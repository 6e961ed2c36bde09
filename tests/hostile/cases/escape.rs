//! Group A: out of the sandbox.

use super::super::Need;
use super::{
    Act, CONTAINED, Case, Control, EVERYWHERE, Expect, Group, HOST, NATIVE_ONLY, On, RESULT, Runs,
};
use crate::hostile::acts;

/// With a descriptor of the host's root handed down.
const WITH_ROOT: &[&str] = &["sh", "-c", "exec 7</ && exec \"$0\" \"$@\""];
/// Takes the attacks to another place and puts an empty folder over the temporary one.
const ASIDE: &str =
    "mount --bind . /mnt && cd /mnt && mount -t tmpfs none /tmp && exec \"$0\" \"$@\"";
/// In namespaces where the caller is root.
const AS_INNER_ROOT: &[&str] = &["unshare", "-Urm", "sh", "-c", ASIDE];
/// With private mounts, but as the real root.
const PRIVATE_MOUNTS: &[&str] = &["unshare", "-m", "sh", "-c", ASIDE];

const ENGINES_INIT: &str =
    "the first process is the engine's own init, with the step's user and nothing of kiln's in it";
const ENGINE: &str = "the case is about requests to a container engine";

/// The rows.
pub const ESCAPE: Group = Group { letter: 'A', title: "Sandbox escape", cases: &ROWS };

const ROWS: [Case; 34] = [
    Case {
        id: "S-A01",
        title: "inherited descriptors",
        control: Control::Outside(WITH_ROOT),
        ..CONTAINED
    },
    Case {
        id: "S-A02",
        title: "walking out of an inherited descriptor",
        control: Control::Outside(WITH_ROOT),
        ..CONTAINED
    },
    Case {
        id: "S-A03",
        title: "working folder in /proc or in a descriptor",
        act: Act::Sandbox(&["s_a03_working_folder_in_proc_is_refused"]),
        on: NATIVE_ONLY,
        ..HOST
    },
    Case {
        id: "S-A04",
        title: "reading and overwriting kiln's own processes and programs",
        control: Control::Sealed("S-A04-own"),
        ..CONTAINED
    },
    Case {
        id: "S-A05",
        title: "root whose /dev, /proc, /sys, /build or /kiln is a link or a file",
        act: Act::Test("root_that_lies_about_its_own_folders_is_no_way_out"),
        ..HOST
    },
    Case {
        id: "S-A06",
        title: "root whose /dev/null is a link to a setting of the kernel",
        act: Act::Test("root_that_lies_about_its_own_folders_is_no_way_out"),
        ..HOST
    },
    Case {
        id: "S-A07",
        title: "masked and read-only paths, and every other writable file of /proc",
        control: Control::None("outside it would write to the kernel's settings"),
        ..CONTAINED
    },
    Case {
        id: "S-A08",
        title: "mounting by old and new calls",
        control: Control::Outside(AS_INNER_ROOT),
        ..CONTAINED
    },
    Case {
        id: "S-A09",
        title: "chroot twice, pivot_root, a saved descriptor",
        control: Control::Outside(AS_INNER_ROOT),
        ..CONTAINED
    },
    Case { id: "S-A10", title: "new namespaces by unshare, clone, clone3, setns", ..CONTAINED },
    Case { id: "S-A11", title: "privilege by a set-user-id file", ..CONTAINED },
    Case {
        id: "S-A11-tree",
        title: "set-user-id program in the input tree, root's own",
        act: Act::Sandbox(&["s_a11_set_id_programs_give_nothing", "set_id_bits_cannot_be_set"]),
        on: NATIVE_ONLY,
        ..HOST
    },
    Case {
        id: "S-A12",
        title: "killing everything",
        control: Control::None("outside it would kill the tests"),
        expect: Expect::Refused(&["KILN-0401"]),
        ..CONTAINED
    },
    Case {
        id: "S-A13",
        title: "typing into the caller's terminal",
        terminal: true,
        control: Control::OnTerminal,
        needs: &[Need::TerminalTyping],
        ..CONTAINED
    },
    Case {
        id: "S-A14",
        title: "making devices",
        control: Control::OutsideAsRoot(PRIVATE_MOUNTS),
        ..CONTAINED
    },
    Case { id: "S-A15", title: "sockets of the host's services", ..CONTAINED },
    Case { id: "S-A16", title: "abstract sockets, both directions", ..CONTAINED },
    Case {
        id: "S-A17",
        title: "odd socket families, raw sockets, netlink beside routing",
        control: Control::Sealed("S-A17-usual"),
        ..CONTAINED
    },
    Case { id: "S-A18", title: "io_uring", ..CONTAINED },
    Case {
        id: "S-A18-node",
        title: "a program of Node.js works without io_uring",
        act: Act::Host(acts::node_works),
        needs: &[Need::Node],
        ..HOST
    },
    Case {
        id: "S-A19",
        title: "every system call number from 0 to 600, against the committed table",
        needs: &[Need::X86],
        control: Control::None("outside it would do what the calls do"),
        ..CONTAINED
    },
    Case {
        id: "S-A19-x32",
        title: "numbers of x32, and beyond all numbers",
        needs: &[Need::X86],
        control: Control::None("most kernels are built without x32"),
        ..CONTAINED
    },
    Case {
        id: "S-A19-i386",
        title: "calls of i386 by int 0x80",
        needs: &[Need::I386],
        ..CONTAINED
    },
    Case { id: "S-A20", title: "key rings", ..CONTAINED },
    Case {
        id: "S-A21",
        title: "control groups: mounting, release_agent, cgroup.procs",
        control: Control::OutsideAsRoot(PRIVATE_MOUNTS),
        ..CONTAINED
    },
    Case {
        id: "S-A22",
        title: "tracing and reading: own children yes, others no",
        control: Control::Within,
        ..CONTAINED
    },
    Case {
        id: "S-A23",
        title: "privileged, host network, binds, devices by every alias",
        act: Act::Test("nothing_in_a_build_file_leads_to_a_privilege_of_the_engine"),
        on: On {
            root: Runs::No(ENGINE),
            user: Runs::No(ENGINE),
            confined: Runs::No(ENGINE),
            ..EVERYWHERE
        },
        ..HOST
    },
    Case {
        id: "S-A24",
        title: "writing to inputs through links",
        control: Control::None("outside it would change the host"),
        ..CONTAINED
    },
    Case {
        id: "S-A25",
        title: "two steps at once look for a place to meet",
        act: Act::Host(acts::steps_that_meet),
        ..HOST
    },
    Case {
        id: "S-A26",
        title: "mount points that are links, or lie behind links, of the tree below",
        act: Act::Host(acts::mounts_over_links),
        ..HOST
    },
    Case {
        id: "S-A26-environment",
        title: "the same in an environment, for folders and files",
        act: Act::Sandbox(&["s_a26_mount_points_never_follow_a_symlink"]),
        on: NATIVE_ONLY,
        ..HOST
    },
    Case {
        id: "S-A27",
        title: "limits, core dumps, sessions, terminals, parents: what a step inherits",
        control: Control::Outside(PARENTS),
        ..CONTAINED
    },
    Case {
        id: "S-A28",
        title: "taking files, memory or processors from the step's first process, which is kiln's",
        control: Control::Sealed("S-A28-own"),
        on: On { docker: Runs::No(ENGINES_INIT), ..EVERYWHERE },
        ..CONTAINED
    },
    // The runner lives on after all of that.
    Case {
        id: "S-A-after",
        title: "a harmless step after all of these",
        act: Act::Attack("S-E04-extra"),
        outputs: RESULT,
        control: Control::None("it is harmless"),
        ..CONTAINED
    },
];

/// As somebody who ignores a signal and may dump core.
const PARENTS: &[&str] = &["sh", "-c", "trap '' PIPE HUP; exec \"$0\" \"$@\""];
