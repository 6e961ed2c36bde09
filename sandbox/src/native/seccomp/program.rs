//! From the table of verdicts to filter instructions.
//!
//! The number line is cut into segments of one verdict each, ascending. A segment is two
//! instructions: if the number is above its end skip, else return. A verdict by argument is a small
//! block in that place. Every path returns, no jump is longer than one block, none goes back.
//!
//! Does no I/O.

use std::collections::BTreeMap;

use model::step::Widen;

use super::super::namespaces;
use super::table::{self, Check, NEWEST, Verdict};

/// One instruction: code, jump if true, jump if false, operand (`struct sock_filter`).
pub type Instruction = (u16, u8, u8, u32);

// Codes of classic BPF, linux/bpf_common.h.
pub const LOAD: u16 = 0x20;
pub const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
pub const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
pub const JUMP_ANY_BIT: u16 = 0x45;
pub const RETURN: u16 = 0x06;

// Answers, linux/seccomp.h.
pub const ALLOW: u32 = 0x7fff_0000;
pub const ERRNO: u32 = 0x0005_0000;
pub const KILL_PROCESS: u32 = 0x8000_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;

// Places in `struct seccomp_data`.
pub const NUMBER: u32 = 0;
pub const ARCHITECTURE: u32 = 4;

/// `AUDIT_ARCH_X86_64` of linux/audit.h. Another architecture is killed: its numbers mean other calls.
#[cfg(target_arch = "x86_64")]
pub const NATIVE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_AARCH64` of linux/audit.h.
#[cfg(target_arch = "aarch64")]
pub const NATIVE: u32 = 0xc000_00b7;

/// `AUDIT_ARCH_I386` of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const I386: u32 = 0x4000_0003;

/// Returns the filter program of the profile, with what the step widens.
pub fn program(widen: Widen) -> Vec<Instruction> {
    let own = namespaces::inner_id(widen);
    let native = table_of(&table::verdicts(widen.nested), own);
    let start = [(JUMP_EQUAL, 1, 0, NATIVE), (RETURN, 0, 0, KILL_PROCESS)];
    let mut out = vec![(LOAD, 0, 0, ARCHITECTURE)];
    #[cfg(target_arch = "x86_64")]
    if widen.abi32 {
        let over = u32::try_from(start.len() + native.len()).unwrap_or(u32::MAX);
        out.extend([(JUMP_EQUAL, 0, 1, I386), (JUMP, 0, 0, over)]);
        out.extend(start);
        out.extend(native);
        out.extend(table_of(&table::verdicts_i386(), own));
        return out;
    }
    out.extend(start);
    out.extend(native);
    out
}

/// Returns the program for a step that widens nothing and whose own user and group is `own`; no call
/// waits for a word.
pub fn unheard_program(own: u32) -> Vec<Instruction> {
    let mut out =
        vec![(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, NATIVE), (RETURN, 0, 0, KILL_PROCESS)];
    let plain = table_of(&table::verdicts(false), own);
    out.extend(plain.into_iter().map(|one| match one {
        (RETURN, _, _, USER_NOTIF) => (RETURN, 0, 0, ALLOW),
        other => other,
    }));
    out
}

/// Returns the instructions for the calls of one architecture.
fn table_of(verdicts: &BTreeMap<u32, Verdict>, own: u32) -> Vec<Instruction> {
    let mut out = vec![(LOAD, 0, 0, NUMBER)];
    for (end, verdict) in segments(verdicts) {
        let block = block(verdict, own);
        let skip = u8::try_from(block.len()).unwrap_or(u8::MAX);
        out.push((JUMP_GREATER, skip, 0, end));
        out.extend(block);
    }
    out.push((RETURN, 0, 0, ERRNO | libc::ENOSYS.unsigned_abs()));
    out
}

/// Returns an instruction that lets a call through where it would have waited for a word.
pub fn unheard(one: libc::sock_filter) -> libc::sock_filter {
    let waits = one.code == RETURN && one.k == USER_NOTIF;
    if waits { libc::sock_filter { k: ALLOW, ..one } } else { one }
}

/// Cuts 0 to the newest known number into runs of one verdict; each with its last number.
fn segments(verdicts: &BTreeMap<u32, Verdict>) -> Vec<(u32, Verdict)> {
    let mut runs: Vec<(u32, Verdict)> = Vec::new();
    for number in 0..=NEWEST {
        let verdict = verdicts.get(&number).copied().unwrap_or(Verdict::Errno(libc::EPERM));
        match runs.last_mut() {
            Some((end, same)) if *same == verdict => *end = number,
            _ => runs.push((number, verdict)),
        }
    }
    runs
}

fn block(verdict: Verdict, own: u32) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![(RETURN, 0, 0, ALLOW)],
        Verdict::Errno(errno) => vec![refuse(errno)],
        Verdict::Wait => vec![(RETURN, 0, 0, USER_NOTIF)],
        Verdict::If(check) => check_block(check, own),
    }
}

/// Returns the instruction that answers with an error number.
pub fn refuse(errno: i32) -> Instruction {
    (RETURN, 0, 0, ERRNO | errno.unsigned_abs())
}

/// Place of the low half of an argument; both architectures are little endian.
pub fn low(argument: u8) -> u32 {
    16 + 8 * u32::from(argument)
}

fn check_block(check: Check, own: u32) -> Vec<Instruction> {
    let allow = (RETURN, 0, 0, ALLOW);
    let load = |argument| (LOAD, 0, 0, low(argument));
    match check {
        Check::NoBits { argument, bits, errno } => {
            vec![load(argument), (JUMP_ANY_BIT, 0, 1, bits), refuse(errno), allow]
        }
        Check::NoBitsOf { call, argument, bits, errno } => {
            let mut out = vec![load(0), (AND, 0, 0, 0xffff), (JUMP_EQUAL, 0, 3, call)];
            out.extend(check_block(Check::NoBits { argument, bits, errno }, own));
            out
        }
        Check::NoneOf { argument, values } => {
            let mut out = vec![(LOAD, 0, 0, low(argument))];
            for value in values {
                out.extend([(JUMP_EQUAL, 0, 1, *value), refuse(libc::EPERM)]);
            }
            out.push(allow);
            out
        }
        Check::OneOf { argument, values, errno } => {
            let mut out = vec![(LOAD, 0, 0, low(argument))];
            for value in values {
                out.extend([(JUMP_EQUAL, 0, 1, *value), allow]);
            }
            out.push(refuse(errno));
            out
        }
        Check::CreateMode { flags, mode } => vec![
            (LOAD, 0, 0, low(flags)),
            (JUMP_ANY_BIT, 1, 0, table::MAKES_A_FILE),
            allow,
            (LOAD, 0, 0, low(mode)),
            (JUMP_ANY_BIT, 0, 1, table::SET_ID),
            refuse(libc::EPERM),
            allow,
        ],
        Check::NodeMode { mode } => vec![
            (LOAD, 0, 0, low(mode)),
            (JUMP_ANY_BIT, 0, 1, table::SET_ID),
            refuse(libc::EPERM),
            (AND, 0, 0, libc::S_IFMT),
            (JUMP_EQUAL, 1, 0, libc::S_IFCHR),
            (JUMP_EQUAL, 0, 1, libc::S_IFBLK),
            refuse(libc::EPERM),
            allow,
        ],
        Check::NoPointer { argument } => vec![
            (LOAD, 0, 0, low(argument)),
            (JUMP_EQUAL, 0, 2, 0),
            (LOAD, 0, 0, low(argument) + 4),
            (JUMP_EQUAL, 1, 0, 0),
            (RETURN, 0, 0, USER_NOTIF),
            allow,
        ],
        Check::NoMark { argument, bits } => vec![
            (LOAD, 0, 0, low(argument)),
            (JUMP_ANY_BIT, 1, 0, bits),
            (RETURN, 0, 0, USER_NOTIF),
            allow,
        ],
        Check::OwnIds { first, none } => {
            let each = |argument| {
                let (skip, own) = ((JUMP_EQUAL, 2, 0, none), (JUMP_EQUAL, 1, 0, own));
                [load(argument), skip, own, refuse(libc::EPERM)]
            };
            [each(first), each(first + 1)].into_iter().flatten().chain([allow]).collect()
        }
        Check::Whose { kinds } => whose_block(kinds),
        Check::Socket { family, protocol } => socket_block(family, protocol),
    }
}

fn whose_block(kinds: &[u32]) -> Vec<Instruction> {
    let mut out = vec![(LOAD, 0, 0, low(0))];
    for (place, kind) in kinds.iter().enumerate() {
        // Over the rest of the comparisons and the refusal.
        let over = u8::try_from(kinds.len() - place).unwrap_or(u8::MAX);
        out.push((JUMP_EQUAL, over, 0, *kind));
    }
    let [first] = table::FIRST_PROCESS;
    out.extend([refuse(libc::EPERM), (LOAD, 0, 0, low(1)), (JUMP_EQUAL, 0, 1, first)]);
    out.extend([refuse(libc::EPERM), (RETURN, 0, 0, ALLOW)]);
    out
}

fn socket_block(family: u8, protocol: u8) -> Vec<Instruction> {
    let allow = (RETURN, 0, 0, ALLOW);
    let mut out = vec![(LOAD, 0, 0, low(family))];
    for known in table::FAMILIES {
        out.extend([(JUMP_EQUAL, 0, 1, known), allow]);
    }
    out.extend([
        (JUMP_EQUAL, 1, 0, libc::AF_NETLINK.unsigned_abs()),
        refuse(libc::EAFNOSUPPORT),
        (LOAD, 0, 0, low(protocol)),
        (JUMP_EQUAL, 0, 1, libc::NETLINK_ROUTE.unsigned_abs()),
        allow,
        refuse(libc::EAFNOSUPPORT),
    ]);
    out
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Runs the program as the kernel would, on one call.
    pub fn answer(
        program: &[Instruction],
        architecture: u32,
        number: u32,
        arguments: [u64; 6],
    ) -> u32 {
        let mut data = Vec::new();
        data.extend_from_slice(&number.to_le_bytes());
        data.extend_from_slice(&architecture.to_le_bytes());
        data.extend_from_slice(&0u64.to_le_bytes());
        arguments.iter().for_each(|argument| data.extend_from_slice(&argument.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0u32);
        loop {
            let (code, jt, jf, k) = program[at];
            at += 1;
            let branch = |taken: bool| usize::from(if taken { jt } else { jf });
            match code {
                LOAD => {
                    let place = k as usize;
                    accumulator = u32::from_le_bytes(data[place..place + 4].try_into().unwrap());
                }
                AND => accumulator &= k,
                JUMP => at += k as usize,
                JUMP_EQUAL => at += branch(accumulator == k),
                JUMP_GREATER => at += branch(accumulator > k),
                JUMP_ANY_BIT => at += branch(accumulator & k != 0),
                RETURN => return k,
                _ => panic!("no such code {code:#x}"),
            }
        }
    }

    fn native(number: libc::c_long, arguments: [u64; 6]) -> u32 {
        answer(&program(Widen::default()), NATIVE, u32::try_from(number).unwrap(), arguments)
    }

    const EPERM: u32 = ERRNO | 1;
    const ENOSYS: u32 = ERRNO | 38;
    const NO_FAMILY: u32 = ERRNO | 97;
    const NO_MEMORY: u32 = ERRNO | 12;

    #[test]
    fn every_number_gets_the_verdict_of_the_table() {
        let (program, verdicts) = (program(Widen::default()), table::verdicts(false));
        for number in 0..=NEWEST {
            let got = answer(&program, NATIVE, number, [0; 6]);
            match verdicts.get(&number) {
                None => assert_eq!(got, EPERM, "{number}"),
                Some(Verdict::Allow) => assert_eq!(got, ALLOW, "{number}"),
                Some(Verdict::Wait) => assert_eq!(got, USER_NOTIF, "{number}"),
                Some(Verdict::Errno(errno)) => {
                    assert_eq!(got, ERRNO | errno.unsigned_abs(), "{number}")
                }
                Some(Verdict::If(_)) => {}
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_number_gets_the_committed_answer() {
        let table = include_str!("expected_x86_64.txt");
        let lines: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), 601, "0 to 600");
        let program = program(Widen::default());
        for (number, line) in lines.into_iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            let word = match answer(&program, NATIVE, number, [0; 6]) {
                ALLOW => "allow",
                USER_NOTIF => "wait",
                EPERM => "eperm",
                ENOSYS => "enosys",
                NO_FAMILY => "no-family",
                other => panic!("{number}: {other:#x}"),
            };
            assert!(line.starts_with(&format!("{number} ")), "{line}");
            assert_eq!(line.rsplit(' ').next(), Some(word), "{line}");
        }
    }

    #[test]
    fn unknown_and_x32_numbers_do_not_exist() {
        let all = Widen { nested: true, fakeroot: true, abi32: true };
        for (program, number) in [program(Widen::default()), program(all)]
            .iter()
            .flat_map(|program| UNKNOWN.map(|number| (program, number)))
        {
            assert_eq!(answer(program, NATIVE, number, [0; 6]), ENOSYS, "{number}");
        }
    }

    const UNKNOWN: [u32; 6] = [NEWEST + 1, 600, 1 << 30, (1 << 30) + 1, (1 << 30) + 520, u32::MAX];

    #[test]
    fn nested_allows_namespaces_and_mounts_and_nothing_else() {
        let (plain, nested) = (table::verdicts(false), table::verdicts(true));
        let changed: Vec<u32> =
            (0..=NEWEST).filter(|number| plain.get(number) != nested.get(number)).collect();
        assert_eq!(changed.len(), 24);
        let program = program(Widen { nested: true, ..Widen::default() });
        for number in &changed {
            assert_eq!(answer(&program, NATIVE, *number, [u64::MAX; 6]), ALLOW, "{number}");
        }
        for number in [
            libc::SYS_bpf,
            libc::SYS_open_by_handle_at,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
        ] {
            assert_eq!(answer(&program, NATIVE, u32::try_from(number).unwrap(), [0; 6]), EPERM);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_32_bit_number_gets_the_verdict_of_its_own_table() {
        let program = program(Widen { abi32: true, nested: true, fakeroot: false });
        let verdicts = table::verdicts_i386();
        for number in 0..=NEWEST {
            let got = answer(&program, I386, number, [0; 6]);
            match verdicts.get(&number) {
                None => assert_eq!(got, EPERM, "{number}"),
                Some(Verdict::Allow) => assert_eq!(got, ALLOW, "{number}"),
                Some(Verdict::Wait) => assert_eq!(got, USER_NOTIF, "{number}"),
                Some(Verdict::Errno(errno)) => {
                    assert_eq!(got, ERRNO | errno.unsigned_abs(), "{number}");
                }
                Some(Verdict::If(_)) => {}
            }
        }
        for number in UNKNOWN {
            assert_eq!(answer(&program, I386, number, [0; 6]), ENOSYS, "{number}");
        }
        // socketcall, keyctl, io_uring_setup, clone3; mount, umount2, setns, ptrace, vm86, modify_ldt,
        // iopl, bpf, open_by_handle_at, kexec_load, reboot, clock_settime64, adjtimex.
        for number in [102, 288, 425, 435] {
            assert_eq!(answer(&program, I386, number, [0; 6]), ENOSYS, "{number}");
        }
        for number in [21, 52, 346, 166, 123, 110, 357, 342, 283, 88, 404, 124] {
            assert_eq!(answer(&program, I386, number, [0; 6]), EPERM, "{number}");
        }
        for (number, arguments, want) in [
            (120, [0x1000_0011, 0, 0, 0, 0, 0], EPERM),
            (120, [0x0120_0011, 0, 0, 0, 0, 0], ALLOW),
            (182, [0, 1000, 0xffff, 0, 0, 0], ALLOW),
            (182, [0, 0, 0, 0, 0, 0], EPERM),
            (212, [0, 1000, 0xffff_ffff, 0, 0, 0], ALLOW),
            (212, [0, 0xffff, 0, 0, 0, 0], EPERM),
            (359, [38, 5, 0, 0, 0, 0], NO_FAMILY),
            (359, [2, 1, 0, 0, 0, 0], ALLOW),
            (15, [0, 0o4755, 0, 0, 0, 0], EPERM),
            (54, [0, 0x5412, 0, 0, 0, 0], EPERM),
            (14, [0, 0o20666, 0, 0, 0, 0], EPERM),
            (395, [0, 4096, 0o5600, 0, 0, 0], NO_MEMORY),
            // SHMGET, with a version too; SHMCTL.
            (117, [23, 0, 4096, 0o1600, 0, 0], ALLOW),
            (117, [23, 0, 4096, 0o5600, 0, 0], NO_MEMORY),
            (117, [0x0001_0017, 0, 4096, 0o5600, 0, 0], NO_MEMORY),
            (117, [24, 0, 0x800, 0x800, 0, 0], ALLOW),
        ] {
            assert_eq!(answer(&program, I386, number, arguments), want, "{number}");
        }
    }

    #[test]
    fn another_architecture_is_killed() {
        for widen in [Widen::default(), Widen { nested: true, ..Widen::default() }] {
            assert_eq!(answer(&program(widen), 0x4000_0003, 1, [0; 6]), KILL_PROCESS);
        }
        let abi32 = Widen { abi32: true, ..Widen::default() };
        assert_eq!(answer(&program(abi32), 0x4000_0028, 1, [0; 6]), KILL_PROCESS, "32-bit ARM");
    }

    #[test]
    fn priorities_are_set_of_own_processes_and_never_by_user() {
        for (number, arguments, want) in [
            (libc::SYS_setpriority, [0, 1, 0, 0, 0, 0], EPERM),
            (libc::SYS_setpriority, [0; 6], ALLOW),
            (libc::SYS_setpriority, [1, 0, 5, 0, 0, 0], ALLOW),
            (libc::SYS_setpriority, [1, 1, 5, 0, 0, 0], EPERM),
            (libc::SYS_setpriority, [2, 0, 5, 0, 0, 0], EPERM),
            (libc::SYS_setpriority, [2, 1000, 5, 0, 0, 0], EPERM),
            (libc::SYS_setpriority, [0xffff_ffff_0000_0002, 0, 5, 0, 0, 0], EPERM),
            (libc::SYS_ioprio_set, [1, 0, 0, 0, 0, 0], ALLOW),
            (libc::SYS_ioprio_set, [2, 0, 0, 0, 0, 0], ALLOW),
            (libc::SYS_ioprio_set, [2, 1, 0, 0, 0, 0], EPERM),
            (libc::SYS_ioprio_set, [3, 1000, 0, 0, 0, 0], EPERM),
        ] {
            assert_eq!(native(number, arguments), want, "{number} {arguments:?}");
        }
    }

    #[test]
    fn arguments_decide_where_the_table_says_so() {
        let first = |value: u64| [value, 0, 0, 0, 0, 0];
        let second = |value: u64| [0, value, 0, 0, 0, 0];
        for (number, arguments, want) in [
            (libc::SYS_clone, first(0x1200011), ALLOW),
            (libc::SYS_clone, first(0x1000_0011), EPERM),
            (libc::SYS_unshare, first(0x400), ALLOW),
            (libc::SYS_unshare, first(0x80), EPERM),
            (libc::SYS_unshare, first(0x2_0000), EPERM),
            (libc::SYS_fcntl, [3, 6, 0, 0, 0, 0], ALLOW),
            (libc::SYS_fcntl, [3, 1024, 1, 0, 0, 0], EPERM),
            (libc::SYS_fcntl, [3, 1026, 1, 0, 0, 0], EPERM),
            (libc::SYS_fcntl, [3, 1031, 1 << 20, 0, 0, 0], EPERM),
            (libc::SYS_connect, [3, 1, 16, 0, 0, 0], USER_NOTIF),
            (libc::SYS_sendmsg, [3, 1, 0, 0, 0, 0], USER_NOTIF),
            (libc::SYS_sendmsg, [3, 1, 0x4040, 0, 0, 0], USER_NOTIF),
            (libc::SYS_sendmsg, [3, 1, 0x840, 0, 0, 0], ALLOW),
            (libc::SYS_sendmmsg, [3, 1, 1, 0x800, 0, 0], USER_NOTIF),
            (libc::SYS_sendto, [3, 1, 1, 0, 0, 16], ALLOW),
            (libc::SYS_sendto, [3, 1, 1, 0, 1, 16], USER_NOTIF),
            (libc::SYS_sendto, [3, 1, 1, 0, 1 << 32, 16], USER_NOTIF),
            (libc::SYS_chown, [0, 1000, 1000, 0, 0, 0], ALLOW),
            (libc::SYS_chown, [0, 0xffff_ffff, u64::MAX, 0, 0, 0], ALLOW),
            (libc::SYS_chown, [0, 1000, 0, 0, 0, 0], EPERM),
            (libc::SYS_lchown, [0, 0, 1000, 0, 0, 0], EPERM),
            (libc::SYS_fchown, [0, 7, 8, 0, 0, 0], EPERM),
            (libc::SYS_fchownat, [0, 0, 1000, 0xffff_ffff, 0, 0], ALLOW),
            (libc::SYS_fchownat, [0, 0, 65_534, 1000, 0, 0], EPERM),
            (libc::SYS_ioctl, second(0x5401), ALLOW),
            (libc::SYS_ioctl, second(0x5412), EPERM),
            (libc::SYS_ioctl, second(0xffff_ffff_0000_5412), EPERM),
            (libc::SYS_ioctl, second(0x541c), EPERM),
            (libc::SYS_prlimit64, first(0), ALLOW),
            (libc::SYS_prlimit64, first(2), ALLOW),
            (libc::SYS_prlimit64, first(1), EPERM),
            (libc::SYS_prlimit64, first(0xffff_ffff_0000_0001), EPERM),
            (libc::SYS_sched_setaffinity, first(1), EPERM),
            (libc::SYS_sched_setscheduler, first(1), EPERM),
            (libc::SYS_socket, first(1), ALLOW),
            (libc::SYS_socket, first(2), ALLOW),
            (libc::SYS_socket, first(10), ALLOW),
            (libc::SYS_socket, first(16), ALLOW),
            (libc::SYS_socket, [16, 3, 9, 0, 0, 0], NO_FAMILY),
            (libc::SYS_socket, first(38), NO_FAMILY),
            (libc::SYS_socket, first(17), NO_FAMILY),
            (libc::SYS_socketpair, first(1), ALLOW),
            (libc::SYS_socketpair, first(2), NO_FAMILY),
            (libc::SYS_fchmodat, [0, 0, 0o4755, 0, 0, 0], EPERM),
            (libc::SYS_fchmodat, [0, 0, 0o755, 0, 0, 0], ALLOW),
            (libc::SYS_fchmod, second(0o2755), EPERM),
            (libc::SYS_fchmod, second(0o1777), ALLOW),
            (libc::SYS_mknodat, [0, 0, 0o20666, 0, 0, 0], EPERM),
            (libc::SYS_mknodat, [0, 0, 0o60666, 0, 0, 0], EPERM),
            (libc::SYS_mknodat, [0, 0, 0o10666, 0, 0, 0], ALLOW),
            (libc::SYS_mknodat, [0, 0, 0o104755, 0, 0, 0], EPERM),
            (libc::SYS_openat, [0, 0, 0, 0o4755, 0, 0], ALLOW),
            (libc::SYS_openat, [0, 0, 0o100, 0o4755, 0, 0], EPERM),
            (libc::SYS_openat, [0, 0, 0o101, 0o755, 0, 0], ALLOW),
            (libc::SYS_mmap, [0, 4096, 3, 0x22, 0, 0], ALLOW),
            (libc::SYS_mmap, [0, 4096, 3, 0x4_0022, 0, 0], NO_MEMORY),
            (libc::SYS_memfd_create, second(3), ALLOW),
            (libc::SYS_memfd_create, second(5), ENOSYS),
            (libc::SYS_shmget, [0, 4096, 0o1600, 0, 0, 0], ALLOW),
            (libc::SYS_shmget, [0, 4096, 0o5600, 0, 0, 0], NO_MEMORY),
            (libc::SYS_personality, first(0xffff_ffff), ALLOW),
            (libc::SYS_personality, first(0x4_0000), ALLOW),
            (libc::SYS_personality, first(0x40_0000), EPERM),
        ] {
            assert_eq!(native(number, arguments), want, "call {number} with {arguments:x?}");
        }
    }

    #[test]
    fn no_jump_leaves_the_program() {
        let all = Widen { nested: true, fakeroot: true, abi32: true };
        for program in [program(Widen::default()), program(all)] {
            assert!(program.len() < 4096, "the kernel takes no more");
            for (at, (code, jt, jf, k)) in program.iter().enumerate() {
                if *code == JUMP {
                    assert!(at + 1 + (*k as usize) < program.len());
                } else if code & 0x07 == 0x05 {
                    assert!(at + 1 + usize::from(*jt.max(jf)) < program.len());
                }
            }
        }
    }
}
